"""``sampan login``: show credentials to a registry and keep them."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from sampan.cli.flags import add_flag
from sampan.cli.registry_options import add_registry_options
from sampan.errors import UsageError
from sampan.registry.settings import NGC, NGC_SITES

if TYPE_CHECKING:
    from sampan.registry.secret import Secret


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan login [OPTIONS] [REGISTRY[/PATH]]"
    parser.add_argument(
        "--username",
        "-u",
        default="",
        metavar="NAME",
        help="asked for when missing; on nvcr.io always $oauthtoken, and never asked for",
    )
    add = parser.add_argument
    add_flag(
        add,
        "--password-stdin",
        help="read password or key from standard input; otherwise it is asked for, unseen",
    )
    add_flag(add, "--check", help="show the registry what is stored, and store nothing")
    parser.add_argument(
        "--keep-in",
        choices=("auto", "helper", "keyring", "file"),
        default="auto",
        help="auto: the docker credential helper that is configured, else the desktop's key ring "
        "(the Python package keyring), else a private file",
    )
    parser.add_argument(
        "--token-host",
        default="",
        metavar="HOST",
        help="the registry's token server, when it is another host: let it have the credentials",
    )
    add_registry_options(parser)
    parser.add_argument(
        "registry",
        metavar="REGISTRY[/PATH]",
        nargs="?",
        default=NGC,
        help=f"default: {NGC}; with a path the credentials are for that organisation or "
        "repository alone, and a repository is asked for",
    )


def main(arguments: argparse.Namespace) -> int:
    """Ask, check, store."""
    from sampan.cli.key_words import describe_key_details
    from sampan.cli.registry_options import registry_settings
    from sampan.cli.render import print_warning, printable
    from sampan.registry.credentials import NGC_USER
    from sampan.registry.login import log_in
    from sampan.registry.secret import Credential

    if arguments.check:
        return _check(arguments)
    name = read_registry_name(arguments.registry)
    registry = name.partition("/")[0]
    if registry == NGC and arguments.username not in ("", NGC_USER):
        print_warning(f"the user of {NGC} is always {NGC_USER}: {arguments.username} is left out")
    username = NGC_USER if registry == NGC else arguments.username or _ask_name(name)
    secret = _read_secret(arguments, registry, username)
    outcome = log_in(
        name,
        Credential(username, secret, "this login"),
        os.environ,
        token_host=arguments.token_host,
        place=arguments.keep_in,
        settings=registry_settings(arguments),
    )
    if not outcome.checked.was_proved:
        print_warning(f"{registry} lets everybody in: the credentials could not be checked")
    for note in (*outcome.checked.notes, *([outcome.stored.note] if outcome.stored.note else [])):
        print_warning(note)
    print(f"logged in to {name}; kept in {printable(outcome.stored.place)}")
    for line in describe_key_details(outcome.checked):
        print(printable(line))
    return 0


def read_registry_name(text: str) -> str:
    """``REGISTRY[/PATH]`` without scheme; a tag or digest has no credentials of its own.

    NGC's other hosts, which users take for its registry, stand for it.

    Raises:
        UsageError: there is one.
    """
    from sampan.registry.credentials import split_name

    registry, path = split_name(text)
    if "@" in registry or registry.startswith("nvapi-"):
        # It is not repeated: this may end in a log.
        raise UsageError(
            "the name of a registry holds no user, password or key",
            evidence="every user of this machine can read it on a command line",
            remedy="sampan login REGISTRY asks for it unseen, or takes --password-stdin; "
            "if it was a real one, make a new one",
        )
    if not registry or ":" in path or "@" in path:
        raise UsageError(
            f"{text} is no REGISTRY[/PATH]", remedy="leave tag and digest out: nvcr.io/ORG/IMAGE"
        )
    if registry in NGC_SITES:
        from sampan.cli.render import print_warning

        print_warning(f"{registry} is no registry: {NGC} is meant")
        return NGC
    return f"{registry}/{path}" if path else registry


def _check(arguments: argparse.Namespace) -> int:
    from sampan.cli.key_words import describe_credential, describe_key_details
    from sampan.cli.registry_options import registry_settings
    from sampan.cli.render import print_warning, printable
    from sampan.registry.credentials import NoCredentialError
    from sampan.registry.login import check_credential, find_identities

    name = read_registry_name(arguments.registry)
    identities = find_identities(name, os.environ)
    if not identities.credentials:
        raise NoCredentialError(
            f"there are no credentials of {name}",
            evidence="; ".join(identities.problems),
            remedy=f"sampan login {name}",
        )
    credential = identities.credentials[0]
    checked = check_credential(name, credential, os.environ, registry_settings(arguments))
    for note in (*identities.problems, *checked.notes):
        print_warning(note)
    word = "accepts" if checked.was_proved else "lets everybody in, so it says nothing of"
    print(f"{name} {word} {describe_credential(credential)}")
    for line in describe_key_details(checked):
        print(printable(line))
    return 0


def _ask_name(registry: str) -> str:
    if sys.stdin.isatty():
        sys.stderr.write(f"user name for {registry}: ")
        sys.stderr.flush()
        if name := sys.stdin.readline().strip():
            return name
    raise UsageError(f"no user name for {registry}", remedy=f"sampan login -u NAME {registry}")


def _read_secret(arguments: argparse.Namespace, registry: str, username: str) -> "Secret":
    from sampan.registry.credentials import environment_key
    from sampan.registry.secret import Secret

    if arguments.password_stdin:
        # One line end belongs to the pipe, not to the password.
        secret = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    elif (key := environment_key(registry, os.environ)) is not None:
        print(f"using the key of {key.source}", file=sys.stderr)
        return key.secret
    elif sys.stdin.isatty():
        import getpass

        what = "API key" if registry == NGC else f"password of {username}"
        secret = getpass.getpass(f"{what} for {registry}: ")
    else:
        who = f"-u {username} " if registry != NGC else ""
        raise UsageError(
            "there is no terminal to ask for the password on",
            evidence="standard input is a pipe, a file or closed",
            remedy=f"sampan login {who}--password-stdin {registry} < FILE",
        )
    if not secret:
        raise UsageError(f"the password for {registry} is empty", remedy="nothing was stored")
    if not secret.isprintable():
        raise UsageError(
            f"the password for {registry} has more than one line, or control characters",
            remedy="give the key alone",
        )
    return Secret(secret)
