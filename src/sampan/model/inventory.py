"""What is on this host: the driver's files, device nodes and GPUs, as ``driver/`` found them."""

from typing import NamedTuple

CAPABILITIES: tuple[str, ...] = (
    "compute", "compat32", "display", "graphics", "ngx", "utility", "video",
)  # fmt: skip
"""Driver capabilities (NVIDIA_DRIVER_CAPABILITIES; field table of libnvidia-container)."""


class DriverFile(NamedTuple):
    """A file, directory or socket of the driver on the host.

    Attributes:
        name: file name in the container, e.g. ``libcuda.so.580.95.05``, ``nvidia-smi``.
        host_path: real path on the host, driver root included.
        capabilities: which of CAPABILITIES ask for it; empty = always.
        found_by: the directory it was found in.
        directory: the usual container directory, e.g. ``/usr/bin``, before the image's own links.
        text: content of a JSON description (GLVND, Vulkan, EGL) that names its library by an
            absolute path, which means nothing in a container; empty otherwise.
    """

    name: str
    host_path: str
    capabilities: tuple[str, ...]
    found_by: str
    directory: str = ""
    text: str = ""


class DriverLibrary(NamedTuple):
    """A shared library of the driver.

    Attributes:
        soname: DT_SONAME, e.g. ``libcuda.so.1``; the file name when it has none.
        bits: 64 or 32. ``machine`` is the ELF machine, e.g. ``x86_64``, ``aarch64``, ``i386``.
        links: further names that the host has for it in its directory, e.g. ``libcuda.so``.
        directory: the container directory where it must lie, since others open it there by its
            full path (WSL's driver store, Tegra's lists); empty = the image's library directory.
    """

    name: str
    soname: str
    host_path: str
    bits: int
    machine: str
    links: tuple[str, ...]
    capabilities: tuple[str, ...]
    found_by: str
    directory: str = ""


class DeviceNode(NamedTuple):
    """A character device: ``path`` in the container, ``host_path`` below the dev root."""

    path: str
    host_path: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int


class DriverLink(NamedTuple):
    """A symbolic link that the driver wants beside its files: container path, target as written."""

    path: str
    target: str


class MigDevice(NamedTuple):
    """One MIG device: a compute instance of a GPU instance.

    Attributes:
        position: its number on the parent, the ``1`` of ``0:1``.
        uuid: ``MIG-...``.
        gpu_instance: id of the GPU instance; ``compute_instance`` within it.
        profile: e.g. ``1g.10gb``, ``1g.10gb+me``, ``1g.24gb+gfx``.
        memory_bytes: 0 when unknown.
        nodes: the two access nodes ``/dev/nvidia-caps/nvidia-cap<n>``, of the GPU instance first.
        access_files: the ``access`` files below ``/proc/driver/nvidia/capabilities`` that the nodes
            belong to, GPU instance first; written with ``/proc``, whatever the proc root was.
    """

    position: int
    uuid: str
    gpu_instance: int
    compute_instance: int
    profile: str
    memory_bytes: int
    nodes: tuple[DeviceNode, ...]
    access_files: tuple[str, ...]

    @property
    def draws(self) -> bool:
        """Whether the profile has graphics, so that the parent's DRI nodes belong to it."""
        return "+gfx" in self.profile


class Gpu(NamedTuple):
    """One physical GPU, or, among selected ones, the part of it that was selected.

    Attributes:
        nvml_index: the number that --gpus device= means. ``minor`` is the number of its node /dev/nvidia<minor>.
        pci_bus_id: e.g. ``00000000:00:06.0``.
        architecture: compute capability, e.g. ``9.0``; empty when unknown.
        brand: lower case, e.g. ``tesla``, ``geforce``, ``nvidia``.
        memory_bytes: 0 when unknown.
        nodes: its device nodes, dri nodes included.
        mig_enabled: GPUs in MIG mode are listed but not addressable as a whole; a selected one
            carries in ``mig_devices`` those that were selected.
        mig_devices: in the order of their positions.
        links: ``/dev/dri/by-path`` links to its DRI nodes.
    """

    nvml_index: int
    uuid: str
    minor: int
    pci_bus_id: str
    name: str
    architecture: str
    brand: str
    memory_bytes: int
    nodes: tuple[DeviceNode, ...]
    mig_enabled: bool = False
    mig_devices: tuple[MigDevice, ...] = ()
    links: tuple[DriverLink, ...] = ()


