"""``sampan driver``: what of the host's driver would be imported, and from where."""

import argparse
import json
from collections.abc import Iterator

from sampan.cli.columns import format_columns
from sampan.cli.driver_options import add_driver_options, find_inventory
from sampan.cli.render import print_error, print_warning, printable_word
from sampan.driver.absence import NoDriverError, require_driver
from sampan.errors import UsageError
from sampan.model.inventory import CAPABILITIES, DeviceNode, Inventory


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_driver_options(parser)
    parser.add_argument(
        "--capabilities",
        default="all",
        metavar="LIST",
        help=f"only what these driver capabilities ask for: all, {', '.join(CAPABILITIES)}",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--all", action="store_true", help="also the driver's files that stay on the host, and why"
    )
    which.add_argument(
        "--unknown",
        action="store_true",
        help="only files of the driver that no rule explains; exit status 1 when there are any",
    )


def main(arguments: argparse.Namespace) -> int:
    """List the driver's parts; exit code 1 when there is no usable driver."""
    wanted = _parse_capabilities(arguments.capabilities)
    inventory = find_inventory(arguments)
    for warning in inventory.warnings:
        print_warning(warning)
    if arguments.unknown:
        return _print_unknown(inventory, arguments.format)
    rows = list_parts(inventory, wanted)
    left_out = _list_fates(inventory, "left out") if arguments.all else []
    if arguments.format == "json":
        names = ("kind", "name", "capabilities", "host_path", "found_by")
        document = {
            "driver_version": inventory.driver_version,
            "module_version": inventory.module_version,
            "cuda_version": inventory.cuda_version,
            "driver_root": inventory.driver_root,
            "parts": [dict(zip(names, row, strict=True)) for row in rows],
        }
        if arguments.all:
            document["left_out"] = [{"path": path, "reason": why} for path, why in left_out]
        print(json.dumps(document, indent=2))
    elif rows:
        print(_summary(inventory))
        print(format_columns(("KIND", "NAME", "CAPABILITIES", "HOST PATH", "FOUND IN"), rows))
        if left_out:
            print()
            print(format_columns(("LEFT OUT", "BECAUSE"), left_out))
    try:
        require_driver(inventory)
    except NoDriverError as error:
        print_error(error)
        return 1
    return 0


def _summary(inventory: Inventory) -> str:
    """Versions; those of WSL's driver, and the modules of a board's kernel, say none."""
    facts = [f"kernel module {inventory.module_version or 'not loaded'}"]
    if inventory.platform in ("wsl", "tegra"):
        facts = ["of Windows" if inventory.platform == "wsl" else "of this board"]
    facts += [f"CUDA {inventory.cuda_version}"] if inventory.cuda_version else []
    return f"Driver {inventory.driver_version or 'of unknown version'} ({', '.join(facts)})"


def list_parts(inventory: Inventory, wanted: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Kind, name, capabilities, host path and place of discovery of each part."""
    rows: list[tuple[str, ...]] = []

    def add(
        kind: str, name: str, capabilities: tuple[str, ...], host_path: str, found_by: str
    ) -> None:
        if not capabilities or any(word in wanted for word in capabilities):
            rows.append((kind, name, ",".join(capabilities) or "any", host_path, found_by))

    for library in inventory.libraries:
        kind = "library" if library.bits == 64 else "library32"
        if library.bits == 64 or "compat32" in wanted:
            add(kind, library.name, library.capabilities, library.host_path, library.found_by)
    for kind, files in (
        ("program", inventory.binaries),
        ("module", inventory.modules),
        ("configuration", inventory.configurations),
        ("firmware", inventory.firmware),
        ("socket", inventory.sockets),
    ):
        for file in files:
            add(kind, file.name, file.capabilities, file.host_path, file.found_by)
    for kind, nodes in _list_nodes(inventory):
        for node in nodes:
            add(kind, node.path, (), node.host_path, f"{node.major}:{node.minor} {node.mode:04o}")
    for extra in inventory.extras:
        for file in extra.files:
            add(extra.kind, file.name, (), file.host_path, file.found_by)
    return rows


def _list_nodes(inventory: Inventory) -> Iterator[tuple[str, tuple[DeviceNode, ...]]]:
    """Device nodes; those that are imported on request only have the request's name as kind."""
    yield "node", inventory.control_nodes
    seen: set[str] = set()
    for gpu in inventory.gpus:
        yield "node", gpu.nodes
        for mig in gpu.mig_devices:
            # Compute instances of one GPU instance share a node.
            yield "mig", tuple(node for node in mig.nodes if node.path not in seen)
            seen.update(node.path for node in mig.nodes)
    for extra in inventory.extras:
        yield extra.kind, extra.nodes


def _list_fates(inventory: Inventory, fate: str) -> list[tuple[str, str]]:
    from sampan.driver.unknown import judge_files

    return [(found.path, found.reason) for found in judge_files(inventory) if found.fate == fate]


def _print_unknown(inventory: Inventory, form: str) -> int:
    paths = [path for path, _ in _list_fates(inventory, "unknown")]
    if form == "json":
        print(json.dumps({"driver_root": inventory.driver_root, "unknown": paths}, indent=2))
    else:
        for path in paths:
            print(printable_word(path))
    return 1 if paths else 0


def _parse_capabilities(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    unknown = [word for word in words if word != "all" and word not in CAPABILITIES]
    if unknown or not words:
        raise UsageError(
            f"unknown driver capability {', '.join(map(repr, unknown)) or repr(text)}",
            remedy=f"choose from: all, {', '.join(CAPABILITIES)}",
        )
    return CAPABILITIES if "all" in words else words
