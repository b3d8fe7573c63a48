"""CDI documents made of inventories: what is in them, under which names, in which version."""

import os
from pathlib import Path

import pytest

from sampan.driver.cdi_yaml import render_yaml
from sampan.errors import UsageError
from sampan.injection.cdi_checks import spec_problems
from sampan.injection.cdi_devices import CdiSelectionError
from sampan.injection.cdi_document import encode_spec
from sampan.injection.cdi_finish import FINGERPRINT, CdiVersionError
from sampan.injection.cdi_generate import (
    CdiNothingError,
    CdiOptions,
    GeneratedSpec,
    generate_spec,
)
from sampan.injection.cdi_jobs import JOBS, HookChoice, choose_jobs
from sampan.model.cdi import CdiDevice, CdiSpec
from sampan.model.hook import HookRequest, parse_hook_arguments
from sampan.model.inventory import DeviceNode, DriverFile, Extra, Inventory, MigDevice
from support.driver_host import TESTDATA, FakeHost, make_h200_host
from support.driver_trees import CASES, Case

OURS = HookChoice("/usr/libexec/sampan/sampan-hook")
THEIRS = HookChoice("/usr/bin/nvidia-cdi-hook", nvidia=True)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return make_h200_host(tmp_path)


@pytest.fixture
def h200(host: FakeHost) -> Inventory:
    return host.take()


def generate(inventory: Inventory, **options: object) -> GeneratedSpec:
    chosen: dict[str, object] = {"hook": OURS, **options}
    made = generate_spec(inventory, CdiOptions(**chosen))  # type: ignore[arg-type]
    assert spec_problems(made.spec) == []
    return made


def device(spec: CdiSpec, name: str) -> CdiDevice:
    return next(one for one in spec.devices if one.name == name)


def paths(spec: CdiSpec, name: str) -> list[str]:
    return [node.path for node in device(spec, name).edits.device_nodes]


def names(spec: CdiSpec) -> list[str]:
    return [one.name for one in spec.devices]


def request_of(spec: CdiSpec) -> HookRequest:
    (hook,) = spec.edits.hooks
    return parse_hook_arguments(hook.args)


def node(path: str, minor: int, *, major: int = 241, mode: int = 0o444, gid: int = 0) -> DeviceNode:
    return DeviceNode(path, path, major, minor, mode, 0, gid)


def with_mig(inventory: Inventory, profile: str = "1g.10gb") -> Inventory:
    """The machine's GPU cut in two, with DRI nodes, and a whole GPU beside it."""
    gpu = inventory.gpus[0]
    drawing = (node("/dev/dri/card0", 0, major=226, mode=0o660, gid=44),)
    parts = tuple(
        MigDevice(
            n, f"MIG-{n}", n + 1, 0, profile, 0,
            (node(f"/dev/nvidia-caps/c{n}0", n), node(f"/dev/nvidia-caps/c{n}1", n + 10)), (),
        )
        for n in (0, 1)
    )  # fmt: skip
    cut = gpu._replace(mig_enabled=True, mig_devices=parts, nodes=(*gpu.nodes, *drawing))
    whole = gpu._replace(nvml_index=1, minor=1, uuid="GPU-b", nodes=(node("/dev/nvidia1", 1),))
    return inventory._replace(gpus=(cut, whole))


@pytest.mark.parametrize("case", CASES)
def test_the_document_of_this_kind_of_host_is_the_golden_one(case: str, tmp_path: Path) -> None:
    made = Case(tmp_path, case)
    inventory = made.take()
    if inventory.platform == "discrete" and not inventory.gpus:
        made.host.add_gpu(0)
        inventory = made.take()
    check_golden(case, "auto", generate(inventory).spec, made.host)


@pytest.mark.parametrize(
    ("golden", "options"),
    [
        ("nvml", {}),
        ("nvml-no-hook", {"hook": HookChoice()}),
        ("nvml-nvidia-hook", {"hook": THEIRS}),
        ("nvml-compute", {"capabilities": ("compute",)}),
        ("management", {"mode": "management"}),
    ],
)
def test_the_document_of_the_h200_machine_is_the_golden_one(
    host: FakeHost, golden: str, options: dict[str, object]
) -> None:
    check_golden("h200", golden, generate(host.take(), **options).spec, host)


