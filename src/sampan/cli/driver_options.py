"""Options of the commands that look at the host's driver, and the inventory they mean."""

import argparse
import os

from sampan.errors import UsageError
from sampan.model.inventory import Inventory


def add_driver_options(parser: argparse.ArgumentParser) -> None:
    """Add the roots, the search paths, ``--format`` and ``--json``."""
    parser.add_argument(
        "--driver-root",
        default="/",
        metavar="DIR",
        help="the directory standing for / of the system that the driver is installed in",
    )
    parser.add_argument(
        "--dev-root", default="/", metavar="DIR", help="the directory that holds dev/nvidia*"
    )
    parser.add_argument(
        "--library-search-path",
        action="append",
        default=[],
        metavar="DIR",
        help="look for libraries here first, inside the driver root (may be repeated;"
        " LD_LIBRARY_PATH is not used)",
    )
    parser.add_argument(
        "--config-search-path",
        action="append",
        default=[],
        metavar="DIR",
        help="look for ICD files and other descriptions here last, inside the driver root (may be"
        " repeated; for the host itself the directories of XDG_DATA_DIRS follow)",
    )
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="table, or JSON"
    )
    parser.add_argument(
        "--json", dest="format", action="store_const", const="json", help="same as --format json"
    )


def find_inventory(arguments: argparse.Namespace) -> Inventory:
    """The inventory that the options mean, taken now.

    Raises:
        UsageError: a root is no directory.
    """
    for option, root in (
        ("--driver-root", arguments.driver_root),
        ("--dev-root", arguments.dev_root),
    ):
        if not os.path.isdir(root):
            raise UsageError(
                f"{option} {root} is no directory",
                evidence="not a directory" if os.path.lexists(root) else "it does not exist",
                remedy=f"name the directory that stands for /, or leave out {option}",
            )
    from sampan.driver.cache import list_share_directories
    from sampan.driver.inventory import take_inventory

    # What the environment says is about this host, not about another system's tree.
    environment = os.environ if arguments.driver_root == "/" else {}
    return take_inventory(
        arguments.driver_root,
        arguments.dev_root,
        library_search_paths=arguments.library_search_path,
        config_search_paths=(*arguments.config_search_path, *list_share_directories(environment)),
        mps_directory=environment.get("CUDA_MPS_PIPE_DIRECTORY", ""),
    )