EXTRA_KINDS: tuple[str, ...] = (
    "fabric-imex-mgmt", "fabric-mgmt", "gdrcopy", "gds", "imex", "jetpack", "mig-config",
    "mig-monitor", "mofed", "nvswitch",
)  # fmt: skip
"""What is imported only when it is asked for by name (field note, sections 3.4 and 4.2).

``fabric-imex-mgmt`` is what an IMEX manager needs, no user of its channels, and ``fabric-mgmt`` what a
fabric manager needs, no user of its switches; they are part of CDI's management mode alone.
``jetpack`` is what Tegra's CSV lists hold beyond the base ones: NVIDIA_REQUIRE_JETPACK=csv-mounts=all.
"""


class Extra(NamedTuple):
    """One of EXTRA_KINDS as far as this host has it.

    Attributes:
        nodes: for ``imex`` the channels ``/dev/nvidia-caps-imex-channels/channel<n>``.
        files: files, directories and sockets that belong to it, e.g. ``/etc/cufile.json``.
        access_files: below ``/proc/driver/nvidia/capabilities`` (``mig-config``, ``mig-monitor``,
            ``fabric-mgmt`` ...), written with ``/proc``, whatever the proc root was.
    """

    kind: str
    nodes: tuple[DeviceNode, ...] = ()
    files: tuple[DriverFile, ...] = ()
    access_files: tuple[str, ...] = ()


class Inventory(NamedTuple):
    """The driver of one host below one driver root and dev root.

    Attributes:
        driver_version: of the user-space libraries, by their file names.
        module_version: of the loaded kernel module; empty when not loaded.
        cuda_version: the highest CUDA that the driver supports, e.g. ``13.0``; empty if unknown.
        platform: ``discrete``, ``wsl`` (Windows' driver through ``/dev/dxg``), ``tegra`` (files by
            CSV lists) or ``none`` (no driver found).
        warnings: what was dropped, and why.
        params: content of ``/proc/driver/nvidia/params``; empty when the module is not loaded.
        pci_devices: bus addresses of NVIDIA display controllers per sysfs, driven or not.
        searched: the library directories that were looked into, as host paths.
        modules: X.Org's driver and GLX modules; ``directory`` is below the server's module path.
        links: further links that containers need (Tegra's ``sym`` lines, WSL's nvidia-smi).
        extras: in the order of EXTRA_KINDS; kinds that the host lacks are absent.
    """

    driver_root: str
    dev_root: str
    driver_version: str
    module_version: str
    cuda_version: str
    platform: str
    libraries: tuple[DriverLibrary, ...]
    binaries: tuple[DriverFile, ...]
    configurations: tuple[DriverFile, ...]
    firmware: tuple[DriverFile, ...]
    sockets: tuple[DriverFile, ...]
    control_nodes: tuple[DeviceNode, ...]
    gpus: tuple[Gpu, ...]
    warnings: tuple[str, ...]
    params: str = ""
    pci_devices: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    modules: tuple[DriverFile, ...] = ()
    links: tuple[DriverLink, ...] = ()
    extras: tuple[Extra, ...] = ()


class GpuUsage(NamedTuple):
    """How busy a GPU, or a MIG device, is at one moment; never part of a cached inventory.

    Attributes:
        nvml_index: of the GPU. ``mig_position`` is -1 for the GPU as a whole.
        uuid: ``GPU-...``, or ``MIG-...`` for a MIG device; empty when unknown.
        memory_used_bytes: of ``memory_bytes``; both 0 when NVML does not say.
        utilization_percent: share of the last sample period in which a kernel ran; -1 when NVML
            does not say, as for MIG devices and their parents.
        process_count: processes with a compute or graphics context on it.
    """

    nvml_index: int
    mig_position: int
    uuid: str
    memory_used_bytes: int
    memory_bytes: int
    utilization_percent: int
    process_count: int
