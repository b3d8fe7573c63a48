"""Which device nodes a container gets: of GPUs, of MIG devices, of what was asked for by name."""

import pytest

from sampan.injection.plan import plan_import
from sampan.model.inventory import (
    DeviceNode,
    DriverFile,
    DriverLibrary,
    DriverLink,
    Extra,
    Gpu,
    Inventory,
    MigDevice,
)
from sampan.model.plan import ImportPlan
from sampan.model.request import Request
from support.plan_facts import left_out, make_facts

V = "580.159.04"
CAPS = "/dev/nvidia-caps"
ACCESS = "/proc/driver/nvidia/capabilities"


def node(path: str, minor: int = 0, *, mode: int = 0o666, gid: int = 0) -> DeviceNode:
    return DeviceNode(path, path, 195, minor, mode, 0, gid)


def make_mig(gpu: int, place: int, profile: str = "1g.10gb") -> MigDevice:
    instance, compute = 10 * gpu + 2 * place + 1, 10 * gpu + 2 * place + 2
    return MigDevice(
        place, f"MIG-{gpu}-{place}", place, 0, profile, 0,
        (node(f"{CAPS}/nvidia-cap{instance}"), node(f"{CAPS}/nvidia-cap{compute}")),
        (f"{ACCESS}/gpu{gpu}/mig/gi{place}/access", f"{ACCESS}/gpu{gpu}/mig/gi{place}/ci0/access"),
    )  # fmt: skip


def make_gpu(number: int, *parts: MigDevice) -> Gpu:
    dri = (node(f"/dev/dri/card{number}"), node(f"/dev/dri/renderD{128 + number}"))
    links = (
        DriverLink(f"/dev/dri/by-path/pci-0000:0{number}:00.0-card", f"../card{number}"),
        DriverLink(f"/dev/dri/by-path/pci-0000:0{number}:00.0-render", f"../renderD{128 + number}"),
    )
    return Gpu(
        number, f"GPU-{number}", number, f"00000000:0{number}:00.0", "NVIDIA H200", "9.0",
        "nvidia", 0, (node(f"/dev/nvidia{number}", number), *dri), bool(parts), parts, links,
    )  # fmt: skip


def make_host(*gpus: Gpu, extras: tuple[Extra, ...] = ()) -> Inventory:
    library = DriverLibrary(
        f"libcuda.so.{V}", "libcuda.so.1", "/host/libcuda", 64, "x86_64", (), ("compute",), "/host"
    )
    control = tuple(
        node(f"/dev/{name}")
        for name in ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
    )
    return Inventory(
        "/", "/", V, V, "13.0", "discrete", (library,), (), (), (), (), control, gpus, (),
        extras=extras,
    )  # fmt: skip


def make_plan(
    host: Inventory,
    *gpus: Gpu,
    capabilities: tuple[str, ...] = ("compute",),
    extras: tuple[str, ...] = (),
    channels: tuple[int, ...] = (),
) -> ImportPlan:
    request = Request(
        True, ("x",), None, capabilities, "test", extras=extras, imex_channels=channels
    )
    return plan_import(host, request, make_facts(), gpus)


def devices(made: ImportPlan) -> set[str]:
    return {device.path for device in made.devices}


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ("utility", {"nvidiactl", "nvidia0"}),
        ("compute", {"nvidiactl", "nvidia0", "nvidia-uvm", "nvidia-uvm-tools"}),
        ("ngx", {"nvidiactl", "nvidia0"}),
        (
            "graphics",
            {"nvidiactl", "nvidia0", "nvidia-uvm", "nvidia-uvm-tools", "dri/card0",
             "dri/renderD128"},
        ),
        (
            "video",
            {"nvidiactl", "nvidia0", "nvidia-uvm", "nvidia-uvm-tools", "dri/card0",
             "dri/renderD128"},
        ),
        (
            "display",
            {"nvidiactl", "nvidia0", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset",
             "dri/card0", "dri/renderD128"},
        ),
    ],
)  # fmt: skip
def test_each_capability_gives_exactly_its_nodes(capability: str, expected: set[str]) -> None:
    gpu = make_gpu(0)
    made = make_plan(make_host(gpu, make_gpu(1)), gpu, capabilities=(capability,))
    assert devices(made) == {f"/dev/{name}" for name in expected}
    assert "is not selected" in left_out(made)["/dev/nvidia1"]


def test_dri_nodes_can_be_found_by_the_gpus_address() -> None:
    gpu = make_gpu(1)
    made = make_plan(make_host(make_gpu(0), gpu), gpu, capabilities=("graphics",))
    links = {link.path: link.target for link in made.links if "by-path" in link.path}
    assert links == {link.path: link.target for link in gpu.links}
    without = make_plan(make_host(gpu), gpu, capabilities=("compute",))
    assert not [link for link in without.links if "by-path" in link.path]


def test_a_mig_device_brings_its_parent_and_its_two_access_nodes() -> None:
    gpu = make_gpu(0, make_mig(0, 0), make_mig(0, 1))
    selected = gpu._replace(mig_devices=gpu.mig_devices[1:])
    made = make_plan(make_host(gpu), selected)
    caps = {path for path in devices(made) if path.startswith(CAPS)}
    assert caps == {f"{CAPS}/nvidia-cap3", f"{CAPS}/nvidia-cap4"}
    assert "/dev/nvidia0" in devices(made)
    assert "MIG device 0:0 is not selected" in left_out(made)[f"{CAPS}/nvidia-cap1"]
    assert f"{ACCESS}/gpu0/mig/gi1/access" in {reason.item for reason in made.reasons}
    assert dict(made.environment)["NVIDIA_VISIBLE_DEVICES"] == "MIG-0-1"


