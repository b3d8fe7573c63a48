"""``sampan login``: show credentials to a registry and keep them."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from sampan.cli.flags import add_flag
from sampan.errors import UsageError
from sampan.registry.settings import NGC

if TYPE_CHECKING:
    from sampan.registry.secret import Secret


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan login [OPTIONS] [REGISTRY]"
    parser.add_argument(
        "--username",
        "-u",
        default="",
        metavar="NAME",
        help="asked for when missing; on nvcr.io always $oauthtoken, and never asked for",
    )
    add_flag(
        parser.add_argument,
        "--password-stdin",
        help="read password or key from standard input; otherwise it is asked for, unseen",
    )
    parser.add_argument(
        "--token-host",
        default="",
        metavar="HOST",
        help="the registry's token server, when it is another host: let it have the credentials",
    )
    parser.add_argument(
        "registry", metavar="REGISTRY", nargs="?", default=NGC, help=f"default: {NGC}"
    )


def main(arguments: argparse.Namespace) -> int:
    """Ask, check, store."""
    from sampan.cli.render import print_warning
    from sampan.registry.auth_files import key_name
    from sampan.registry.credentials import NGC_USER
    from sampan.registry.login import log_in
    from sampan.registry.secret import Credential

    registry = key_name(arguments.registry).partition("/")[0]
    username = arguments.username or (NGC_USER if registry == NGC else _ask_name(registry))
    secret = _read_secret(arguments, registry, username)
    outcome = log_in(
        registry,
        Credential(username, secret, "this login"),
        os.environ,
        token_host=arguments.token_host,
    )
    if not outcome.was_checked:
        print_warning(f"{registry} lets everybody in: the credentials could not be checked")
    print(f"logged in to {registry}; kept in {outcome.stored_in}")
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
        raise UsageError(
            "there is no terminal to ask for the password on",
            evidence="standard input is a pipe, a file or closed",
            remedy=f"sampan login --password-stdin {registry} < FILE",
        )
    if not secret:
        raise UsageError(f"the password for {registry} is empty", remedy="nothing was stored")
    if not secret.isprintable():
        raise UsageError(
            f"the password for {registry} has more than one line, or control characters",
            remedy="give the key alone",
        )
    return Secret(secret)
