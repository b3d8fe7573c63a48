"""Takes stock of the NVIDIA driver of one host: files below a driver root, nodes below a dev root.

Whatever is missing is left out with a warning; the inventory of a machine without a driver is
empty, and ``absence.require_driver`` says what it lacks. A GPU whose node is missing is dropped
alone. The search rules are those of field note nvidia-container-toolkit, sections 4.1 to 4.3.
"""

import os
from collections.abc import Sequence

from sampan.driver.capabilities import CUDA_BY_BRANCH
from sampan.driver.files import (
    find_binaries,
    find_configurations,
    find_firmware,
    find_sockets,
    list_prefixes,
)
from sampan.driver.libraries import find_libraries
from sampan.driver.nodes import (
    StatFunction,
    find_control_nodes,
    find_dri_nodes,
    find_pci_devices,
    read_node,
)
from sampan.driver.nvml import NvmlAnswer, NvmlError, NvmlGpu, query_nvml
from sampan.driver.procfs import list_gpu_information, read_module_version, read_params
from sampan.driver.roots import Root
from sampan.model.inventory import DriverLibrary, Gpu, Inventory


def take_inventory(
    driver_root: str = "/",
    dev_root: str = "/",
    *,
    nvml: bool = True,
    library_search_paths: Sequence[str] = (),
    proc_root: str = "/proc",
    sys_root: str = "/sys",
    machine: str = "",
    node_stat: StatFunction = os.lstat,
) -> Inventory:
    """Look at the host; nothing is changed, NVML runs in a child process.

    Args:
        driver_root: directory standing for ``/`` of the system that holds the driver's files.
        dev_root: directory that holds ``dev``.
        nvml: False = only ``/proc/driver/nvidia`` is asked for GPUs.
        library_search_paths: library directories inside the driver root to look into first.
        proc_root: where procfs is.
        sys_root: where sysfs is.
        machine: ELF machine of the libraries; empty = this host's.
        node_stat: how a device node is looked at.
    """
    root = Root(driver_root)
    dev = os.path.realpath(dev_root)
    module_version = read_module_version(proc_root)
    search = find_libraries(
        root,
        machine=machine or os.uname().machine,
        module_version=module_version,
        search_paths=library_search_paths,
    )
    warnings = list(search.warnings)
    prefixes = list_prefixes(search.directories)
    pci_devices = find_pci_devices(sys_root)
    version = search.version
    # Also without nodes: at its first use NVML makes them where nvidia-modprobe is installed.
    asked = nvml and (module_version or pci_devices)
    answer = _query(search.libraries, warnings) if asked else None
    control_nodes = find_control_nodes(dev, node_stat)
    gpus = _list_gpus(answer, dev, sys_root, proc_root, node_stat, warnings)
    if version and module_version and version != module_version:
        warnings.append(
            f"the loaded kernel module is {module_version} but the libraries are {version}:"
            " CUDA and NVML refuse to work together; reboot, or reload the nvidia modules"
        )
    return Inventory(
        driver_root=root.path,
        dev_root=dev,
        driver_version=version,
        module_version=module_version or read_module_version(proc_root),
        cuda_version=(answer.cuda_version if answer else "") or _cuda_of_branch(version),
        platform="discrete" if search.libraries and control_nodes else "none",
        libraries=search.libraries,
        binaries=find_binaries(root, prefixes) if version else (),
        configurations=(find_configurations(root, prefixes, search.directories) if version else ()),
        firmware=find_firmware(root, prefixes, version, sys_root) if version else (),
        sockets=find_sockets(root) if version else (),
        control_nodes=control_nodes,
        gpus=gpus,
        warnings=tuple(warnings),
        params=read_params(proc_root),
        pci_devices=pci_devices,
        searched=tuple(root.host_path(directory) for directory in search.directories),
    )


def _query(libraries: Sequence[DriverLibrary], warnings: list[str]) -> NvmlAnswer | None:
    for library in libraries:
        if library.soname == "libnvidia-ml.so.1" and library.bits == 64:
            try:
                answer = query_nvml(library.host_path)
            except NvmlError as error:
                warnings.append(f"{error.cause} ({error.evidence}); GPUs are listed from /proc")
                return None
            warnings.extend(answer.warnings)
            return answer
    return None


def _list_gpus(
    answer: NvmlAnswer | None,
    dev_root: str,
    sys_root: str,
    proc_root: str,
    node_stat: StatFunction,
    warnings: list[str],
) -> tuple[Gpu, ...]:
    information = list_gpu_information(proc_root)
    if answer is not None:
        known = answer.gpus
    else:
        known = tuple(
            NvmlGpu(number, gpu.uuid, gpu.minor, gpu.pci_bus_id, gpu.name, "", "", 0, False)
            for number, gpu in enumerate(information)
        )
    gpus = []
    for gpu in known:
        path = f"/dev/nvidia{gpu.minor}"
        node = read_node(dev_root, path, node_stat) if gpu.minor >= 0 else None
        if node is None:
            missing = f"its node {path} is missing" if gpu.minor >= 0 else "it has no minor number"
            warnings.append(
                f"GPU {gpu.nvml_index} ({gpu.name}, {gpu.pci_bus_id}) is left out: {missing};"
                " sudo nvidia-modprobe -c=0 -u creates the nodes"
            )
            continue
        if answer is None and not os.access(node.host_path, os.R_OK | os.W_OK):
            # NVML leaves such GPUs out by itself: a batch system's device cgroup, a group's mode.
            warnings.append(
                f"GPU {gpu.nvml_index} ({gpu.name}) is left out: {path} may not be used"
            )
            continue
        dri = find_dri_nodes(dev_root, sys_root, gpu.pci_bus_id, node_stat)
        gpus.append(
            Gpu(
                nvml_index=gpu.nvml_index,
                uuid=gpu.uuid,
                minor=gpu.minor,
                pci_bus_id=gpu.pci_bus_id,
                name=gpu.name,
                architecture=gpu.architecture,
                brand=gpu.brand,
                memory_bytes=gpu.memory_bytes,
                nodes=(node, *dri),
                mig_enabled=gpu.mig_enabled,
            )
        )
    return tuple(gpus)


def _cuda_of_branch(version: str) -> str:
    major = version.partition(".")[0]
    return CUDA_BY_BRANCH.get(int(major), "") if major.isdecimal() else ""
