"""Real drivers, Debian's packages unpacked as driver roots: found, classified, chosen by capability."""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.driver.inventory import take_inventory
from sampan.driver.unknown import judge_files
from sampan.model.inventory import Inventory
from support.driver_host import FakeHost

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
VERSIONS = {"535": "535.261.03", "550": "550.163.01"}
BRANCHES = tuple(VERSIONS)
COMPUTE = {
    "libcuda", "libcudadebugger", "libnvidia-opencl", "libnvidia-pkcs11-openssl3",
    "libnvidia-ptxjitcompiler", "libnvidia-allocator", "nvidia.icd", "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
}  # fmt: skip
GRAPHICS = {
    "libEGL_nvidia", "libGLESv1_CM_nvidia", "libGLESv2_nvidia", "libGLX_nvidia",
    "libnvidia-allocator", "libnvidia-api", "libnvidia-egl-gbm", "libnvidia-egl-wayland",
    "libnvidia-eglcore", "libnvidia-fbc", "libnvidia-glcore", "libnvidia-glsi",
    "libnvidia-glvkspirv", "libnvidia-rtcore", "libnvidia-tls", "10_nvidia.json",
    "10_nvidia_wayland.json", "15_nvidia_gbm.json", "nvidia-application-profiles", "nvidia_icd.json",
    "nvidia_layers.json",
}  # fmt: skip
EXPECTED: dict[str, set[str]] = {
    "compute": COMPUTE,
    "graphics": GRAPHICS,
    "utility": {
        "libnvidia-cfg", "libnvidia-ml", "nvidia-debugdump", "nvidia-persistenced", "nvidia-smi",
    },
    "video": {"libnvcuvid", "libnvidia-encode", "libnvidia-opticalflow", "libvdpau_nvidia"},
    "display": {
        "libglxserver_nvidia", "nvidia-drm-outputclass.conf", "nvidia-xconfig", "nvidia_drv",
    },
    "ngx": {"libnvidia-ngx"},
}  # fmt: skip
ONLY: dict[str, dict[str, set[str]]] = {
    "535": {"graphics": {"libnvidia-vulkan-producer"}},
    "550": {"compute": {"libnvidia-gpucomp"}, "graphics": {"libnvidia-gpucomp"}},
}
COMPAT32 = {
    "libEGL_nvidia", "libGLX_nvidia", "libcuda", "libnvcuvid", "libnvidia-allocator",
    "libnvidia-encode", "libnvidia-ml", "libnvidia-ptxjitcompiler", "libvdpau_nvidia",
}  # fmt: skip


@functools.cache
def driver_tree(branch: str) -> Path:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/driver-tree", branch],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def take(branch: str, base: Path) -> Inventory:
    """The inventory of a host with that driver, its module loaded."""
    host = FakeHost(base)
    host.load_module(VERSIONS[branch])
    host.add_control_nodes()
    host.add_gpu(0, "NVIDIA L4")
    return take_inventory(
        str(driver_tree(branch)),
        str(host.root),
        nvml=False,
        proc_root=str(host.proc),
        sys_root=str(host.sys),
        machine="x86_64",
        node_stat=host.node_stat,
        node_usable=host.node_usable,
    )


def sampan(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sampan", *words], capture_output=True, text=True, check=False
    )


def stem(name: str) -> str:
    name = re.sub(r"nvidia-application-profiles-.*", "nvidia-application-profiles", name)
    return name.partition(".so")[0]


@pytest.mark.parametrize("branch", BRANCHES)
def test_no_file_of_a_real_driver_is_left_unexplained(branch: str) -> None:
    done = sampan("driver", "--unknown", "--driver-root", str(driver_tree(branch)))
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_real_driver_is_found_whole_and_by_its_version(branch: str, tmp_path: Path) -> None:
    inventory = take(branch, tmp_path)
    assert inventory.driver_version == inventory.module_version == VERSIONS[branch]
    assert inventory.platform == "discrete"
    assert inventory.warnings == ()
    fates = {found.fate for found in judge_files(inventory)}
    assert fates == {"taken", "left out"}


@pytest.mark.parametrize("branch", BRANCHES)
def test_debians_alternatives_lead_to_files_inside_the_root(branch: str, tmp_path: Path) -> None:
    inventory = take(branch, tmp_path)
    tree = driver_tree(branch)
    smi = next(program for program in inventory.binaries if program.name == "nvidia-smi")
    assert smi.host_path == f"{tree}/usr/lib/nvidia/current/nvidia-smi"
    verdicts = {found.path: found for found in judge_files(inventory)}
    link = verdicts["/usr/lib/x86_64-linux-gnu/libcuda.so.1"]
    real = f"/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.{VERSIONS[branch]}"
    assert (link.fate, link.reason) == ("taken", f"a name of {real}")
    for library in inventory.libraries:
        assert library.host_path.startswith(f"{tree}/")
        assert not Path(library.host_path).is_symlink()


@pytest.mark.parametrize("capability", EXPECTED)
@pytest.mark.parametrize("branch", BRANCHES)
def test_a_capability_selects_exactly_its_files_of_a_real_driver(
    branch: str, capability: str
) -> None:
    done = sampan(
        "driver", "--format=json", f"--capabilities={capability}",
        f"--driver-root={driver_tree(branch)}",
    )  # fmt: skip
    parts = json.loads(done.stdout)["parts"]
    chosen = {stem(part["name"]) for part in parts if part["capabilities"] != "any"}
    assert chosen == EXPECTED[capability] | ONLY[branch].get(capability, set())


@pytest.mark.parametrize("branch", BRANCHES)
def test_compat32_is_the_32_bit_libraries_of_a_real_driver(branch: str, tmp_path: Path) -> None:
    narrow = [library for library in take(branch, tmp_path).libraries if library.bits == 32]
    assert {stem(library.name) for library in narrow} == COMPAT32
    assert {library.machine for library in narrow} == {"i386"}


@pytest.mark.parametrize("capability", ["compute", "graphics", "utility", "video", "ngx"])
@pytest.mark.parametrize("branch", BRANCHES)
def test_what_a_real_librarys_header_needs_of_the_driver_comes_with_the_same_capability(
    branch: str, capability: str, tmp_path: Path
) -> None:
    """``video`` brings ``compute`` along, as NVIDIA's tools do."""
    wanted = {capability, "compute"} if capability == "video" else {capability}
    libraries = [library for library in take(branch, tmp_path).libraries if library.bits == 64]
    owned = {library.soname for library in libraries}
    chosen = [library for library in libraries if wanted & set(library.capabilities)]
    given = {library.soname for library in chosen}
    for library in chosen:
        done = subprocess.run(
            ["readelf", "--dynamic", library.host_path], capture_output=True, text=True, check=True
        )
        needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", done.stdout))
        assert needed & owned <= given, library.name