def check_golden(case: str, kind: str, spec: CdiSpec, host: FakeHost) -> None:
    text = render_yaml(encode_spec(spec)).replace(str(host.root.resolve()), "/HOST")
    path = TESTDATA / case / f"cdi-{kind}.yaml"
    if os.environ.get("SAMPAN_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_the_lowest_version_is_written(h200: Inventory) -> None:
    plain = h200._replace(
        dev_root="/", gpus=tuple(g._replace(nodes=(node("/dev/nvidia0", 0),)) for g in h200.gpus)
    )
    assert generate(plain, strategies=("index",)).spec.version == "0.5.0"
    grouped = with_mig(plain, "1g.24gb+gfx")
    assert generate(grouped).spec.version == "0.7.0"
    assert generate(grouped, additional_gids=False).spec.version == "0.5.0"


def test_names_that_begin_with_letters_and_usual_paths_fit_the_first_version(
    h200: Inventory,
) -> None:
    gpu = h200.gpus[0]._replace(nodes=(node("/dev/nvidia0", 0),))
    plain = h200._replace(gpus=(gpu,), control_nodes=(node("/dev/nvidiactl", 255),))
    spec = generate(plain, strategies=("type-index", "uuid")).spec
    assert spec.version == "0.3.0"
    assert names(spec) == ["gpu0", gpu.uuid, "all"]


def test_a_version_that_is_too_low_is_refused_with_the_field_and_the_way_out(
    h200: Inventory,
) -> None:
    with pytest.raises(CdiVersionError) as caught:
        generate(with_mig(h200, "1g.24gb+gfx"), version="0.5.0")
    assert "additionalGids of device 0:0 needs 0.7.0" in caught.value.evidence
    assert "--no-additional-gids" in caught.value.remedy
    with pytest.raises(CdiVersionError) as caught:
        generate(h200, version="0.4.0")
    assert "--device-name-strategy type-index" in caught.value.remedy
    with pytest.raises(CdiVersionError, match="no CDI version 2"):
        generate(h200, version="2")


def test_the_fingerprint_is_an_annotation_where_the_version_has_annotations(
    h200: Inventory,
) -> None:
    assert generate(h200, fingerprint="f").spec.annotations == ()
    assert generate(h200, fingerprint="f", version="0.6.0").spec.annotations == (
        (FINGERPRINT, "f"),
    )


def test_mig_devices_have_names_of_their_own_and_their_parent_has_none(h200: Inventory) -> None:
    spec = generate(with_mig(h200), strategies=("index", "uuid", "type-index")).spec
    assert names(spec) == [
        "0:0", "MIG-0", "mig0:0", "0:1", "MIG-1", "mig0:1", "1", "GPU-b", "gpu1", "all",
    ]  # fmt: skip
    assert paths(spec, "0:1") == ["/dev/nvidia0", "/dev/nvidia-caps/c10", "/dev/nvidia-caps/c11"]
    assert paths(spec, "all") == [
        "/dev/nvidia0", "/dev/nvidia-caps/c00", "/dev/nvidia-caps/c01",
        "/dev/nvidia-caps/c10", "/dev/nvidia-caps/c11", "/dev/nvidia1",
    ]  # fmt: skip


def test_mig_devices_that_draw_have_the_dri_nodes(h200: Inventory) -> None:
    cut = with_mig(h200, "1g.24gb+gfx")
    assert "/dev/dri/card0" in paths(generate(cut).spec, "0:0")
    assert "/dev/dri/card0" not in paths(generate(cut, capabilities=("compute",)).spec, "0:0")


def test_by_path_links_are_nodes_so_that_no_gpu_needs_a_hook(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    inventory = make_h200_host(tmp_path / "h").take()
    from sampan.model.inventory import DriverLink

    link = DriverLink("/dev/dri/by-path/pci-0000:00:06.0-render", "../renderD128")
    gpu = inventory.gpus[0]
    render = DeviceNode(
        "/dev/dri/renderD128", f"{host.root}/dev/dri/renderD128", 226, 128, 0o666, 0, 0
    )
    gpu = gpu._replace(nodes=(*gpu.nodes, render), links=(link,))
    edits = device(generate(inventory._replace(gpus=(gpu,))).spec, "0").edits
    assert edits.hooks == ()
    named = {one.path: one.host_path for one in edits.device_nodes}
    assert named[link.path] == named["/dev/dri/renderD128"] == render.host_path


def test_numbers_that_change_with_each_boot_are_left_to_the_engine(h200: Inventory) -> None:
    nodes = {one.path: one for one in generate(h200).spec.edits.device_nodes}
    assert (nodes["/dev/nvidiactl"].major, nodes["/dev/nvidiactl"].minor) == (195, 255)
    assert nodes["/dev/nvidia-uvm"].major is None


def test_a_device_can_be_chosen_by_each_of_its_words(h200: Inventory) -> None:
    cut = with_mig(h200)
    for word in ("0:1", "mig-1", "MIG-1"):
        assert names(generate(cut, devices=(word,), strategies=("index",)).spec) == ["0:1", "all"]
    assert names(generate(cut, devices=("1",), with_all=False).spec) == ["1", "GPU-b"]
    with pytest.raises(CdiSelectionError) as caught:
        generate(cut, devices=("7",))
    assert "there are 0:0, 0:1, 1" in caught.value.evidence


def test_a_gpu_in_mig_mode_is_answered_with_its_mig_devices(h200: Inventory) -> None:
    cut = with_mig(h200)
    for word in ("0", cut.gpus[0].uuid):
        with pytest.raises(CdiSelectionError) as caught:
            generate(cut, devices=(word,))
        assert "MIG mode" in caught.value.cause
        assert caught.value.remedy == "--device-id 0:0,0:1"


def test_none_is_a_device_with_the_driver_and_no_gpu(h200: Inventory) -> None:
    spec = generate(h200, devices=("none",)).spec
    assert names(spec) == ["none"]
    assert spec.devices[0].edits.device_nodes == ()
    assert spec.edits.mounts


def test_a_host_without_gpus_is_refused(h200: Inventory) -> None:
    with pytest.raises(CdiNothingError):
        generate(h200._replace(gpus=()))


def test_what_will_not_work_is_said_when_the_document_is_made(h200: Inventory) -> None:
    early = h200._replace(
        control_nodes=tuple(one for one in h200.control_nodes if "uvm" not in one.path),
        warnings=("GPU 3 is left out",),
    )
    notes = generate(early).notes
    assert any("no /dev/nvidia-uvm" in note for note in notes)
    assert notes.count("GPU 3 is left out") == 1
    assert not any("the image" in note for note in notes)


def test_void_keeps_a_second_nvidia_layer_from_acting(h200: Inventory) -> None:
    env = generate(h200).spec.edits.env
    assert "NVIDIA_VISIBLE_DEVICES=void" in env
    assert any(word.startswith("NVIDIA_CTK_LIBCUDA_DIR=/") for word in env)
    assert not any(word.startswith("NVIDIA_DRIVER_CAPABILITIES=") for word in env)


def test_one_hook_is_told_all_libraries_with_their_names(h200: Inventory) -> None:
    spec = generate(h200).spec
    (hook,) = spec.edits.hooks
    assert hook.env, "a hook without env would get the container's"
    request = request_of(spec)
    cuda = next(one for one in request.libraries if one.file.startswith("libcuda.so."))
    assert (cuda.machine, cuda.names) == ("x86_64", ("libcuda.so.1", "libcuda.so"))
    mounted = {mount.container_path for mount in spec.edits.mounts}
    assert {f"{one.directory}/{one.file}" for one in request.libraries} <= mounted
    assert request.params
    assert request.driver_version == h200.driver_version
    assert [file.path for file in request.files] == ["/etc/OpenCL/vendors/nvidia.icd"]


def test_forward_compatibility_is_not_decided_where_a_gpu_does_not_support_it(
    h200: Inventory,
) -> None:
    consumer = h200.gpus[0]._replace(name="NVIDIA GeForce RTX 4090", brand="geforce")
    assert request_of(generate(h200._replace(gpus=(consumer,))).spec).driver_version == ""


def test_on_tegra_cuda_alone_decides_forward_compatibility(h200: Inventory) -> None:
    board = h200._replace(platform="tegra", cuda_version="12.6")
    request = request_of(generate(board).spec)
    assert (request.driver_version, request.cuda_version) == ("", "12.6")
    theirs = generate(board, hook=THEIRS._replace(ldconfig="/sbin/ldconfig.real")).spec.edits.hooks
    words = [word for hook in theirs for word in hook.args]
    assert "--host-cuda-version=12.6" in words
    assert "--ldconfig-path=/sbin/ldconfig.real" in words


def test_without_a_hook_every_name_is_a_mount_where_loaders_look(h200: Inventory) -> None:
    made = generate(h200, hook=HookChoice())
    mounts = {mount.container_path: mount.host_path for mount in made.spec.edits.mounts}
    for directory in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64"):
        file = mounts[f"{directory}/libcuda.so.{h200.driver_version}"]
        assert mounts[f"{directory}/libcuda.so.1"] == mounts[f"{directory}/libcuda.so"] == file
    assert made.spec.edits.hooks == ()
    assert any("no hook program" in note for note in made.notes)


def test_nvidias_hook_is_called_in_its_own_words_and_order(h200: Inventory) -> None:
    hooks = generate(h200, hook=THEIRS).spec.edits.hooks
    assert [hook.args[:2] for hook in hooks] == [
        ("nvidia-cdi-hook", "create-symlinks"),
        ("nvidia-cdi-hook", "enable-cuda-compat"),
        ("nvidia-cdi-hook", "update-ldcache"),
        ("nvidia-cdi-hook", "disable-device-node-modification"),
    ]
    assert all(hook.env for hook in hooks)
    ctk = generate(h200, hook=HookChoice("/usr/bin/nvidia-ctk", nvidia=True)).spec.edits.hooks
    assert ctk[0].args[:3] == ("nvidia-ctk", "hook", "create-symlinks")


@pytest.mark.parametrize("choice", [OURS, THEIRS])
@pytest.mark.parametrize("job", JOBS)
def test_each_job_of_the_hooks_can_be_left_away(
    h200: Inventory, choice: HookChoice, job: str
) -> None:
    spec = generate(h200, hook=choice._replace(disabled=(job,))).spec
    words = [word for hook in spec.edits.hooks for word in hook.args]
    assert job not in words
    marks = {
        "disable-device-node-modification": "--driver-params",
        "enable-cuda-compat": "--host-driver-version",
        "update-application-profile": "--application-profile",
        "update-ldcache": "--library",
    }
    assert marks.get(job, job) not in words
    if job == "create-symlinks":
        assert any(m.container_path.endswith("/libcuda.so.1") for m in spec.edits.mounts)
    if job == "update-ldcache" and choice is OURS:
        assert any(link.path.endswith("/libcuda.so.1") for link in request_of(spec).links)


def test_jobs_are_named_as_nvidia_ctk_names_them() -> None:
    assert choose_jobs(["all"], ["update-ldcache"]) == tuple(
        j for j in JOBS if j != "update-ldcache"
    )
    assert choose_jobs(["chmod"], []) == ()
    with pytest.raises(UsageError, match="update-everything"):
        choose_jobs(["update-everything"], [])


def test_management_has_every_node_and_nothing_that_draws(h200: Inventory) -> None:
    extras = (
        Extra("mig-config", (node("/dev/nvidia-caps/nvidia-cap1", 1),)),
        Extra(
            "fabric-mgmt", (node("/dev/nvidia-nvlink", 0), node("/dev/nvidia-caps/nvidia-cap7", 7))
        ),
        Extra("gds", (node("/dev/nvidia-fs0", 0),)),
    )
    spec = generate(with_mig(h200)._replace(extras=extras), mode="management").spec
    assert spec.kind == "management.nvidia.com/gpu"
    assert names(spec) == ["all"]
    found = paths(spec, "all")
    assert {
        "/dev/nvidiactl",
        "/dev/nvidia0",
        "/dev/nvidia1",
        "/dev/nvidia-caps/nvidia-cap1",
        "/dev/nvidia-caps/nvidia-cap7",
    } <= set(found)
    assert not {"/dev/nvidia-fs0", "/dev/nvidia-nvlink"} & set(found)
    assert "/dev/dri/card0" not in found
    assert not request_of(spec).params
    assert not any("libGLX_nvidia" in mount.container_path for mount in spec.edits.mounts)


def test_what_is_imported_on_request_has_documents_of_its_own(h200: Inventory) -> None:
    directory = "/dev/nvidia-caps-imex-channels"
    cufile = DriverFile("cufile.json", "/etc/cufile.json", (), "/etc", "/etc")
    extras = (
        Extra("gds", (node("/dev/nvidia-fs0", 0),), (cufile,)),
        Extra("imex", (node(f"{directory}/channel0", 0), node(f"{directory}/channel7", 7))),
    )
    inventory = h200._replace(extras=extras)
    gds = generate(inventory, mode="gds").spec
    assert (gds.kind, names(gds), paths(gds, "all")) == (
        "nvidia.com/gds",
        ["all"],
        ["/dev/nvidia-fs0"],
    )
    assert [m.container_path for m in gds.devices[0].edits.mounts] == ["/etc/cufile.json"]
    assert gds.edits.mounts == ()
    imex = generate(inventory, mode="imex").spec
    assert (imex.kind, names(imex)) == ("nvidia.com/imex-channel", ["0", "7", "all"])
    with pytest.raises(CdiNothingError, match="no mofed device"):
        generate(inventory, mode="mofed")


def test_capabilities_choose_the_files(h200: Inventory) -> None:
    compute = generate(h200, capabilities=("compute",)).spec
    utility = generate(h200, capabilities=("utility",), class_name="gpu-utility").spec
    files = [
        {m.container_path.rpartition("/")[2] for m in s.edits.mounts} for s in (compute, utility)
    ]
    assert f"libcuda.so.{h200.driver_version}" in files[0] - files[1]
    assert "nvidia-smi" in files[1] - files[0]
    assert utility.kind == "nvidia.com/gpu-utility"


def test_one_gpu_without_numbers_is_the_device_all_on_wsl(h200: Inventory) -> None:
    dxg = node("/dev/dxg", 127, major=10, mode=0o666)
    inventory = h200._replace(platform="wsl", gpus=(), control_nodes=(dxg,))
    spec = generate(inventory).spec
    assert names(spec) == ["all"]
    assert paths(spec, "all") == ["/dev/dxg"]
    assert names(generate(inventory, devices=("none",)).spec) == ["none"]
    with pytest.raises(CdiSelectionError, match="no device 3"):
        generate(inventory, devices=("3",))


def test_a_jetson_orins_compatibility_libraries_lie_in_a_place_of_their_own(
    h200: Inventory,
) -> None:
    orin = h200.gpus[0]._replace(name="Orin (nvgpu)", brand="")
    board = h200._replace(platform="tegra", cuda_version="12.6", gpus=(orin,))
    assert request_of(generate(board).spec).compat_directory == "/usr/local/cuda/compat_orin"
    hook = HookChoice("/usr/bin/nvidia-cdi-hook", nvidia=True)
    words = [hook.args for hook in generate(board, hook=hook).spec.edits.hooks]
    assert (
        "nvidia-cdi-hook", "enable-cuda-compat", "--host-cuda-version=12.6",
        "--cuda-compat-container-root=/usr/local/cuda/compat_orin",
    ) in words  # fmt: skip
    hook = hook._replace(nvidia=False, program="/usr/bin/sampan-hook", compat_root="/opt/compat")
    assert request_of(generate(board, hook=hook).spec).compat_directory == "/opt/compat"


def test_lists_that_are_named_take_the_place_of_tegras_usual_ones(tmp_path: Path) -> None:
    made = Case(tmp_path / "host", "jetson")
    made.host.add_file("/opt/vendor.txt", b"v")
    library = "/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1.1"
    (tmp_path / "mine.csv").write_text(f"lib, /opt/vendor.txt\nlib, {library}\n")
    inventory = made.take(csv_lists=[str(tmp_path / "mine.csv")])
    places = {mount.container_path for mount in generate(inventory).spec.edits.mounts}
    assert {"/opt/vendor.txt", library} <= places
    assert not any("libnvos" in place for place in places)
