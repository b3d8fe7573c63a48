"""Options of the commands that look at the host's driver, and the inventory they mean.

Light imports: ``sampan run`` has the roots, too.
"""

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sampan.model.inventory import Inventory


def add_root_options(add: Callable[..., argparse.Action]) -> None:
    """Add ``--driver-root`` and ``--dev-root``; ``driver.chosen_roots`` reads them."""
    add("--driver-root", default="", metavar="DIR", help="stands for / of the system that the driver is installed in; default: $SAMPAN_DRIVER_ROOT, else /")  # fmt: skip
    add("--dev-root", default="", metavar="DIR", help="holds dev/nvidia*; default: $SAMPAN_DEV_ROOT, else the driver root where it holds dev, else /")  # fmt: skip


def add_driver_options(parser: argparse.ArgumentParser) -> None:
    """Add the roots, the search paths, ``--format`` and ``--json``."""
    add_root_options(parser.add_argument)
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


def find_inventory(arguments: argparse.Namespace) -> "Inventory":
    """The inventory that the options mean, taken now.

    Raises:
        UsageError: a root is no directory.
    """
    from sampan.driver.cache import list_share_directories
    from sampan.driver.chosen_roots import choose_roots
    from sampan.driver.inventory import take_inventory

    roots = choose_roots(arguments.driver_root, arguments.dev_root)
    # What the environment says is about this host, not about another system's tree.
    environment = os.environ if roots.driver == "/" else {}
    return take_inventory(
        roots.driver,
        roots.dev,
        library_search_paths=arguments.library_search_path,
        config_search_paths=(*arguments.config_search_path, *list_share_directories(environment)),
        mps_directory=environment.get("CUDA_MPS_PIPE_DIRECTORY", ""),
    )
