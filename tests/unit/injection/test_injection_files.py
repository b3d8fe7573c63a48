"""Where the driver's files go: X.Org modules, descriptions, profile, links, own directories."""

import json
from pathlib import Path

import pytest

from sampan.injection.plan import plan_import
from sampan.model.facts import ImageFacts
from sampan.model.inventory import DriverFile, DriverLibrary, DriverLink, Inventory
from sampan.model.plan import ImportPlan
from sampan.model.request import Request
from support.driver_host import FakeHost, make_h200_host
from support.plan_facts import left_out, make_facts

V = "580.159.04"
LIB = "/usr/lib/x86_64-linux-gnu"
ICD = "/usr/share/vulkan/icd.d"


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return make_h200_host(tmp_path).take()


def make_plan(
    inventory: Inventory, *capabilities: str, facts: ImageFacts | None = None
) -> ImportPlan:
    request = Request(True, ("all",), None, capabilities, "test")
    return plan_import(inventory, request, facts or make_facts(), inventory.gpus)


def description(library: str) -> DriverFile:
    text = json.dumps({"file_format_version": "1.0.0", "ICD": {"library_path": library}})
    return DriverFile("nvidia_icd.json", "/host/icd.json", ("graphics",), "/host", ICD, text)


def test_a_description_with_an_absolute_path_is_written_anew_with_the_name(
    inventory: Inventory,
) -> None:
    file = description("/nix/store/abc-nvidia/lib/libGLX_nvidia.so.0")
    made = make_plan(inventory._replace(configurations=(file,)), "graphics")
    (written,) = (file for file in made.files if file.path.startswith(ICD))
    assert json.loads(written.content) == {
        "file_format_version": "1.0.0",
        "ICD": {"library_path": "libGLX_nvidia.so.0"},
    }
    assert not [mount for mount in made.mounts if mount.container_path.startswith(ICD)]


def test_a_description_of_a_library_that_is_not_there_is_left_out_with_a_warning(
    inventory: Inventory,
) -> None:
    deep = '{"library_path": "/x", "a": ' * 900 + "1" + "}" * 900
    texts = (description("/opt/libelse.so.1").text, "{", deep, "[" * 100_000)
    for file in (description("/x")._replace(text=text) for text in texts):
        made = make_plan(inventory._replace(configurations=(file,)), "graphics")
        assert f"{ICD}/nvidia_icd.json" in left_out(made)
        assert any("/host/icd.json is left out" in warning for warning in made.warnings)


MODULES = (
    DriverFile("nvidia_drv.so", "/host/nvidia_drv.so", ("display",), "/host", "drivers"),
    DriverFile(
        f"libglxserver_nvidia.so.{V}", "/host/glx", ("display",), "/host", "extensions"
    ),
)  # fmt: skip


@pytest.mark.parametrize("home", ["/usr/lib/xorg/modules", "/usr/lib64/xorg/modules"])
def test_xorg_modules_go_where_the_images_server_looks(inventory: Inventory, home: str) -> None:
    facts = make_facts(directories=(home,))
    made = make_plan(inventory._replace(modules=MODULES), "display", facts=facts)
    paths = {mount.container_path for mount in made.mounts}
    glx = f"{home}/extensions/libglxserver_nvidia.so"
    assert {f"{home}/drivers/nvidia_drv.so", f"{glx}.{V}"} <= paths
    assert {link.path: link.target for link in made.links}[glx] == f"libglxserver_nvidia.so.{V}"


def test_xorg_modules_need_the_capability_and_a_server(inventory: Inventory) -> None:
    host = inventory._replace(modules=MODULES)
    assert "no X.Org server" in left_out(make_plan(host, "display"))["nvidia_drv.so"]
    facts = make_facts(directories=("/usr/lib/xorg/modules",))
    assert "display" in left_out(make_plan(host, "graphics", facts=facts))["nvidia_drv.so"]


def test_egl_sees_the_selected_gpus_alone(inventory: Inventory) -> None:
    gpu = inventory.gpus[0]
    gpus = tuple(gpu._replace(nvml_index=n, minor=minor) for n, minor in enumerate((0, 3, 70)))
    request = Request(True, ("0", "1", "2"), None, ("graphics",), "test")
    made = plan_import(inventory._replace(gpus=gpus), request, make_facts(), gpus)
    path = "/etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf"
    (profile,) = (file for file in made.files if file.path == path)
    assert b'"EGLVisibleDGPUDevices", 0x9]' in profile.content
    assert not [file for file in make_plan(inventory, "compute").files if file.path == path]


def test_links_of_the_driver_are_made_unless_what_they_lead_to_is_left_out(
    inventory: Inventory,
) -> None:
    store = "/usr/lib/wsl/drivers/nv_dispi.inf_amd64_1"
    smi = DriverFile("nvidia-smi", "/host/smi", ("utility",), "/host", store)
    host = inventory._replace(
        binaries=(smi,), links=(DriverLink("/bin/nvidia-smi", f"{store}/nvidia-smi"),)
    )
    made = make_plan(host, "utility")
    # The image's /bin is a link to /usr/bin.
    assert ("/usr/bin/nvidia-smi", f"{store}/nvidia-smi") in made.links
    assert "/usr/bin/nvidia-smi" in left_out(make_plan(host, "compute"))


def test_a_library_with_a_directory_of_its_own_lies_there_and_is_found(
    inventory: Inventory,
) -> None:
    store = "/usr/lib/wsl/lib"
    library = DriverLibrary(
        "libdxcore.so", "libdxcore.so", "/host/dxcore", 64, "x86_64", (), ("compute",), "/host",
        store,
    )  # fmt: skip
    host = inventory._replace(libraries=(*inventory.libraries, library))
    made = make_plan(host, "compute")
    assert f"{store}/libdxcore.so" in {mount.container_path for mount in made.mounts}
    (cache,) = (file for file in made.files if file.path.endswith("ld.so.cache"))
    assert f"{store}/libdxcore.so".encode() in cache.content


def test_programs_are_told_where_libcuda_is(inventory: Inventory) -> None:
    assert dict(make_plan(inventory, "compute").environment)["NVIDIA_CTK_LIBCUDA_DIR"] == LIB
    assert "NVIDIA_CTK_LIBCUDA_DIR" not in dict(make_plan(inventory, "utility").environment)


@pytest.mark.parametrize(
    ("wide", "expected"), [("/usr/lib64", "/usr/lib"), ("/usr/lib", None), (LIB, None)]
)
def test_red_hats_32_bit_libraries_lie_in_usr_lib(
    tmp_path: Path, wide: str, expected: str | None
) -> None:
    host = FakeHost(tmp_path)
    host.load_module(V)
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    host.add_library(f"/usr/lib/libcuda.so.{V}", "libcuda.so.1", "i386", 32)
    facts = make_facts(directories=("/usr/lib", wide), library_directories=(wide,))
    made = make_plan(
        host.take(library_search_paths=["/usr/lib64", "/usr/lib"]),
        "compute",
        "compat32",
        facts=facts,
    )
    paths = {mount.container_path for mount in made.mounts}
    narrow = {f"{expected}/libcuda.so.{V}"} if expected else set()
    assert paths == {f"{wide}/libcuda.so.{V}"} | narrow
