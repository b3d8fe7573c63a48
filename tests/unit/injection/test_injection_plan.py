"""What one container gets of the driver, where it goes, and what is said about the rest."""

import os
from pathlib import Path

import pytest

from sampan.injection.ldcache import render_loader_cache
from sampan.injection.libraries import DriverLibraryMissingError
from sampan.injection.places import ImageArchitectureError, LibcUnsupportedError
from sampan.injection.plan import plan_import
from sampan.model.facts import CudaCompat, ImageFacts
from sampan.model.inventory import CAPABILITIES, Inventory
from sampan.model.ldcache import LoaderCache, LoaderEntry, parse_loader_cache
from sampan.model.plan import ImportPlan
from sampan.model.request import Request
from support.driver_host import TESTDATA, FakeHost, make_elf, make_h200_host
from support.plan_facts import left_out, make_facts

V = "580.159.04"
LIB = "/usr/lib/x86_64-linux-gnu"
USUAL = ("compute", "utility")


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return make_h200_host(tmp_path)


def wish(*capabilities: str, devices: tuple[str, ...] = ("all",)) -> Request:
    return Request(True, devices, None, capabilities or USUAL, "--gpus all")


def plan(
    inventory: Inventory, request: Request | None = None, facts: ImageFacts | None = None
) -> ImportPlan:
    request = request or wish()
    gpus = inventory.gpus if request.devices == ("all",) else ()
    return plan_import(inventory, request, facts or make_facts(), gpus)


def targets(made: ImportPlan) -> set[str]:
    return {mount.container_path for mount in made.mounts}


def cache_of(made: ImportPlan) -> dict[str, str]:
    (file,) = (file for file in made.files if file.path.endswith("ld.so.cache"))
    entries = parse_loader_cache(file.content).entries
    return {entry.name.decode(): entry.path.decode() for entry in entries}


