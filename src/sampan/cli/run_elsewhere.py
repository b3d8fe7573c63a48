"""``sampan run --engine docker|podman``: what is said before the engine's own program takes over."""

import argparse
import sys
from typing import NoReturn

from sampan.cli.render import print_warning, printable_word
from sampan.cli.run_options import ENGINES
from sampan.engines.handover import hand_over, prepare_handover
from sampan.engines.run_words import GivenWords
from sampan.errors import UsageError
from sampan.model.container import ContainerSpec


def run_elsewhere(arguments: argparse.Namespace, spec: ContainerSpec) -> NoReturn:
    """Become ``docker run`` or ``podman run``.

    Raises:
        SampanError: the engine cannot do it, or GPUs cannot be had.
    """
    if arguments.engine not in ENGINES:
        # Of --engine argparse says it; the variable is no word of the command line.
        raise UsageError(
            f"there is no engine {arguments.engine!r}",
            evidence="SAMPAN_ENGINE in the environment",
            remedy=f"choose from: {', '.join(ENGINES)}",
        )
    given = GivenWords(tuple(arguments.env_file), tuple(arguments.env), arguments.pull)
    handover = prepare_handover(arguments.engine, spec, given, warn=print_warning)
    for text in handover.warnings:
        print_warning(text)
    if arguments.verbose:
        for line in handover.describe():
            print(printable_word(line), file=sys.stderr)
    sys.stderr.flush()
    sys.stdout.flush()
    hand_over(handover.arguments, handover.leases)
