"""``nvidia-container-cli``: ``info`` and ``list`` of libnvidia-container's program, from our inventory.

Field note nvidia-container-toolkit, section 1.5. ``configure``, which changes running containers, is
``sampan-runtime``'s work here.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from sampan.cli.main import main
from sampan.cli.render import print_error
from sampan.dropin.settings import SettingsError, load_settings
from sampan.engines.container_cli import list_parts, render_info
from sampan.errors import SampanError, UsageError


def program() -> None:
    """Be nvidia-container-cli."""
    try:
        sys.exit(run(sys.argv[1:]))
    except SettingsError as error:
        print_error(UsageError(str(error)))
    except SampanError as error:
        print_error(error)
    sys.exit(1)


def run(words: Sequence[str]) -> int:
    """Carry out the words; the exit code.

    Raises:
        SampanError: no driver; a subcommand that has no counterpart.
    """
    parser = argparse.ArgumentParser(prog="nvidia-container-cli")
    parser.add_argument("-d", "--debug", metavar="FILE", help="accepted, without effect")
    parser.add_argument("-k", "--load-kmods", action="store_true", help="accepted, without effect")
    parser.add_argument("-n", "--no-pivot", action="store_true", help="accepted, without effect")
    parser.add_argument("-u", "--user", nargs="?", help="accepted, without effect")
    parser.add_argument("-r", "--root", metavar="DIR", default="", help="the driver root")
    parser.add_argument("-l", "--ldcache", metavar="FILE", help="accepted, without effect")
    parser.add_argument("-V", "--version", action="store_true")
    commands = parser.add_subparsers(dest="command")
    info = commands.add_parser("info", help="the driver and the GPUs")
    info.add_argument("--csv", action="store_true")
    listing = commands.add_parser("list", help="host paths of the driver's parts")
    listing.add_argument("-d", "--device", metavar="IDS")
    for short, option in (("-l", "--libraries"), ("-b", "--binaries"), ("-i", "--ipcs")):
        listing.add_argument(short, option, action="store_true")
    for option in ("--compat32", "--mig-config", "--mig-monitor"):
        listing.add_argument(option, action="store_true")
    commands.add_parser("configure", help="not here: sampan-runtime does it", add_help=False)
    arguments, rest = parser.parse_known_args(list(words))
    if arguments.version:
        return main(["version"])
    if arguments.command == "configure" or arguments.command is None or rest:
        raise UsageError(
            "nvidia-container-cli has info and list here; containers are configured by the runtime",
            remedy="sudo sampan configure docker    has docker use sampan-runtime",
        )
    settings = load_settings(os.environ)
    if arguments.root:
        settings["driver_root"] = arguments.root
    if arguments.command == "info":
        print(render_info(settings, as_csv=arguments.csv), end="")
        return 0
    parts = {"libraries": arguments.libraries, "binaries": arguments.binaries,
             "ipcs": arguments.ipcs, "devices": arguments.device is not None}  # fmt: skip
    for path in list_parts(settings, parts, arguments.device, compat32=arguments.compat32):
        print(path)
    return 0
