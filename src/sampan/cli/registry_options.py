"""``--tls-verify`` and ``--cert-dir``, in podman's words, for every command that asks a registry."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sampan.registry.settings import Settings

_WORDS = {"true": True, "false": False, "1": True, "0": False}


def add_registry_options(parser: argparse._ActionsContainer) -> None:
    """Add the options."""
    # As podman: the value only follows "=", so each spelling is an option of its own.
    parser.add_argument(
        "--tls-verify",
        dest="tls_verify",
        action="store_true",
        default=None,
        help="want https and a valid certificate, whatever the configuration says; "
        "--tls-verify=false: do without either",
    )
    for word, meaning in _WORDS.items():
        parser.add_argument(
            f"--tls-verify={word}",
            dest="tls_verify",
            action="store_const",
            const=meaning,
            default=None,
            help=argparse.SUPPRESS,
        )
    parser.add_argument(
        "--cert-dir",
        metavar="DIRECTORY",
        default="",
        help="with the registry's authority NAME.crt and our own NAME.cert and NAME.key",
    )


def registry_settings(arguments: argparse.Namespace) -> "Settings":
    """What was said, as settings of the registry client.

    Raises:
        UsageError: the directory does not exist.
    """
    import os

    from sampan.errors import UsageError
    from sampan.registry.settings import DEFAULT_SETTINGS

    directory = arguments.cert_dir
    if directory and not os.path.isdir(directory):
        raise UsageError(f"there is no directory {directory}", remedy="name it with --cert-dir")
    return DEFAULT_SETTINGS._replace(
        verify=arguments.tls_verify,
        certificate_directory=os.path.abspath(directory) if directory else "",
    )
