"""The GPUs of a host: NVML's answer, procfs and device nodes held against each other.

NVML decides which GPUs there are and how they are numbered; where it is silent, procfs does. A GPU
that lacks something is left out alone, and the warning names what is missing.
"""

from collections.abc import Mapping, Sequence

from sampan.driver.mig import find_mig_devices, list_proc_instances
from sampan.driver.nodes import DeviceView, find_dri_links, find_dri_nodes, sysfs_address
from sampan.driver.nvml import NvmlAnswer, NvmlFailure, NvmlGpu
from sampan.driver.nvml_errors import choose_remedy
from sampan.driver.platforms import read_board_name
from sampan.driver.procfs import GpuInformation, list_gpu_information
from sampan.model.inventory import DeviceNode, DriverLink, Gpu, MigDevice

MAKE_NODES = "sudo nvidia-modprobe -c=0 -u creates the nodes"


def list_gpus(
    view: DeviceView, answer: NvmlAnswer | None, minors: Mapping[str, int], warnings: list[str]
) -> tuple[Gpu, ...]:
    """The GPUs of a host whose nodes are ``/dev/nvidia<minor>``.

    Args:
        view: where nodes, procfs and sysfs are.
        answer: NVML's; None when it could not be asked.
        minors: of capabilities, from ``caps.read_minor_tables``.
        warnings: what is left out is added here.
    """
    information = list_gpu_information(view.proc_root)
    if answer is not None:
        known = [_with_minor(gpu, information) for gpu in answer.gpus]
        _compare(view, answer, information, warnings)
    else:
        known = [
            _from_information(view, number, gpu)
            for number, gpu in enumerate(one for one in information if not one.excluded)
        ]
    gpus = []
    for gpu in known:
        nodes = _find_nodes(view, gpu, asked=answer is not None, warnings=warnings)
        if nodes:
            mig = find_mig_devices(
                view, gpu.mig_devices, gpu.nvml_index, gpu.minor, minors, warnings
            )
            gpus.append(_join(gpu, gpu.minor, nodes, mig, find_dri_links(view, nodes)))
    return tuple(gpus)


def list_gpus_without_nodes(
    view: DeviceView, platform: str, answer: NvmlAnswer | None
) -> tuple[Gpu, ...]:
    """The GPUs of WSL and Tegra, which all are behind the platform's control nodes.

    Without NVML there is one, whatever it is called.
    """
    dri = view.find_in("/dev/dri", ("card", "renderD")) if platform == "tegra" else ()
    links = find_dri_links(view, dri)
    if answer is not None and answer.gpus:
        return tuple(_join(gpu, -1, dri, (), links) for gpu in answer.gpus)
    name = read_board_name(view.proc_root) if platform == "tegra" else ""
    return (Gpu(0, "", -1, "", name or "NVIDIA GPU", "", "", 0, nodes=dri, links=links),)


def _join(
    gpu: NvmlGpu,
    minor: int,
    nodes: tuple[DeviceNode, ...],
    mig_devices: tuple[MigDevice, ...],
    links: tuple[DriverLink, ...],
) -> Gpu:
    return Gpu(
        nvml_index=gpu.nvml_index,
        uuid=gpu.uuid,
        minor=minor,
        pci_bus_id=gpu.pci_bus_id,
        name=gpu.name,
        architecture=gpu.architecture,
        brand=gpu.brand,
        memory_bytes=gpu.memory_bytes,
        nodes=nodes,
        mig_enabled=gpu.mig_enabled,
        mig_devices=mig_devices,
        links=links,
    )


def _find_nodes(
    view: DeviceView, gpu: NvmlGpu, *, asked: bool, warnings: list[str]
) -> tuple[DeviceNode, ...]:
    path = f"/dev/nvidia{gpu.minor}"
    node = view.read(path) if gpu.minor >= 0 else None
    if node is None:
        missing = f"its node {path} is missing" if gpu.minor >= 0 else "it has no minor number"
        warnings.append(
            f"GPU {gpu.nvml_index} ({gpu.name}, {gpu.pci_bus_id}) is left out: {missing};"
            f" {MAKE_NODES}"
        )
        return ()
    if not asked and not view.node_usable(node.host_path):
        # NVML leaves such GPUs out by itself: a batch system's device cgroup, a group's mode.
        warnings.append(f"GPU {gpu.nvml_index} ({gpu.name}) is left out: {path} may not be used")
        return ()
    return (node, *find_dri_nodes(view, gpu.pci_bus_id))


def _with_minor(gpu: NvmlGpu, information: Sequence[GpuInformation]) -> NvmlGpu:
    if gpu.minor >= 0:
        return gpu
    address = sysfs_address(gpu.pci_bus_id)
    said = (one.minor for one in information if sysfs_address(one.pci_bus_id) == address)
    return gpu._replace(minor=next(said, -1))


def _from_information(view: DeviceView, number: int, gpu: GpuInformation) -> NvmlGpu:
    mig = list_proc_instances(view.proc_root, gpu.minor) if gpu.minor >= 0 else ()
    return NvmlGpu(number, gpu.uuid, gpu.minor, gpu.pci_bus_id, gpu.name, "", "", 0, bool(mig), mig)


def _compare(
    view: DeviceView,
    answer: NvmlAnswer,
    information: Sequence[GpuInformation],
    warnings: list[str],
) -> None:
    """Say which GPUs only one of NVML and the kernel module knows, and why."""
    total = len(answer.gpus) + sum(failure.mig_position < 0 for failure in answer.failures)
    blamed = set()
    for failure in answer.failures:
        # Both count in the order of bus addresses; other numbers of GPUs tell nothing.
        bus = ""
        if failure.mig_position < 0 and total == len(information):
            bus = information[failure.nvml_index].pci_bus_id
            blamed.add(bus)
        warnings.append(describe_failure(failure, bus))
    listed = {sysfs_address(gpu.pci_bus_id): gpu for gpu in answer.gpus}
    in_proc = {sysfs_address(gpu.pci_bus_id) for gpu in information}
    for gpu in information:
        if sysfs_address(gpu.pci_bus_id) in listed or gpu.pci_bus_id in blamed:
            continue
        node = view.read(f"/dev/nvidia{gpu.minor}")
        if gpu.excluded:
            why = "its administrator excluded it from use (NVreg_ExcludedGpus)"
        elif node is None:
            why = f"its node /dev/nvidia{gpu.minor} is missing; {MAKE_NODES}"
        elif not view.node_usable(node.host_path):
            # Not ours: a batch job sees its own GPUs alone, and needs no word on the others.
            continue
        elif total < len(information) and answer.failures:
            continue
        else:
            why = "NVML does not list it; sudo dmesg | grep -i nvrm may say why"
        warnings.append(f"the GPU at {gpu.pci_bus_id} ({gpu.name}) is left out: {why}")
    for address, told in listed.items():
        if information and address not in in_proc:
            warnings.append(
                f"GPU {told.nvml_index} ({told.name}, {told.pci_bus_id}) is known to NVML, but not"
                f" to {view.proc_root}/driver/nvidia/gpus"
            )


def describe_failure(failure: NvmlFailure, pci_bus_id: str = "") -> str:
    """A warning on a GPU or MIG device that NVML would not describe, with what helps."""
    if failure.mig_position >= 0:
        what = f"MIG device {failure.nvml_index}:{failure.mig_position}"
    else:
        what = f"GPU {failure.nvml_index}"
    remedy = choose_remedy(failure.code)
    return (
        f"{what}{f' ({pci_bus_id})' if pci_bus_id else ''} is left out: NVML says {failure.text}"
        + (f"; {remedy}" if remedy else "")
    )
