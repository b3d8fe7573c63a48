"""``sampan exec``: a command in a running container."""

import argparse
import os
import sys

from sampan.cli.flags import add_flag
from sampan.cli.option_values import read_variables, refuse_value
from sampan.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; they end at the container's name."""
    parser.usage = "sampan exec [OPTIONS] CONTAINER COMMAND [ARG...]"
    add = parser.add_argument
    add_flag(add, "-i", "--interactive", help="pass our standard input on")
    add_flag(add, "-t", "--tty", help="give the command a terminal")
    add_flag(add, "-d", "--detach", help="return at once, the command goes on")
    add("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="set a variable; without VALUE: as it is here, removed if it is not")  # fmt: skip
    add("--env-file", action="append", default=[], metavar="FILE", help="set the variables in FILE")
    add("-w", "--workdir", default="", metavar="DIR", help="working directory in the container")
    add("-u", "--user", default="", metavar="USER[:GROUP]", help="names or numeric ids")
    add("words", metavar="CONTAINER COMMAND", nargs=argparse.PARSER, help="name or id of a running container; then the command and its arguments")  # fmt: skip


def main(arguments: argparse.Namespace) -> int:
    """Run the command; its exit code is ours.

    Raises:
        SampanError: no such container, not running, or the command cannot be started.
    """
    words = arguments.words[1:] if arguments.words[0] == "--" else arguments.words
    if len(words) < 2:
        raise UsageError("no command is named", remedy="sampan exec CONTAINER COMMAND [ARG...]")
    if arguments.workdir and not arguments.workdir.startswith("/"):
        refuse_value("--workdir", arguments.workdir, "an absolute container path", "-w /work")
    terminal = arguments.tty and not arguments.detach
    if terminal and arguments.interactive and not os.isatty(0):
        raise UsageError(
            "-t with -i needs a terminal as standard input, and it is none",
            evidence="standard input is a pipe, a file or closed",
            remedy="leave out -t",
        )
    from sampan.engines.native.control import locate_running
    from sampan.engines.native.exec import ExecRequest, exec_in_container
    from sampan.engines.native.state import NoSuchContainerError

    variables, removed = read_variables(arguments.env_file, arguments.env, dict(os.environ))
    try:
        record = locate_running(words[0])
    except NoSuchContainerError as error:
        # Apptainer's exec takes an image: whoever comes from there is told both ways.
        error.remedy = (
            f"sampan ps -a lists the containers; for an image: sampan run --rm {words[0]} COMMAND"
        )
        raise
    sys.stdout.flush()
    return exec_in_container(
        record,
        ExecRequest(
            arguments=tuple(words[1:]),
            environment=variables,
            user=arguments.user,
            working_directory=arguments.workdir,
            terminal=terminal,
            interactive=arguments.interactive,
            detach=arguments.detach,
            removed_variables=removed,
        ),
    )
