"""``sampan docker``: docker with GPUs, as ``nvidia-docker`` was."""

import argparse
import os
import shlex
import sys

from sampan.cli.render import printable_word


def configure(parser: argparse.ArgumentParser) -> None:
    """Take every word as it is."""
    parser.usage = "sampan docker [DOCKER OPTIONS] COMMAND [ARG...]"
    parser.epilog = (
        "NV_GPU names the GPUs (numbers or UUIDs), NV_DOCKER the docker command; with NV_DEBUG what"
        " is run is shown"
    )
    # No word is an option of ours, --help not either.
    parser.prefix_chars = "\0"
    parser.add_argument(
        "words",
        metavar="WORD",
        nargs=argparse.REMAINDER,
        help="docker's own command line; run and create get GPUs, as with nvidia-docker",
    )


def main(arguments: argparse.Namespace) -> int:
    """Become docker.

    Raises:
        SampanError: there is no docker, or GPUs are wanted that cannot be had.
    """
    from sampan.engines.handover import hand_over
    from sampan.engines.nvidia_docker import plan_docker_words

    planned = plan_docker_words(arguments.words, os.environ)
    if planned.asks_version:
        from sampan import __version__

        print(f"Sampan: {__version__}")
    if os.environ.get("NV_DEBUG"):
        for line in (*planned.added, shlex.join(planned.arguments)):
            print(printable_word(line), file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    hand_over(planned.arguments)
