"""``sampan doctor --image``: what of an image keeps GPUs from working."""

from pathlib import Path

import pytest

from sampan.model.facts import CudaCompat
from support.doctor import (
    DoctorHost,
    diagnose,
    is_healthy,
    make_driver_host,
    make_image,
    the_trouble,
)

LIB = "/usr/lib/x86_64-linux-gnu"
LOADERS = {f"{LIB}/{name}": 4096 for name in ("libGL.so.1", "libEGL.so.1", "libvulkan.so.1")}
COMPAT = CudaCompat("/usr/local/cuda-13.1/compat", "590.44.01", "")


@pytest.fixture
def host(tmp_path: Path) -> DoctorHost:
    return make_driver_host(tmp_path)


@pytest.mark.parametrize(
    "check",
    [
        "image-platform", "image-requirements", "image-driver-files", "image-graphics",
        "image-compat", "image-groups",
    ],
)  # fmt: skip
def test_a_plain_debian_image_gives_no_complaint(host: DoctorHost, check: str) -> None:
    assert is_healthy(diagnose(check, host, image=make_image()))


def test_an_image_that_demands_a_newer_driver_is_broken_here(host: DoctorHost) -> None:
    image = make_image({"NVIDIA_REQUIRE_CUDA": "cuda>=14.2"})
    found = the_trouble(diagnose("image-requirements", host, image=image))
    assert (found.id, found.severity) == ("image-requirement-unmet", "broken")
    assert "unsatisfied condition: cuda>=" in found.symptom
    image = make_image({"NVIDIA_REQUIRE_CUDA": "cuda>=12.0"})
    assert is_healthy(diagnose("image-requirements", host, image=image))


def test_demands_without_a_driver_cannot_be_judged(tmp_path: Path) -> None:
    image = make_image({"NVIDIA_REQUIRE_CUDA": "cuda>=12.0"})
    assert the_trouble(diagnose("image-requirements", DoctorHost(tmp_path), image=image)).severity == "info"  # fmt: skip


def test_a_musl_image_cannot_take_the_driver(host: DoctorHost) -> None:
    image = make_image(libc="musl", interpreter="/lib/ld-musl-x86_64.so.1")
    assert the_trouble(diagnose("image-platform", host, image=image)).id == "image-musl"


def test_an_image_of_another_architecture_is_broken_here(host: DoctorHost) -> None:
    found = the_trouble(diagnose("image-platform", host, image=make_image(architecture="arm64")))
    assert found.id == "image-architecture"
    assert "--platform linux/amd64" in found.remedy


def test_an_image_that_declines_gpus_is_worth_knowing(host: DoctorHost) -> None:
    image = make_image({"NVIDIA_VISIBLE_DEVICES": "void"})
    assert the_trouble(diagnose("image-platform", host, image=image)).severity == "info"


@pytest.mark.parametrize(
    ("size", "identity", "symptom"),
    [
        (0, "image-empty-libraries", "file too short"),
        (-1, "image-stale-links", "cannot open shared object file"),
        (30_000_000, "image-own-driver", "libnvidia-ml.so.1: file exists"),
    ],
)
def test_driver_files_inside_an_image_are_told_apart_by_their_size(
    host: DoctorHost, size: int, identity: str, symptom: str
) -> None:
    image = make_image(libraries={f"{LIB}/libnvidia-ml.so.1": size, **LOADERS})
    found = the_trouble(diagnose("image-driver-files", host, image=image))
    assert (found.id, found.severity) == (identity, "warning")
    assert symptom in found.symptom
    assert f"{LIB}/libnvidia-ml.so.1" in found.evidence


def test_loaders_without_the_capability_draw_nothing(host: DoctorHost) -> None:
    image = make_image({"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}, libraries=LOADERS)
    assert (
        the_trouble(diagnose("image-graphics", host, image=image)).id == "image-graphics-not-asked"
    )
    image = make_image({"NVIDIA_DRIVER_CAPABILITIES": "all"}, libraries=LOADERS)
    assert is_healthy(diagnose("image-graphics", host, image=image))


def test_the_capability_without_loaders_draws_nothing(host: DoctorHost) -> None:
    image = make_image({"NVIDIA_DRIVER_CAPABILITIES": "graphics,compute"})
    found = the_trouble(diagnose("image-graphics", host, image=image))
    assert found.id == "image-graphics-no-loader"
    assert "libvulkan1 libegl1 libgl1" in found.remedy


def _name_gpu(host: DoctorHost, name: str) -> None:
    path = host.proc / "driver/nvidia/gpus/0000:00:00.0/information"
    path.write_text(path.read_text().replace("NVIDIA H200", name))


def test_forward_compatibility_on_a_geforce_is_error_804(host: DoctorHost) -> None:
    image = make_image(cuda_compat=COMPAT)
    assert is_healthy(diagnose("image-compat", host, image=image))
    _name_gpu(host, "NVIDIA GeForce RTX 4090")
    found = the_trouble(diagnose("image-compat", host, image=image))
    assert found.id == "image-compat-gpu-class"
    assert "804" in found.symptom
    assert "GeForce" in found.evidence


def test_a_compat_directory_forced_by_ld_library_path_is_error_803(host: DoctorHost) -> None:
    environment = {"LD_LIBRARY_PATH": "/usr/local/cuda/compat:/usr/local/lib"}
    image = make_image(environment, cuda_compat=COMPAT._replace(version="550.54.15"))
    found = the_trouble(diagnose("image-compat", host, image=image))
    assert found.id == "image-compat-forced"
    assert "803" in found.symptom
    assert "-e LD_LIBRARY_PATH=" in found.remedy


def test_a_group_that_the_image_does_not_name_is_harmless(host: DoctorHost) -> None:
    host.add_node("/dev/nvidia-modeset", 195, 254, mode=0o660, gid=44)
    found = the_trouble(diagnose("image-groups", host, image=make_image()))
    assert (found.severity, found.symptom) == ("info", "groups: cannot find name for group ID 44")
    image = make_image(group="root:x:0:\nvideo:x:44:\n")
    assert is_healthy(diagnose("image-groups", host, image=image))
