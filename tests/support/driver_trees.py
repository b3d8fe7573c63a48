"""Hosts of ``testdata/driver_roots/<case>``, built from the path lists, and their inventories as text."""

import json
import os
import re
from pathlib import Path
from typing import Any

from sampan.driver.roots import Root
from sampan.driver.unknown import judge_files
from sampan.model.inventory import DriverFile, Inventory
from support.driver_host import TESTDATA, FakeHost, make_elf

CASES: tuple[str, ...] = tuple(sorted(path.parent.name for path in TESTDATA.glob("*/paths.txt")))
SONAME_NUMBERS: dict[str, int] = {
    "libEGL_nvidia": 0, "libGLESv1_CM_nvidia": 1, "libGLESv2_nvidia": 2, "libGLX_nvidia": 0,
    "libcuda": 1, "libcudadebugger": 1, "libnvcuvid": 1, "libnvidia-allocator": 1,
    "libnvidia-api": 1, "libnvidia-cfg": 1, "libnvidia-egl-gbm": 1, "libnvidia-egl-wayland": 1,
    "libnvidia-egl-wayland2": 1, "libnvidia-egl-xcb": 1, "libnvidia-egl-xlib": 1,
    "libnvidia-encode": 1, "libnvidia-fbc": 1, "libnvidia-ifr": 1, "libnvidia-ml": 1,
    "libnvidia-ngx": 1, "libnvidia-nscq": 2, "libnvidia-nvvm": 4, "libnvidia-nvvm70": 4,
    "libnvidia-opencl": 1, "libnvidia-opticalflow": 1, "libnvidia-ptxjitcompiler": 1,
    "libnvidia-sandboxutils": 1, "libnvidia-vksc-core": 1, "libnvoptix": 1, "libnvsdm": 1,
    "libvdpau_nvidia": 1,
}  # fmt: skip
"""The libraries whose SONAME is not their file name (seen in drivers 535 to 580)."""
NARROW_PLACES = ("/i386-linux-gnu/", "/usr/lib32/")


class Case:
    """A host of a case: ``host`` lies below the directory given, ``machine`` is its libraries'."""

    def __init__(self, base: Path, name: str) -> None:
        self.host = FakeHost(base)
        self.name = name
        text = (TESTDATA / name / "paths.txt").read_text()
        said = dict(re.findall(r"^# (driver|machine|platform|32-bit) (.*)$", text, re.MULTILINE))
        self.driver = said.get("driver", "")
        self.machine = said.get("machine", "x86_64")
        self._narrow = (*NARROW_PLACES, *([said["32-bit"] + "/"] if "32-bit" in said else []))
        lines = [line for line in text.splitlines() if line.startswith("/")]
        self._paths = {re.split(" (->|=|elf|node) ", line, maxsplit=1)[0] for line in lines}
        for line in lines:
            self._lay_out(line)
        if "platform" not in said:
            self.host.load_module(self.driver)
            self.host.add_control_nodes()

    def take(self, **options: object) -> Inventory:
        return self.host.take(machine=self.machine, **options)

    def _lay_out(self, line: str) -> None:
        path, sign, rest = (*re.split(" (->|=|elf|node) ", line, maxsplit=1), "", "")[:3]
        name = path.rpartition("/")[2]
        if sign == "->":
            self.host.add_link(path, rest)
        elif sign == "=":
            self.host.add_file(path, rest.replace("\\n", "\n").encode() + b"\n")
        elif sign == "elf":
            self.host.add_library(path, rest, self.machine)
        elif sign == "node":
            major, minor = rest.split(":")
            self.host.add_node(path, int(major), int(minor))
        elif ".so" in name:
            self._add_library(path, name)
        elif path.rpartition("/")[0].endswith(("bin", "origBin")) or "/nvidia/current/nv" in path:
            self.host.add_file(path, b"#!/bin/sh\n" if name.endswith(".sh") else b"\x7fELF", 0o755)
        elif "/usr/lib/nvidia/" in path or (name.startswith("nvidia-") and "." not in name):
            self.host.add_program(path)
        else:
            self.host.add_file(path)

    def _add_library(self, path: str, name: str) -> None:
        """The file itself, or the link to it that a package has beside it."""
        directory = path.rpartition("/")[0]
        stem = name.partition(".so")[0]
        longer = sorted(
            (len(other), other)
            for other in self._paths
            if other.startswith(f"{directory}/{name}.") and other != path
        )
        versioned = f"{directory}/{stem}.so.{self.driver}"
        if longer or (versioned in self._paths and path != versioned):
            target = longer[0][1] if longer else versioned
            self.host.add_link(path, target.rpartition("/")[2])
            return
        number = SONAME_NUMBERS.get(stem)
        soname = name if number is None else f"{stem}.so.{number}"
        narrow = any(place in path for place in self._narrow) and "/nvidia/xorg" not in path
        elf = make_elf(soname, "i386", 32) if narrow else make_elf(soname, self.machine)
        self.host.add_file(path, elf)


def describe_inventory(inventory: Inventory) -> str:
    """The inventory's files as JSON, paths as seen from inside the driver root, a line for each."""
    root = Root(inventory.driver_root)

    def file(found: DriverFile) -> dict[str, Any]:
        text = {"text": found.text.replace(root.path, "")} if found.text else {}
        return {
            "path": root.inner_path(found.host_path),
            "to": f"{found.directory}/{found.name}",
            "capabilities": found.capabilities,
            **text,
        }

    verdicts = judge_files(inventory)
    document = {
        "version": inventory.driver_version,
        "platform": inventory.platform,
        "libraries": [
            {
                "path": root.inner_path(library.host_path),
                "soname": library.soname,
                "bits": library.bits,
                "links": library.links,
                "capabilities": library.capabilities,
                **({"directory": library.directory} if library.directory else {}),
            }
            for library in inventory.libraries
        ],
        "programs": [file(found) for found in inventory.binaries],
        "modules": [file(found) for found in inventory.modules],
        "configurations": [file(found) for found in inventory.configurations],
        "firmware": [file(found) for found in inventory.firmware],
        "sockets": [file(found) for found in inventory.sockets],
        "links": [tuple(link) for link in inventory.links],
        "control_nodes": [node.path for node in inventory.control_nodes],
        "extras": [
            {
                "kind": extra.kind,
                "nodes": [node.path for node in extra.nodes],
                "files": [file(found)["to"] for found in extra.files],
            }
            for extra in inventory.extras
        ],
        "warnings": [warning.replace(root.path, "") for warning in inventory.warnings],
        "left_out": [
            {"path": found.path, "reason": found.reason}
            for found in verdicts
            if found.fate == "left out"
        ],
        "unknown": [found.path for found in verdicts if found.fate == "unknown"],
    }
    lines = ["{"]
    for name, value in document.items():
        if isinstance(value, list):
            rows = ",\n".join(f"  {json.dumps(row)}" for row in value)
            lines.append(f' "{name}": [\n{rows}\n ],' if rows else f' "{name}": [],')
        else:
            lines.append(f' "{name}": {json.dumps(value)},')
    lines[-1] = lines[-1].removesuffix(",")
    return "\n".join([*lines, "}", ""])


def is_updating() -> bool:
    """Whether golden files are to be written anew."""
    return bool(os.environ.get("SAMPAN_UPDATE_GOLDEN"))