def test_compute_instances_of_one_gpu_instance_share_its_node() -> None:
    first, second = make_mig(0, 0), make_mig(0, 1)
    second = second._replace(nodes=(first.nodes[0], second.nodes[1]))
    gpu = make_gpu(0, first, second)
    made = make_plan(make_host(gpu), gpu._replace(mig_devices=(first,)))
    assert first.nodes[0].path in devices(made)
    assert first.nodes[0].path not in left_out(made)
    assert second.nodes[1].path in left_out(made)


@pytest.mark.parametrize(("profile", "draws"), [("1g.10gb", False), ("1g.24gb+gfx", True)])
def test_dri_nodes_of_a_mig_gpu_belong_to_profiles_with_graphics(profile: str, draws: bool) -> None:
    gpu = make_gpu(0, make_mig(0, 0, profile))
    made = make_plan(make_host(gpu), gpu, capabilities=("graphics",))
    assert ("/dev/dri/renderD128" in devices(made)) is draws
    assert draws or "+gfx" in left_out(made)["/dev/dri/renderD128"]


def test_everything_is_called_all_only_when_nothing_is_missing() -> None:
    gpu = make_gpu(0, make_mig(0, 0), make_mig(0, 1))
    host = make_host(gpu, make_gpu(1))
    whole = Request(True, ("all",), None, ("compute",), "test")
    made = plan_import(host, whole, make_facts(), host.gpus)
    assert dict(made.environment)["NVIDIA_VISIBLE_DEVICES"] == "all"
    some = (gpu._replace(mig_devices=gpu.mig_devices[:1]), host.gpus[1])
    made = plan_import(host, whole, make_facts(), some)
    assert dict(made.environment)["NVIDIA_VISIBLE_DEVICES"] == "MIG-0-0,1"


EXTRAS = (
    Extra("gdrcopy", (node("/dev/gdrdrv"),)),
    Extra(
        "gds",
        (node("/dev/nvidia-fs0"), node("/dev/nvidia-fs1")),
        (
            DriverFile("cufile.json", "/etc/cufile.json", (), "/etc", "/etc"),
            DriverFile("udev", "/run/udev", (), "/run", "/run"),
        ),
    ),
    Extra("imex", tuple(node(f"{CAPS}-imex-channels/channel{n}") for n in (0, 1))),
    Extra("jetpack", (), (DriverFile("libx.so", "/opt/libx.so", (), "/opt", "/opt"),)),
    Extra("mig-config", (node(f"{CAPS}/nvidia-cap1"),), (), (f"{ACCESS}/mig/config",)),
    Extra("mig-monitor", (node(f"{CAPS}/nvidia-cap2"),), (), (f"{ACCESS}/mig/monitor",)),
    Extra("mofed", (node("/dev/infiniband/uverbs0"), node("/dev/infiniband/rdma_cm"))),
    Extra("nvswitch", (node("/dev/nvidia-nvswitchctl"), node("/dev/nvidia-nvswitch0"))),
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("gdrcopy", {"/dev/gdrdrv"}),
        ("gds", {"/dev/nvidia-fs0", "/dev/nvidia-fs1"}),
        ("jetpack", set()),
        ("mig-config", {f"{CAPS}/nvidia-cap1"}),
        ("mig-monitor", {f"{CAPS}/nvidia-cap2"}),
        ("mofed", {"/dev/infiniband/uverbs0", "/dev/infiniband/rdma_cm"}),
        ("nvswitch", {"/dev/nvidia-nvswitchctl", "/dev/nvidia-nvswitch0"}),
    ],
)
def test_an_extra_gives_exactly_its_nodes_and_only_on_request(
    kind: str, expected: set[str]
) -> None:
    host = make_host(extras=EXTRAS)
    without, made = make_plan(host), make_plan(host, extras=(kind,))
    assert devices(made) - devices(without) == expected
    assert "on request only: -e NVIDIA_" in left_out(without)[kind]
    assert kind not in left_out(made)
    assert not made.warnings


def test_gpudirect_storage_brings_its_configuration_and_udevs_database() -> None:
    made = make_plan(make_host(extras=EXTRAS), extras=("gds",))
    mounts = {mount.container_path: mount.host_path for mount in made.mounts}
    assert mounts["/etc/cufile.json"] == "/etc/cufile.json"
    assert mounts["/run/udev"] == "/run/udev"


def test_imex_channels_are_given_by_number_and_a_missing_one_is_named() -> None:
    made = make_plan(make_host(extras=EXTRAS), channels=(1, 7))
    assert f"{CAPS}-imex-channels/channel1" in devices(made)
    assert f"{CAPS}-imex-channels/channel0" not in devices(made)
    (warning,) = made.warnings
    assert "channel7" in warning
    assert "mknod" in warning
    bare = make_plan(make_host(), channels=(0,))
    assert "channel0" in bare.warnings[0]


@pytest.mark.parametrize("extra", EXTRAS, ids=lambda extra: extra.kind)
def test_an_extra_that_the_host_lacks_is_a_warning_that_names_it(extra: Extra) -> None:
    if extra.kind == "imex":
        return
    made = make_plan(make_host(), extras=(extra.kind,))
    assert extra.kind in made.warnings[0]
    assert left_out(made)[extra.kind] == "the host does not have it"


def test_nodes_that_are_for_a_group_bring_the_group() -> None:
    gpu = make_gpu(0)
    gpu = gpu._replace(nodes=(gpu.nodes[0], node("/dev/dri/renderD128", mode=0o660, gid=105)))
    made = make_plan(make_host(gpu), gpu, capabilities=("graphics",))
    assert made.additional_gids == (105,)
