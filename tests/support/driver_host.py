"""Builds a host with an NVIDIA driver as directories: driver root, dev root, procfs, sysfs."""

import os
import stat
import struct
from pathlib import Path

import pytest

from sampan.driver.inventory import take_inventory
from sampan.model.inventory import Inventory

TESTDATA = Path(__file__).parent.parent / "testdata" / "driver_roots"
ELF_MACHINES = {"i386": 3, "x86_64": 62, "aarch64": 183}
UUID = "GPU-11111111-2222-3333-4444-55555555555"


def make_elf(soname: str, machine: str = "x86_64", bits: int = 64) -> bytes:
    """A shared library with nothing in it but a dynamic section that names it."""
    names = b"\0" + soname.encode() + b"\0"
    wide = bits == 64
    header, program, step = (64, 56, 16) if wide else (52, 32, 8)
    dynamic_at = header + 2 * program
    names_at = dynamic_at + 3 * step
    size = names_at + len(names)
    base = 0x1000
    tag = "<qQ" if wide else "<iI"
    tags = (
        [(14, 1), (5, base + names_at), (0, 0)]
        if soname
        else [(5, base + names_at), (0, 0), (0, 0)]
    )
    dynamic = b"".join(struct.pack(tag, *pair) for pair in tags)
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1, 1)) + bytes(9)
    if wide:
        rest = struct.pack(
            "<HHIQQQIHHHHHH", 3, ELF_MACHINES[machine], 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0
        )
        load = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096)
        dyn = struct.pack(
            "<IIQQQQQQ", 2, 6, dynamic_at, base + dynamic_at, 0, len(dynamic), len(dynamic), 8
        )
    else:
        rest = struct.pack(
            "<HHIIIIIHHHHHH", 3, ELF_MACHINES[machine], 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0
        )
        load = struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 4096)
        dyn = struct.pack(
            "<IIIIIIII", 2, dynamic_at, base + dynamic_at, 0, len(dynamic), len(dynamic), 6, 4
        )
    return ident + rest + load + dyn + dynamic + names


class FakeHost:
    """A host below ``base``.

    Its device nodes are plain files with a table of what they stand for; with ``real_nodes`` they
    are made by mknod(2), and the test is skipped where that is forbidden.
    """

    def __init__(self, base: Path, *, real_nodes: bool = False) -> None:
        self.base = base
        self.real_nodes = real_nodes
        self.forbidden: set[str] = set()
        """Paths of nodes that this process may not open, as below a batch system's device cgroup."""
        self.root = base / "root"
        self.proc = base / "proc"
        self.sys = base / "sys"
        self._nodes: dict[str, os.stat_result] = {}
        for directory in (self.root / "dev", self.proc, self.sys):
            directory.mkdir(parents=True)

    def add_file(self, path: str, content: bytes = b"x", mode: int = 0o644) -> Path:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
        return target

    def add_library(self, path: str, soname: str, machine: str = "x86_64", bits: int = 64) -> Path:
        return self.add_file(path, make_elf(soname, machine, bits))

    def add_program(self, path: str) -> Path:
        return self.add_file(path, b"\x7fELF", 0o755)

    def add_link(self, path: str, target: str) -> None:
        link = self.root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)

    def add_node(self, path: str, major: int, minor: int, mode: int = 0o666, gid: int = 0) -> None:
        if self.real_nodes:
            target = self.root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.mknod(target, stat.S_IFCHR | mode, os.makedev(major, minor))
            except PermissionError:
                pytest.skip("device nodes cannot be made here (mknod: operation not permitted)")
            os.chown(target, 0, gid)
            target.chmod(mode)
            return
        target = self.add_file(path, b"")
        fields = (stat.S_IFCHR | mode, 0, 0, 1, 0, gid, 0, 0, 0, 0)
        self._nodes[str(target)] = os.stat_result(fields, {"st_rdev": os.makedev(major, minor)})

    def node_stat(self, path: str) -> os.stat_result:
        return self._nodes.get(path) or os.lstat(path)

    def node_usable(self, path: str) -> bool:
        return self.inner(path) not in self.forbidden and os.access(path, os.R_OK | os.W_OK)

    def load_module(self, version: str, params: str = "ModifyDeviceFiles: 1\n") -> None:
        self.add_proc(
            "version", f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  built\n"
        )
        self.add_proc("params", params)

    def add_proc(self, name: str, text: str) -> None:
        target = self.proc / "driver" / "nvidia" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def add_gpu(self, number: int, name: str = "NVIDIA H200", *, node: bool = True) -> None:
        bus = f"0000:0{number}:00.0"
        self.add_proc(
            f"gpus/{bus}/information",
            f"Model: \t\t {name}\nGPU UUID: \t {UUID}{number}\n"
            f"Bus Location: \t {bus}\nDevice Minor: \t {number}\n",
        )
        self.add_pci(bus)
        if node:
            self.add_node(f"/dev/nvidia{number}", 195, number)

    def add_pci(self, bus: str, vendor: str = "0x10de", kind: str = "0x030200") -> Path:
        device = self.sys / "bus" / "pci" / "devices" / bus
        device.mkdir(parents=True)
        (device / "vendor").write_text(vendor + "\n")
        (device / "class").write_text(kind + "\n")
        return device

    def add_control_nodes(self) -> None:
        self.add_node("/dev/nvidiactl", 195, 255)
        self.add_node("/dev/nvidia-uvm", 238, 0)
        self.add_node("/dev/nvidia-uvm-tools", 238, 1)

    def add_tree(self, case: str, prefix: str) -> None:
        """Lay out ``testdata/driver_roots/<case>/tree.txt`` below ``prefix``."""
        for line in (TESTDATA / case / "tree.txt").read_text().splitlines():
            kind, path, *rest = line.split(" ")
            place = f"{prefix}/{path}"
            if kind == "s":
                self.add_library(place, rest[0])
            elif kind == "x":
                self.add_program(place)
            elif kind == "l":
                self.add_link(place, rest[0])
            else:
                self.add_file(place)

    def take(self, **options: object) -> Inventory:
        chosen: dict[str, object] = {"nvml": False, "machine": "x86_64", **options}
        return take_inventory(
            str(self.root),
            str(self.root),
            proc_root=str(self.proc),
            sys_root=str(self.sys),
            node_stat=self.node_stat,
            node_usable=self.node_usable,
            **chosen,  # type: ignore[arg-type]
        )

    def inner(self, host_path: str) -> str:
        """A host path as seen from inside the driver root."""
        return host_path.removeprefix(str(self.root.resolve()))


def make_plain_host(base: Path, version: str) -> FakeHost:
    """A host with the module, its control nodes and libcuda, and no GPU yet."""
    host = FakeHost(base)
    host.load_module(version)
    host.add_control_nodes()
    host.add_library(f"/usr/lib64/libcuda.so.{version}", "libcuda.so.1")
    return host


def make_h200_host(base: Path) -> FakeHost:
    """The machine of ``testdata/driver_roots/h200``."""
    host = FakeHost(base)
    host.add_tree("h200", "/usr/local/nvidia")
    for name, file in (
        ("version", "version.txt"),
        ("params", "params.txt"),
        ("gpus/0000:00:06.0/information", "information.txt"),
    ):
        host.add_proc(name, (TESTDATA / "h200" / file).read_text())
    host.add_pci("0000:00:06.0")
    host.add_control_nodes()
    host.add_node("/dev/nvidia0", 195, 0)
    return host
