"""Enroot's ``.credentials``: netrc lines ``machine HOST login NAME password SECRET`` (its import.md).

Enroot lets a shell expand the values. Here ``$NAME`` and ``${NAME}`` are read from the environment,
and a command, ``$(…)`` or in backquotes, is never run: a file of words is not a program of ours.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sampan.registry.auth_files import CredentialError, configuration_home, read_bounded
from sampan.registry.secret import Credential, Secret

_WORDS = ("login", "password", "account")


class Machine(NamedTuple):
    """One entry; values as written."""

    host: str
    login: str
    password: Secret


def enroot_file(environment: Mapping[str, str]) -> Path:
    """Where Enroot looks."""
    said = environment.get("ENROOT_CONFIG_PATH")
    return Path(said or configuration_home(environment) / "enroot", ".credentials")


def find_in_netrc(
    path: Path, hosts: tuple[str, ...], environment: Mapping[str, str]
) -> Credential | None:
    """The first entry for one of several hosts, the first host first.

    Raises:
        CredentialError: the file cannot be read, or the entry's secret is a command.
    """
    content = read_bounded(path)
    if content is None:
        return None
    machines = list(parse_netrc(content.decode("utf-8", "replace")))
    for host in hosts:
        for machine in machines:
            if machine.host == host and machine.password:
                login = machine.login
                if login != "$oauthtoken":
                    login = _expand(login, host, path, environment)
                secret = _expand(machine.password.reveal(), host, path, environment)
                return Credential(login, Secret(secret), str(path))
    return None


def parse_netrc(text: str) -> Iterator[Machine]:
    """All entries of a netrc; macros and comments are passed over."""
    words = list(_split(text))
    at = 0
    while at < len(words):
        kind = words[at]
        at += 1
        if kind not in ("machine", "default"):
            continue
        host = ""
        if kind == "machine" and at < len(words):
            host = words[at]
            at += 1
        said: dict[str, str] = {}
        while at + 1 < len(words) and words[at] in _WORDS:
            said[words[at]] = words[at + 1]
            at += 2
        if host:
            yield Machine(host, said.get("login", ""), Secret(said.get("password", "")))


def _split(text: str) -> Iterator[str]:
    """Words as netrc has them: quotes hold blanks together, and so does ``$(…)``."""
    for line in text.splitlines():
        at = 0
        while at < len(line):
            if line[at].isspace():
                at += 1
                continue
            if line[at] == "#":
                break
            word, at = _word(line, at)
            yield word


def _word(line: str, at: int) -> tuple[str, int]:
    found = []
    closing = ""
    while at < len(line) and (closing or not line[at].isspace()):
        character = line[at]
        if closing:
            if character == closing:
                closing = ""
                if character in "\"'":
                    at += 1
                    continue
        elif character in "\"'":
            closing = character
            at += 1
            continue
        elif character == "`":
            closing = "`"
        elif line.startswith("$(", at):
            closing = ")"
        found.append(character)
        at += 1
    return "".join(found), at


def _expand(text: str, host: str, path: Path, environment: Mapping[str, str]) -> str:
    if text.startswith("$(") or "`" in text:
        raise CredentialError(
            f"the entry of {host} in {path} is a command, which is not run",
            remedy=f"sampan login {host}",
        )
    name = text[2:-1] if text.startswith("${") and text.endswith("}") else text[1:]
    if not text.startswith("$") or not name.isidentifier():
        return text
    value = environment.get(name)
    if not value:
        raise CredentialError(
            f"the entry of {host} in {path} is ${name}, which is not set",
            remedy=f"export {name}, or: sampan login {host}",
        )
    return value
