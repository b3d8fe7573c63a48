"""A whole host from a JSON description of ``testdata/mock_nvml``, with a libnvidia-ml that agrees.

The library is compiled once a process; README.md beside the descriptions says what they may hold.
"""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from support.compiled import compile_library
from support.driver_host import FakeHost

DESCRIPTIONS = Path(__file__).parent.parent / "testdata" / "mock_nvml"
LIBRARIES = {
    "libcuda": "libcuda.so.1",
    "libnvidia-ptxjitcompiler": "libnvidia-ptxjitcompiler.so.1",
    "libnvidia-opencl": "libnvidia-opencl.so.1",
    "libnvidia-encode": "libnvidia-encode.so.1",
    "libGLX_nvidia": "libGLX_nvidia.so.0",
    "libEGL_nvidia": "libEGL_nvidia.so.0",
}
CAPS_MAJOR = 241
GPU_INSTANCES, COMPUTE_INSTANCES = 15, 8
"""Of each GPU in ``mig-minors``, whatever is configured: the kernel module's fixed numbering."""


@functools.cache
def mock_nvml() -> Path:
    """The compiled library; it reads mock-nvml.json beside it, or what MOCK_NVML names."""
    directory = Path(tempfile.mkdtemp(prefix="mock-nvml-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return compile_library(
        DESCRIPTIONS / "nvml.c", directory / "libnvidia-ml.so.1", "libnvidia-ml.so.1"
    )


def describe(name: str) -> dict[str, Any]:
    """The description ``name``, to be changed at will."""
    description: dict[str, Any] = json.loads((DESCRIPTIONS / f"{name}.json").read_text())
    return description


def make_described_host(
    base: Path, description: str | dict[str, Any], *, real_nodes: bool = False
) -> FakeHost:
    """Build the host; ``host.take(nvml=True)`` takes its inventory through the real binding."""
    said = describe(description) if isinstance(description, str) else description
    host = FakeHost(base, real_nodes=real_nodes)
    version = said["driver_version"]
    module = said.get("module_version", version)
    for stem, soname in LIBRARIES.items():
        host.add_library(f"/usr/lib64/{stem}.so.{version}", soname)
    host.add_program("/usr/bin/nvidia-smi")
    install_nvml(host, said)
    if module:
        host.load_module(module)
    host.add_control_nodes()
    minors: dict[str, int] = {}
    for gpu in said["gpus"]:
        _add_gpu(host, gpu, minors, loaded=bool(module))
    for path, numbers in said.get("nodes", {}).items():
        major, _, minor = numbers.partition(":")
        host.add_node(path, int(major), int(minor))
    for name, minor in said.get("capabilities", {}).items():
        add_capability(host, name, minor)
    if minors:
        lines = "".join(f"{name} {minor}\n" for name, minor in minors.items())
        (host.proc / "driver/nvidia-caps").mkdir(parents=True)
        (host.proc / "driver/nvidia-caps/mig-minors").write_text(lines)
    return host


def install_nvml(host: FakeHost, said: dict[str, Any]) -> None:
    """Put the library and what it shall say into the host; again, to change what it says."""
    target = f"/usr/lib64/libnvidia-ml.so.{said['driver_version']}"
    if not (host.root / target.lstrip("/")).exists():
        host.add_file(target, mock_nvml().read_bytes())
    host.add_file("/usr/lib64/mock-nvml.json", json.dumps(said).encode())


def add_capability(host: FakeHost, name: str, minor: int, *, node: bool = True) -> None:
    """A file below ``/proc/driver/nvidia/capabilities`` and the node that goes with it."""
    host.add_proc(
        f"capabilities/{name}",
        f"DeviceFileMinor: {minor}\nDeviceFileMode: 292\nDeviceFileModify: 1\n",
    )
    path = f"/dev/nvidia-caps/nvidia-cap{minor}"
    if node and not (host.root / path.lstrip("/")).exists():
        host.add_node(path, CAPS_MAJOR, minor, mode=0o444)


def add_mig_device(host: FakeHost, gpu_minor: int, gi: int, ci: int, *, node: bool = True) -> None:
    """What procfs and ``/dev`` have of a MIG device; minors as the kernel module numbers them."""
    first = instance_minor(gpu_minor, gi)
    place = f"gpu{gpu_minor}/mig/gi{gi}"
    add_capability(host, f"{place}/access", first, node=node)
    add_capability(host, f"{place}/ci{ci}/access", first + 1 + ci, node=node)


def instance_minor(gpu_minor: int, gi: int) -> int:
    """The minor of a GPU instance's access node: config 1, monitor 2, then GPU after GPU."""
    return 3 + (gpu_minor * GPU_INSTANCES + gi) * (1 + COMPUTE_INSTANCES)


def _add_gpu(host: FakeHost, gpu: dict[str, Any], minors: dict[str, int], *, loaded: bool) -> None:
    minor, bus = gpu["minor"], _kernel_address(gpu["pci_bus_id"])
    if loaded and gpu.get("proc", True):
        host.add_proc(
            f"gpus/{bus}/information",
            f"Model: \t\t {gpu['name']}\nGPU UUID: \t {gpu['uuid']}\n"
            f"Bus Location: \t {bus}\nDevice Minor: \t {minor}\nGPU Excluded:\t No\n",
        )
    device = host.add_pci(bus)
    if gpu.get("node", True):
        host.add_node(f"/dev/nvidia{minor}", 195, minor)
    for name in gpu.get("dri", ()):
        (device / "drm" / name).mkdir(parents=True)
        kind = "render" if name.startswith("render") else "card"
        host.add_node(
            f"/dev/dri/{name}", 226, int("".join(filter(str.isdecimal, name))), mode=0o660, gid=44
        )
        host.add_link(f"/dev/dri/by-path/pci-{bus}-{kind}", f"../{name}")
    if not gpu.get("mig_mode"):
        return
    (host.proc / f"driver/nvidia/capabilities/gpu{minor}/mig").mkdir(parents=True)
    for gi in range(GPU_INSTANCES):
        first = instance_minor(minor, gi)
        minors[f"gpu{minor}/gi{gi}/access"] = first
        for ci in range(COMPUTE_INSTANCES):
            minors[f"gpu{minor}/gi{gi}/ci{ci}/access"] = first + 1 + ci
    for mig in gpu["mig_devices"]:
        present = mig.get("cap_nodes", True)
        add_mig_device(host, minor, mig["gpu_instance"], mig["compute_instance"], node=present)


def _kernel_address(pci_bus_id: str) -> str:
    """NVML's ``00010000:AF:00.0`` as the kernel writes it: ``10000:af:00.0``."""
    domain, _, rest = pci_bus_id.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"
