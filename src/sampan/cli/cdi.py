"""``sampan cdi``: CDI documents made, listed, checked and kept up to date. Chooses the subcommand."""

import argparse
import importlib

from sampan.cli.table import COMMANDS, Command

SUBCOMMANDS: dict[str, Command] = {
    "generate": Command("cdi_generate", "write a CDI document of this host's driver and GPUs", ""),
    "refresh": Command("cdi_refresh", "bring a CDI file up to date; remove it without a driver", ""),
    "diff": Command("cdi_diff", "compare a CDI file with what would be written now", ""),
    "list": Command("cdi_list", "list the CDI devices of this host, of any vendor", ""),
    "show": Command("cdi_show", "show the edits that CDI devices stand for", ""),
    "validate": Command("cdi_validate", "check CDI files, and whether an engine reads them", ""),
    "transform": Command("cdi_transform", "move the paths of a CDI document to another root", ""),
    "install-hook": Command("cdi_install_hook", "install the hook that CDI documents name", ""),
    "install-units": Command(
        "cdi_units", "have systemd and udev keep a CDI file up to date", ""
    ),
}  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the choice of a subcommand; its own options are read by its own parser."""
    parser.usage = "sampan cdi SUBCOMMAND [OPTIONS] ..."
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    rows = [f"{name:<14} {command.summary}" for name, command in SUBCOMMANDS.items()]
    parser.epilog = "\n".join([*rows, "", "sampan cdi SUBCOMMAND --help shows its options."])
    parser.add_argument(
        "subcommand",
        nargs="?",
        choices=tuple(SUBCOMMANDS),
        metavar="SUBCOMMAND",
        help="one of those below",
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def main(arguments: argparse.Namespace) -> int:
    """Run the subcommand; without one say which there are."""
    from sampan.cli.main import make_parser

    if arguments.subcommand is None:
        parser = make_parser("cdi", COMMANDS["cdi"])
        configure(parser)
        parser.print_help()
        return 0
    command = SUBCOMMANDS[arguments.subcommand]
    module = importlib.import_module(f"sampan.cli.{command.module}")
    parser = make_parser(f"cdi {arguments.subcommand}", command)
    module.configure(parser)
    code: int = module.main(parser.parse_args(arguments.words))
    return code
