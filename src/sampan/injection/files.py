"""Programs, descriptions, firmware, sockets, X.Org modules and links of a plan."""

import json
import posixpath
from collections.abc import Sequence
from typing import Any

from sampan.injection.builder import FILE_OPTIONS, SOCKET_OPTIONS, PlanBuilder
from sampan.injection.container_texts import (
    PROFILE_DIRECTORY,
    PROFILE_NAME,
    mask_minors,
    render_profile,
)
from sampan.injection.places import real_directory
from sampan.model.facts import ImageFacts
from sampan.model.inventory import DriverFile, DriverLink, Gpu, Inventory
from sampan.model.plan import PlannedFile

MODULE_DIRECTORIES: tuple[str, ...] = ("/usr/lib/xorg/modules", "/usr/lib64/xorg/modules")
"""Where X servers of Debian's and Arch's kind, and of Red Hat's and SUSE's, look for modules."""
GLX_MODULE = "libglxserver_nvidia.so"


def asks(capabilities: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether one of ``capabilities`` is wanted; what belongs to none is for everybody."""
    return not capabilities or any(word in wanted for word in capabilities)


def plan_files(
    builder: PlanBuilder, inventory: Inventory, wanted: Sequence[str], gpus: Sequence[Gpu]
) -> None:
    """Add every file of the wanted capabilities that is no library, and the links beside them."""
    for kind, files in (
        ("program", inventory.binaries),
        ("configuration", inventory.configurations),
        ("firmware", inventory.firmware),
    ):
        for file in files:
            path = container_path(builder.facts, file)
            if not asks(file.capabilities, wanted):
                builder.leave_out(path, _not_asked(file.capabilities), file.host_path)
            elif file.text:
                _plan_description(builder, file, path, _why(file, wanted, kind))
            else:
                if kind != "firmware":
                    builder.add_mount_point(path)
                builder.add_mount(file.host_path, path, FILE_OPTIONS, _why(file, wanted, kind))
    _plan_opencl(builder, inventory, wanted)
    _plan_sockets(builder, inventory, wanted)
    _plan_modules(builder, inventory, wanted)
    _plan_links(builder, inventory)
    if inventory.platform == "discrete" and asks(("graphics", "display"), wanted):
        _plan_profile(builder, gpus)


def container_path(facts: ImageFacts, file: DriverFile) -> str:
    """Where a driver file goes: its usual directory, after the image's links."""
    return f"{real_directory(facts, file.directory)}/{file.name}"


def _why(file: DriverFile, wanted: Sequence[str], kind: str) -> str:
    words = ", ".join(word for word in file.capabilities if word in wanted)
    return f"capability {words}; {kind}" if words else kind


def _not_asked(capabilities: Sequence[str]) -> str:
    return f"capability {' or '.join(capabilities)} is not asked for"


def _plan_description(builder: PlanBuilder, file: DriverFile, path: str, why: str) -> None:
    """Write a JSON description anew, so that its library is found by name, not by the host's path."""
    missing: list[str] = []
    try:
        document = json.loads(file.text)
        _shorten_paths(document, builder, missing)
        content = json.dumps(document, indent=4).encode() + b"\n"
    except (ValueError, RecursionError):
        builder.leave_out(path, "the description cannot be read", file.host_path)
        builder.warn(f"{file.host_path} is left out: it is no JSON")
        return
    if missing:
        names = ", ".join(missing)
        builder.leave_out(path, f"its library {names} is not imported", file.host_path)
        builder.warn(f"{file.host_path} is left out: it names {names}, which is not imported")
        return
    builder.add_file(
        PlannedFile(path, content, 0o644),
        f"{why}; written anew: the host's names its library by an absolute path",
        file.host_path,
    )


def _shorten_paths(value: Any, builder: PlanBuilder, missing: list[str]) -> None:  # parsed JSON
    """Replace absolute ``library_path`` values of a document by file names."""
    if isinstance(value, list):
        for item in value:
            _shorten_paths(item, builder, missing)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "library_path" and isinstance(item, str) and item.startswith("/"):
                name = posixpath.basename(item)
                value[key] = name
                if name not in builder.library_names:
                    missing.append(name)
            else:
                _shorten_paths(item, builder, missing)


def _plan_opencl(builder: PlanBuilder, inventory: Inventory, wanted: Sequence[str]) -> None:
    """Drivers unpacked without a package often lack the ICD file, which is one line."""
    library = "libnvidia-opencl.so.1"
    path = f"{real_directory(builder.facts, '/etc/OpenCL/vendors')}/nvidia.icd"
    present = any(found.soname == library for found in inventory.libraries)
    if present and "compute" in wanted and not builder.has(path):
        builder.add_file(
            PlannedFile(path, f"{library}\n".encode(), 0o644),
            "capability compute; OpenCL finds the driver",
            "written by Sampan: the host has no nvidia.icd",
        )


def _plan_sockets(builder: PlanBuilder, inventory: Inventory, wanted: Sequence[str]) -> None:
    for socket in inventory.sockets:
        path = container_path(builder.facts, socket)
        if asks(socket.capabilities, wanted):
            words = " or ".join(socket.capabilities)
            builder.add_mount(
                socket.host_path, path, SOCKET_OPTIONS, f"capability {words}; socket of a daemon"
            )
        else:
            builder.leave_out(path, _not_asked(socket.capabilities), socket.host_path)


def _plan_modules(builder: PlanBuilder, inventory: Inventory, wanted: Sequence[str]) -> None:
    """X.Org's modules, for an X server of the image's own."""
    facts = builder.facts
    places = (real_directory(facts, place) for place in MODULE_DIRECTORIES)
    home = next((place for place in places if place in facts.directories), "")
    for module in inventory.modules:
        if not asks(module.capabilities, wanted):
            builder.leave_out(module.name, _not_asked(module.capabilities), module.host_path)
        elif not home:
            builder.leave_out(module.name, "the image has no X.Org server", module.host_path)
        else:
            directory = real_directory(facts, f"{home}/{module.directory}")
            path = f"{directory}/{module.name}"
            builder.add_mount_point(path)
            builder.add_mount(
                module.host_path, path, FILE_OPTIONS, _why(module, wanted, "X.Org module")
            )
            if module.name.startswith(f"{GLX_MODULE}."):
                builder.add_link(
                    f"{directory}/{GLX_MODULE}", module.name, "the name the X server asks for"
                )


def _plan_links(builder: PlanBuilder, inventory: Inventory) -> None:
    """The driver's further links, except those to what is left out, by way of others too."""
    waiting = [
        (f"{real_directory(builder.facts, directory)}/{name}", _target(directory, link), link)
        for link in inventory.links
        for directory, _, name in [link.path.rpartition("/")]
    ]
    while dangling := [item for item in waiting if builder.is_left_out(item[1])]:
        for path, _, link in dangling:
            builder.leave_out(path, "what it leads to is left out", f"link to {link.target}")
        waiting = [item for item in waiting if item not in dangling]
    for path, _, link in waiting:
        builder.add_link(path, link.target, "the host's driver has this link")


def _target(directory: str, link: DriverLink) -> str:
    return posixpath.normpath(posixpath.join(directory, link.target))


def _plan_profile(builder: PlanBuilder, gpus: Sequence[Gpu]) -> None:
    """Tell EGL which GPUs are the container's: it lists all that the kernel module knows."""
    mask = mask_minors(gpu.minor for gpu in gpus)
    if not mask:
        return
    path = f"{real_directory(builder.facts, PROFILE_DIRECTORY)}/{PROFILE_NAME}"
    builder.add_file(
        PlannedFile(path, render_profile(mask).encode(), 0o644),
        f"EGL sees the selected GPUs alone (mask of minors {mask:#x})",
        "written by Sampan",
    )
