"""The ``sampan`` program: choose a command, import its module, map errors to exit codes."""

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from sampan.cli.table import COMMANDS, Command
from sampan.errors import OperatingSystemError, SampanError, UsageError

if TYPE_CHECKING:
    import argparse


def program() -> NoReturn:
    """Be the ``sampan`` process.

    The collector finds nothing in the tenths of a second before a container runs or a CDI document
    is written, and tearing the interpreter down frees what the kernel frees anyway: together 10 ms
    of each start.
    """
    _open_closed_streams()
    if sys.argv[1:2] in (["run"], ["exec"], ["cdi"]):
        gc.disable()
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _open_closed_streams() -> None:
    """Put /dev/null where a standard stream is closed (``sampan … >&-``).

    Otherwise the next file we open, an image or a record, would be the container's output.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free is this one, since those below are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            mode = "r" if descriptor == 0 else "w"
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115 - ours to the end


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; return the process's exit code (docker's conventions)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(words)
        sys.stdout.flush()
    except SampanError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away (sampan images | head): no error of ours.
        sys.stderr.close()
        return 141
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _refuse(
            OperatingSystemError(f"sampan {words[0]} failed", evidence=f"{error.strerror}{where}")
        )
    return code


def _run(words: list[str]) -> int:
    if words[:1] == ["help"] and len(words) > 1:
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] in ("--version", "version"):
        from sampan import __version__

        print(f"sampan {__version__}")
        return 0
    name = words[0]
    family = [known for known in COMMANDS if known.startswith(f"{name} ")]
    if family and words[1:] in ([], ["-h"], ["--help"], ["help"]):
        print(_family_overview(name, family))
        return 0
    # A command of two words goes before one of the first word alone.
    if " ".join(words[:2]) in family:
        name = " ".join(words[:2])
    command = COMMANDS.get(name)
    if command is None:
        raise _unknown(" ".join(words[:2]) if family else name)
    module = importlib.import_module(f"sampan.cli.{command.module}")
    parser = make_parser(name, command)
    module.configure(parser)
    known, unknown = parser.parse_known_args(words[len(name.split()) :])
    if unknown:
        from sampan.cli.unknown_options import refuse_unknown

        raise refuse_unknown(name, unknown)
    code: int = module.main(known)
    return code


def _refuse(error: SampanError) -> int:
    from sampan.cli.render import print_error

    print_error(error)
    return error.exit_code


def _unknown(name: str) -> UsageError:
    from difflib import get_close_matches

    from sampan.cli.foreign_commands import find_answer

    answer = find_answer(name.partition(" ")[0])
    if answer is not None:
        return UsageError(f"no command {name!r}", evidence=answer.evidence, remedy=answer.remedy)
    near = get_close_matches(name, [*COMMANDS, "--help", "--version"], n=1)
    hint = f"did you mean: sampan {near[0]}" if near else "sampan --help lists the commands"
    kind = "option" if name.startswith("-") else "command"
    return UsageError(f"no {kind} {name!r}", remedy=hint)


def make_parser(name: str, command: Command) -> "argparse.ArgumentParser":
    """The parser of a command, or of one of its subcommands, before it has options."""
    import argparse

    # argparse asks gettext for each of its words, which imports locale and looks for catalogues;
    # and it asks shutil for the terminal's width at each add_argument: 8 ms of every start.
    argparse.__dict__["_"] = str
    columns = os.environ.get("COLUMNS", "")
    width = max(int(columns) - 2, 40) if columns.isdecimal() else 98
    parser = argparse.ArgumentParser(
        prog=f"sampan {name}",
        description=command.summary,
        allow_abbrev=False,
        # Raw: epilogs are tables and examples, laid out by hand.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=width),
    )

    def refuse(message: str) -> NoReturn:
        """Replace argparse's exit code 2 by docker's 125 and its text by our three parts."""
        # argparse would repeat the value, and it may have been a password.
        option, was_given, _ = message.partition(": ignored explicit argument ")
        raise UsageError(
            f"{option} takes no value" if was_given else message,
            remedy=f"sampan {name} --help shows the options",
        )

    parser.error = refuse  # type: ignore[method-assign]
    return parser


def _family_overview(name: str, family: Sequence[str]) -> str:
    rows = [f"  {known:<14} {COMMANDS[known].summary}" for known in family]
    return "\n".join(
        [f"usage: sampan {name} COMMAND [OPTIONS] ...", "", *rows, "",
         f"sampan {name} COMMAND --help shows a command's options."]
    )  # fmt: skip


def _overview() -> str:
    lines = ["usage: sampan COMMAND [OPTIONS] ...", ""]
    groups: dict[str, list[str]] = {}
    for name, command in COMMANDS.items():
        groups.setdefault(command.group, []).append(f"  {name:<14} {command.summary}")
    for group, rows in groups.items():
        lines += [f"{group}:", *rows, ""]
    return "\n".join([*lines, "sampan COMMAND --help shows a command's options."])
