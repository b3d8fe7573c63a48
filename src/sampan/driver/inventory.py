"""Takes stock of the NVIDIA driver of one host: files below a driver root, nodes below a dev root.

Whatever is missing is left out with a warning; the inventory of a machine without a driver is
empty, and ``absence.require_driver`` says what it lacks. A GPU whose node is missing is dropped
alone. The search rules are those of field note nvidia-container-toolkit, sections 4.1 to 4.3.
"""

import os
from collections.abc import Callable, Sequence

from sampan.driver.capabilities import CUDA_BY_BRANCH
from sampan.driver.caps import read_minor_tables
from sampan.driver.discovery import DriverFiles, find_driver_files
from sampan.driver.extras import find_extras
from sampan.driver.gpu_list import list_gpus, list_gpus_without_nodes
from sampan.driver.nodes import (
    DeviceView,
    StatFunction,
    find_control_nodes,
    find_pci_devices,
    is_usable,
)
from sampan.driver.nvml import NvmlAnswer, NvmlError, find_nvml, query_nvml
from sampan.driver.platforms import detect_platform
from sampan.driver.procfs import read_module_version, read_params
from sampan.driver.roots import Root
from sampan.model.inventory import EXTRA_KINDS, DriverLibrary, Extra, Inventory


def take_inventory(
    driver_root: str = "/",
    dev_root: str = "/",
    *,
    nvml: bool = True,
    library_search_paths: Sequence[str] = (),
    config_search_paths: Sequence[str] = (),
    mps_directory: str = "",
    csv_lists: Sequence[str] = (),
    proc_root: str = "/proc",
    sys_root: str = "/sys",
    machine: str = "",
    node_stat: StatFunction = os.lstat,
    node_usable: Callable[[str], bool] = is_usable,
) -> Inventory:
    """Look at the host; nothing is changed, NVML runs in a child process.

    Args:
        driver_root: directory standing for ``/`` of the system that holds the driver's files.
        dev_root: directory that holds ``dev``.
        nvml: False = only ``/proc/driver/nvidia`` is asked for GPUs.
        library_search_paths: library directories inside the driver root to look into first.
        config_search_paths: share directories inside the driver root to look into last.
        mps_directory: of CUDA_MPS_PIPE_DIRECTORY; empty = the usual place.
        csv_lists: on Tegra, host paths of the lists to read; empty = the usual ones.
        proc_root: where procfs is.
        sys_root: where sysfs is.
        machine: ELF machine of the libraries; empty = this host's.
        node_stat: how a device node is looked at.
        node_usable: whether this process may open a node, by its host path.
    """
    root = Root(driver_root)
    dev = os.path.realpath(dev_root)
    view = DeviceView(dev, proc_root, sys_root, node_stat, node_usable)
    platform = detect_platform(
        root, dev, proc_root=proc_root, sys_root=sys_root, node_stat=node_stat
    )
    module_version = read_module_version(proc_root)
    files = find_driver_files(
        root,
        platform,
        machine=machine or os.uname().machine,
        module_version=module_version,
        library_search_paths=library_search_paths,
        config_search_paths=config_search_paths,
        mps_directory=mps_directory,
        csv_lists=csv_lists,
        proc_root=proc_root,
        sys_root=sys_root,
    )
    warnings = list(files.warnings)
    pci_devices = find_pci_devices(sys_root)
    # Also without nodes: at its first use NVML makes them where nvidia-modprobe is installed.
    asked = nvml and (module_version or pci_devices or platform != "discrete")
    answer = _query(files.libraries, warnings) if asked else None
    version = files.version or (answer.driver_version if answer else "")
    control_nodes = find_control_nodes(view, platform)
    listed = {node.path for node in control_nodes}
    control_nodes += view.find(path for path in files.device_paths if path not in listed)
    minors = read_minor_tables(proc_root)
    if platform == "discrete":
        gpus = list_gpus(view, answer, minors, warnings)
    else:
        gpus = list_gpus_without_nodes(view, platform, answer) if control_nodes else ()
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
        platform=platform if files.libraries and control_nodes else "none",
        libraries=files.libraries,
        binaries=files.binaries,
        configurations=files.configurations,
        firmware=files.firmware,
        sockets=files.sockets,
        control_nodes=control_nodes,
        gpus=gpus,
        warnings=tuple(warnings),
        params=read_params(proc_root),
        pci_devices=pci_devices,
        searched=tuple(root.host_path(directory) for directory in files.searched),
        modules=files.modules,
        links=files.links,
        extras=_with_jetpack(find_extras(view, root, minors), view, files),
    )


def _query(libraries: Sequence[DriverLibrary], warnings: list[str]) -> NvmlAnswer | None:
    library = find_nvml(libraries)
    if not library:
        return None
    try:
        return query_nvml(library)
    except NvmlError as error:
        warnings.append(
            f"{error.cause} ({error.evidence}); GPUs are listed from /proc"
            + (f"; {error.remedy}" if error.remedy else "")
        )
        return None


def _with_jetpack(
    extras: tuple[Extra, ...], view: DeviceView, files: DriverFiles
) -> tuple[Extra, ...]:
    """The extras and what Tegra's further lists name, in the order of EXTRA_KINDS."""
    nodes = view.find(files.jetpack_device_paths)
    if not (nodes or files.jetpack_files):
        return extras
    jetpack = Extra("jetpack", nodes, files.jetpack_files)
    return tuple(sorted((*extras, jetpack), key=lambda extra: EXTRA_KINDS.index(extra.kind)))


def _cuda_of_branch(version: str) -> str:
    major = version.partition(".")[0]
    return CUDA_BY_BRANCH.get(int(major), "") if major.isdecimal() else ""
