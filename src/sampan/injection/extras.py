"""What a plan holds on request only: GPUDirect, NVSwitch, MIG's management, IMEX channels.

A node or file that this host lacks is left out with a warning that names it.
"""

from sampan.injection.builder import FILE_OPTIONS, PlanBuilder
from sampan.injection.files import container_path
from sampan.model.inventory import Extra, Inventory
from sampan.model.request import Request

IMEX_DIRECTORY = "/dev/nvidia-caps-imex-channels"
ASKED_BY: dict[str, str] = {
    "gdrcopy": "-e NVIDIA_GDRCOPY=enabled",
    "gds": "-e NVIDIA_GDS=enabled",
    "imex": "-e NVIDIA_IMEX_CHANNELS=0",
    "jetpack": "-e NVIDIA_REQUIRE_JETPACK=csv-mounts=all",
    "mig-config": "-e NVIDIA_MIG_CONFIG_DEVICES=all",
    "mig-monitor": "-e NVIDIA_MIG_MONITOR_DEVICES=all",
    "mofed": "-e NVIDIA_MOFED=enabled",
    "nvswitch": "-e NVIDIA_NVSWITCH=enabled",
}
LACKING: dict[str, str] = {
    "gdrcopy": "no /dev/gdrdrv: load the module gdrdrv",
    "gds": "no /dev/nvidia-fs*: load the module nvidia-fs",
    "jetpack": "no CSV lists beyond the base ones",
    "mig-config": "no node of /proc/driver/nvidia/capabilities/mig/config:"
    " sudo nvidia-modprobe -f /proc/driver/nvidia/capabilities/mig/config",
    "mig-monitor": "no node of /proc/driver/nvidia/capabilities/mig/monitor:"
    " sudo nvidia-modprobe -f /proc/driver/nvidia/capabilities/mig/monitor",
    "mofed": "no /dev/infiniband/uverbs*: load the module ib_uverbs",
    "nvswitch": "no /dev/nvidia-nvswitch*",
}


def plan_extras(builder: PlanBuilder, inventory: Inventory, request: Request) -> None:
    """Add what was asked for by name; say what could be had."""
    present = {extra.kind: extra for extra in inventory.extras}
    for kind in request.extras:
        if kind not in present:
            builder.warn(f"{kind} is asked for, and this host has {LACKING.get(kind, 'none')}")
            builder.leave_out(kind, "the host does not have it", ASKED_BY.get(kind, "request"))
    for extra in inventory.extras:
        if extra.kind == "imex":
            _plan_channels(builder, extra, request.imex_channels)
        elif extra.kind in request.extras:
            _plan_extra(builder, extra)
        elif extra.kind in ASKED_BY:
            builder.leave_out(
                extra.kind,
                f"is imported on request only: {ASKED_BY[extra.kind]}",
                extra.nodes[0].host_path if extra.nodes else "the host's lists",
            )
    if request.imex_channels and "imex" not in present:
        _plan_channels(builder, Extra("imex"), request.imex_channels)


def _plan_extra(builder: PlanBuilder, extra: Extra) -> None:
    for node in extra.nodes:
        builder.add_device(node, f"{extra.kind} was asked for")
    for file in extra.files:
        builder.add_mount(
            file.host_path,
            container_path(builder.facts, file),
            FILE_OPTIONS,
            f"{extra.kind} was asked for",
        )
    for path in extra.access_files:
        builder.say(path, f"{extra.kind} was asked for; every container's /proc shows it", path)


def _plan_channels(builder: PlanBuilder, extra: Extra, channels: tuple[int, ...]) -> None:
    by_path = {node.path: node for node in extra.nodes}
    for channel in channels:
        path = f"{IMEX_DIRECTORY}/channel{channel}"
        node = by_path.get(path)
        if node is not None:
            builder.add_device(node, f"IMEX channel {channel} was asked for")
            continue
        builder.leave_out(path, "the host does not have it", "NVIDIA_IMEX_CHANNELS")
        builder.warn(
            f"the host has no {path}: make it with the major number that /proc/devices gives for"
            f" nvidia-caps-imex-channels: sudo mknod {path} c MAJOR {channel}"
        )
    if by_path and not channels:
        builder.leave_out(
            "imex", f"is imported on request only: {ASKED_BY['imex']}", IMEX_DIRECTORY
        )