@pytest.mark.parametrize("capabilities", ["compute,utility", ",".join(CAPABILITIES), *CAPABILITIES])
def test_the_plan_for_the_h200_machine_is_the_golden_one(host: FakeHost, capabilities: str) -> None:
    made = plan(host.take(), wish(*capabilities.split(",")))
    lines = [f"capabilities: {capabilities}"]
    lines += [
        f"mount   {m.container_path} <- {m.host_path} ({','.join(m.options)})" for m in made.mounts
    ]
    lines += [
        f"device  {d.path} {d.major}:{d.minor} {d.mode:04o} {d.permissions}" for d in made.devices
    ]
    lines += [f"link    {link.path} -> {link.target}" for link in made.links]
    lines += [f"file    {f.path} {f.mode:04o}{' (mounted)' if f.mount else ''}" for f in made.files]
    lines += [f"cache   {name} => {path}" for name, path in cache_of(made).items()]
    lines += [f"env     {name}={value}" for name, value in made.environment]
    lines += [f"group   {gid}" for gid in made.additional_gids]
    lines += [
        f"because {'+' if r.included else '-'} {r.item}: {r.why} [{r.source}]" for r in made.reasons
    ]
    lines += [f"warning {warning}" for warning in made.warnings]
    text = "\n".join(lines).replace(str(host.root.resolve()), "ROOT") + "\n"
    kinds = {"compute,utility": "usual", ",".join(CAPABILITIES): "all"}
    kind = kinds.get(capabilities, capabilities)
    golden = TESTDATA / "h200" / f"explain-{kind}.txt"
    if os.environ.get("SAMPAN_UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_no_driver_is_the_empty_plan(host: FakeHost) -> None:
    request = Request(False, (), None, (), "")
    assert plan_import(host.take(), request, make_facts(libc="musl"), ()) == ImportPlan()


def test_utility_alone_brings_nvidia_smi_and_no_cuda(host: FakeHost) -> None:
    made = plan(host.take(), wish("utility"))
    assert "/usr/bin/nvidia-smi" in targets(made)
    assert f"{LIB}/libnvidia-ml.so.{V}" in targets(made)
    assert f"{LIB}/libcuda.so.{V}" not in targets(made)
    assert "/dev/nvidia-uvm" not in {device.path for device in made.devices}
    assert "compute is not asked for" in left_out(made)[f"libcuda.so.{V}"]


def test_video_needs_compute_and_display_needs_graphics(host: FakeHost) -> None:
    video, display = plan(host.take(), wish("video")), plan(host.take(), wish("display"))
    assert {f"{LIB}/libnvcuvid.so.{V}", f"{LIB}/libcuda.so.{V}"} <= targets(video)
    assert f"{LIB}/libGLX_nvidia.so.{V}" in targets(display)


def test_every_name_a_program_may_ask_for_is_a_link_and_in_the_cache(host: FakeHost) -> None:
    made = plan(host.take(), wish("compute", "graphics", "video"))
    links = {link.path: link.target for link in made.links}
    assert links[f"{LIB}/libcuda.so.1"] == f"libcuda.so.{V}"
    assert links[f"{LIB}/libcuda.so"] == "libcuda.so.1"
    assert links[f"{LIB}/libGLX_indirect.so.0"] == "libGLX_nvidia.so.0"
    assert links[f"{LIB}/gbm/nvidia-drm_gbm.so"] == "../libnvidia-allocator.so.1"
    assert links[f"{LIB}/vdpau/libvdpau_nvidia.so.1"] == "../libvdpau_nvidia.so.1"
    assert f"{LIB}/libnvidia-glcore.so.{V}" not in links
    assert cache_of(made)["libcuda.so.1"] == f"{LIB}/libcuda.so.1"


@pytest.mark.parametrize(
    ("directories", "expected"),
    [
        (("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"), "/usr/lib/x86_64-linux-gnu"),
        (("/usr/lib64", "/usr/lib"), "/usr/lib64"),
        (("/usr/lib",), "/usr/lib"),
    ],
)
def test_libraries_go_where_the_images_loader_looks(
    host: FakeHost, directories: tuple[str, ...], expected: str
) -> None:
    made = plan(host.take(), facts=make_facts(library_directories=directories))
    assert f"{expected}/libcuda.so.{V}" in targets(made)


def test_no_container_path_leads_through_a_link_of_the_image(host: FakeHost) -> None:
    facts = make_facts()
    resolved = {
        **facts.resolved,
        "/usr/lib/x86_64-linux-gnu": "/opt/libs",
        "/usr/bin": "/programs",
        "/lib/firmware/nvidia": "/fw",
        "/etc": "/configuration",
    }
    changed = facts._replace(resolved=resolved, library_directories=("/opt/libs",))
    made = plan(host.take(), facts=changed)
    assert f"/opt/libs/libcuda.so.{V}" in targets(made)
    assert "/programs/nvidia-smi" in targets(made)
    assert f"/fw/{V}/gsp_ga10x.bin" in targets(made)
    assert "/configuration/ld.so.cache" in {file.path for file in made.files}


def test_the_images_own_cache_entries_stay(host: FakeHost) -> None:
    image = LoaderCache((LoaderEntry(b"libz.so.1", b"/lib/libz.so.1", 0x0303),))
    made = plan(host.take(), facts=make_facts(loader_cache=render_loader_cache(image)))
    assert cache_of(made)["libz.so.1"] == "/lib/libz.so.1"


def test_a_broken_cache_of_the_image_is_replaced_with_a_warning(host: FakeHost) -> None:
    made = plan(host.take(), facts=make_facts(loader_cache=b"garbage" * 20))
    assert "libcuda.so.1" in cache_of(made)
    assert any("ld.so.cache cannot be read" in warning for warning in made.warnings)


def test_driver_libraries_left_in_the_image_are_masked_and_named(host: FakeHost) -> None:
    stale = "/usr/lib64/libcuda.so.1"
    leftover = f"{LIB}/libcuda.so.{V}"
    image = LoaderCache((LoaderEntry(b"libcuda.so.1", stale.encode(), 0x0303),))
    facts = make_facts(
        libraries={stale: 1000, leftover: 0, f"{LIB}/libcuda.so.1": -1},
        loader_cache=render_loader_cache(image),
    )
    made = plan(host.take(), facts=facts)
    assert cache_of(made)["libcuda.so.1"] == f"{LIB}/libcuda.so.1"
    assert "first in the loader cache" in left_out(made)[stale]
    assert "empty left-over" in left_out(made)[leftover]
    assert leftover in {file.path for file in made.files if file.content == b""}
    assert f"{LIB}/libcuda.so.1" in {link.path for link in made.links}


@pytest.mark.parametrize("libc", ["musl", "none"])
def test_an_image_without_glibc_is_refused(host: FakeHost, libc: str) -> None:
    facts = make_facts(libc=libc, interpreter="/lib/ld-musl-x86_64.so.1" if libc == "musl" else "")
    with pytest.raises(LibcUnsupportedError) as refusal:
        plan(host.take(), facts=facts)
    assert ("musl" if libc == "musl" else "no dynamic loader") in refusal.value.evidence
    assert refusal.value.remedy


def test_an_image_for_another_machine_is_refused(host: FakeHost) -> None:
    with pytest.raises(ImageArchitectureError) as refusal:
        plan(host.take(), facts=make_facts(architecture="arm64"))
    assert "--platform linux/amd64" in refusal.value.remedy


def test_a_host_without_libcuda_cannot_give_compute(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.load_module(V)
    host.add_control_nodes()
    host.add_library(f"/usr/lib64/libnvidia-ml.so.{V}", "libnvidia-ml.so.1")
    with pytest.raises(DriverLibraryMissingError, match=r"libcuda\.so\.1 \(capability: compute\)"):
        plan(host.take())
    assert f"{LIB}/libnvidia-ml.so.{V}" in targets(plan(host.take(), wish("utility")))


def test_a_host_without_nvml_is_warned_about(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.load_module(V)
    host.add_control_nodes()
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    assert any("libnvidia-ml1" in warning for warning in plan(host.take()).warnings)


def test_only_selected_gpus_nodes_are_given(tmp_path: Path) -> None:
    host = make_h200_host(tmp_path)
    host.add_gpu(1)
    inventory = host.take()
    second = next(gpu for gpu in inventory.gpus if gpu.minor == 1)
    made = plan_import(inventory, wish(devices=("1",)), make_facts(), [second])
    paths = {device.path for device in made.devices}
    assert "/dev/nvidia1" in paths
    assert "/dev/nvidia0" not in paths
    assert "not selected" in left_out(made)["/dev/nvidia0"]
    assert ("NVIDIA_VISIBLE_DEVICES", str(second.nvml_index)) in made.environment


def test_none_gives_the_driver_and_no_gpu(host: FakeHost) -> None:
    made = plan(host.take(), wish(devices=()))
    assert {device.path for device in made.devices} == {
        "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools",
    }  # fmt: skip
    assert ("NVIDIA_VISIBLE_DEVICES", "none") in made.environment


def test_dri_nodes_come_with_a_capability_that_draws_and_bring_their_group(
    tmp_path: Path,
) -> None:
    host = make_h200_host(tmp_path)
    (host.sys / "bus/pci/devices/0000:00:06.0/drm/renderD128").mkdir(parents=True)
    host.add_node("/dev/dri/renderD128", 226, 128, mode=0o660, gid=104)
    drawing, computing = plan(host.take(), wish("graphics")), plan(host.take(), wish("compute"))
    assert "/dev/dri/renderD128" in {device.path for device in drawing.devices}
    assert drawing.additional_gids == (104,)
    assert "/dev/dri/renderD128" not in {device.path for device in computing.devices}
    assert computing.additional_gids == ()


def test_modeset_is_for_display_only(host: FakeHost) -> None:
    host.add_node("/dev/nvidia-modeset", 195, 254)
    for capability, given in (("display", True), ("graphics", False)):
        made = plan(host.take(), wish(capability))
        assert ("/dev/nvidia-modeset" in {device.path for device in made.devices}) is given


def test_a_host_without_uvm_is_warned_about_before_cuda_fails(host: FakeHost) -> None:
    inventory = host.take()
    nodes = tuple(node for node in inventory.control_nodes if "uvm" not in node.path)
    made = plan(inventory._replace(control_nodes=nodes))
    assert any("error 999" in warning for warning in made.warnings)


def test_the_driver_is_kept_from_making_nodes(host: FakeHost) -> None:
    made = plan(host.take())
    (params,) = (file for file in made.files if file.mount)
    assert params.path == "/proc/driver/nvidia/params"
    assert b"ModifyDeviceFiles: 0\n" in params.content
    assert b"ResmanDebugLevel: 4294967295\n" in params.content
    host.add_proc("params", "ModifyDeviceFiles: 0\n")
    assert not any(file.mount for file in plan(host.take()).files)


def test_the_compat_libcuda_comes_first_where_the_rule_says_so(host: FakeHost) -> None:
    inventory = host.take()
    gpus = tuple(gpu._replace(brand="tesla") for gpu in inventory.gpus)
    inventory = inventory._replace(gpus=gpus)
    directory = "/usr/local/cuda-14/compat"
    newer = make_facts(cuda_compat=CudaCompat(directory, "590.1.1", "", ("libcuda.so.1",)))
    older = make_facts(cuda_compat=CudaCompat(directory, "535.1.1", ""))
    assert cache_of(plan(inventory, facts=newer))["libcuda.so.1"] == f"{directory}/libcuda.so.1"
    made = plan(inventory, facts=older)
    assert cache_of(made)["libcuda.so.1"] == f"{LIB}/libcuda.so.1"
    assert "forward compatibility" in left_out(made)[f"{directory}/libcuda.so.535.1.1"]


def test_missing_loaders_of_the_image_are_named_with_their_packages(host: FakeHost) -> None:
    facts = make_facts(libraries={f"{LIB}/libEGL.so.1": 5, f"{LIB}/libGL.so.1": 5})
    (warning,) = plan(host.take(), wish("graphics"), facts).warnings
    assert "libvulkan1" in warning
    assert "libegl1" not in warning


def test_opencl_is_described_where_the_host_has_no_description(host: FakeHost) -> None:
    files = {file.path: file.content for file in plan(host.take()).files}
    assert files["/etc/OpenCL/vendors/nvidia.icd"] == b"libnvidia-opencl.so.1\n"
    host.add_file("/etc/OpenCL/vendors/nvidia.icd", b"libnvidia-opencl.so.1\n")
    made = plan(host.take())
    assert "/etc/OpenCL/vendors/nvidia.icd" in targets(made)


def test_32_bit_libraries_need_the_capability_and_a_place(host: FakeHost) -> None:
    host.add_file(f"/usr/lib/i386-linux-gnu/libcuda.so.{V}", make_elf("libcuda.so.1", "i386", 32))
    narrow = "/usr/lib/i386-linux-gnu"
    facts = make_facts(directories=(LIB, narrow))
    with_place = plan(host.take(), wish("compute", "compat32"), facts)
    assert f"{narrow}/libcuda.so.{V}" in targets(with_place)
    without_place = plan(host.take(), wish("compute", "compat32"))
    not_asked = plan(host.take(), wish("compute"), facts)
    for made in (without_place, not_asked):
        assert f"{narrow}/libcuda.so.{V}" not in targets(made)
        assert "32-bit" in left_out(made)[f"libcuda.so.{V}"]


def test_every_item_of_the_plan_has_its_reason(host: FakeHost) -> None:
    made = plan(host.take(), wish(*CAPABILITIES))
    explained = {reason.item for reason in made.reasons if reason.included}
    items = {mount.container_path for mount in made.mounts}
    items |= {device.path for device in made.devices} | {link.path for link in made.links}
    items |= {file.path for file in made.files} | {f"env {name}" for name, _ in made.environment}
    assert items <= explained
