"""The command line of an OCI runtime, as far as the wrapper must understand it (runc(8), crun(1)).

The engine speaks to runc or crun; every word goes on as it is. Only the subcommand and the bundle are
looked for, among the global options of both.
"""

from __future__ import annotations

import os

EDITED = ("create", "run")
SUBCOMMANDS = frozenset(
    {
        "checkpoint", "create", "delete", "events", "exec", "features", "help", "init", "kill",
        "list", "mounts", "pause", "ps", "restore", "resume", "run", "spec", "start", "state",
        "update",
    }
)  # fmt: skip
WITH_VALUE = frozenset(
    {
        "--cgroup-manager", "--criu", "--handler", "--log", "--log-format", "--log-level",
        "--root", "--rootless",
    }
)  # fmt: skip
"""Global options whose value is the next word."""
OWN_WITH_VALUE = frozenset(
    {"--console-socket", "--pid-file", "--pidfd-socket", "--preserve-fds", "--process", "--config",
     "-f"}
)  # fmt: skip


class Call:
    """What was understood.

    Attributes:
        subcommand: empty when there is none.
        config: path of the container's configuration, of ``create`` and ``run``.
        log, log_format: where the engine reads errors, as it said.
    """

    def __init__(self) -> None:
        self.subcommand = ""
        self.config = ""
        self.log = ""
        self.log_format = "text"


def parse_call(words: list[str], directory: str = ".") -> Call:
    """Read the words after the program's name.

    Args:
        words: of the command line.
        directory: the bundle where none is named: the working directory.
    """
    call = Call()
    place = 0
    while place < len(words) and words[place].startswith("-"):
        name, equals, value = words[place].partition("=")
        if not equals and name in WITH_VALUE and place + 1 < len(words):
            place += 1
            value = words[place]
        if name == "--log":
            call.log = value
        elif name == "--log-format":
            call.log_format = value
        place += 1
    rest = words[place:]
    if rest and rest[0] not in SUBCOMMANDS:
        # The value of an option that we do not know: better edited than silently not.
        known = [number for number, word in enumerate(rest) if word in EDITED]
        rest = rest[known[0] :] if known else rest
    call.subcommand = rest[0] if rest else ""
    if call.subcommand in EDITED:
        bundle, file = _find_bundle(rest[1:])
        call.config = os.path.join(directory, bundle, file)
    return call


def _find_bundle(words: list[str]) -> tuple[str, str]:
    bundle, file = ".", "config.json"
    place = 0
    while place < len(words):
        word = words[place]
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if name == "-bundle":
            # Go's flags, and so runc's, may have one dash.
            name = "--bundle"
        elif name[:1] == "-" and name[1:2] != "-":
            name, equals, value = _split_short(word)
        takes = name in OWN_WITH_VALUE or name in ("--bundle", "-b")
        if takes and not equals and place + 1 < len(words):
            place += 1
            value = words[place]
        if name in ("--bundle", "-b"):
            bundle = value
        elif name in ("--config", "-f"):
            file = value
        place += 1
    return bundle, file


def _split_short(word: str) -> tuple[str, str, str]:
    """Short options of crun stand together, the last perhaps with its value; runc's have an equals sign."""
    letters = word[1:].lstrip("d")
    if letters[:1] not in ("b", "f"):
        return word, "", ""
    return f"-{letters[0]}", "=" if letters[1:] else "", letters[1:].removeprefix("=")
