"""Who decides what is imported: --gpus, then -e, then (where it is honoured) the image."""

import pytest

from sampan.gpus.request import CapabilityError, resolve_request
from sampan.model.inventory import CAPABILITIES
from sampan.model.request import Request

CUDA_IMAGE = {
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    "NVIDIA_REQUIRE_CUDA": "cuda>=12.4",
}


def resolve(
    gpus: str | None = None,
    image: dict[str, str] | None = None,
    user: dict[str, str] | None = None,
    *,
    honour_image: bool = False,
) -> Request:
    return resolve_request(
        gpus_option=gpus,
        image_environment=image or {},
        user_environment=user or {},
        honour_image=honour_image,
    )


def test_a_cuda_image_alone_asks_for_nothing() -> None:
    assert not resolve(image=CUDA_IMAGE).driver


def test_a_cuda_image_asks_where_an_engine_honours_it() -> None:
    request = resolve(image=CUDA_IMAGE, honour_image=True)
    assert (request.driver, request.devices) == (True, ("all",))
    assert request.source == "NVIDIA_VISIBLE_DEVICES=all (image)"


def test_gpus_wins_over_the_environment() -> None:
    request = resolve("device=1", CUDA_IMAGE, {"NVIDIA_VISIBLE_DEVICES": "void"})
    assert request.devices == ("1",)
    assert request.source == "--gpus device=1"


def test_the_users_variable_wins_over_the_images() -> None:
    request = resolve(image=CUDA_IMAGE, user={"NVIDIA_VISIBLE_DEVICES": "none"}, honour_image=True)
    assert (request.driver, request.devices) == (True, ())


@pytest.mark.parametrize("value", ["", " ", "void", "0,void", ",,"])
def test_void_and_empty_import_nothing(value: str) -> None:
    assert not resolve(user={"NVIDIA_VISIBLE_DEVICES": value}).driver


@pytest.mark.parametrize(
    ("value", "devices"),
    [
        ("all", ("all",)),
        ("0, 2", ("0", "2")),
        ("all,none", ("all",)),
        ("none,all", ()),
        ("GPU-abc,00000000:3b:00.0", ("GPU-abc", "00000000:3b:00.0")),
    ],
)
def test_values_of_visible_devices_mean_what_they_mean_elsewhere(
    value: str, devices: tuple[str, ...]
) -> None:
    request = resolve(user={"NVIDIA_VISIBLE_DEVICES": value})
    assert (request.driver, request.devices) == (True, devices)


def test_a_count_is_kept_until_the_host_is_known() -> None:
    request = resolve("2")
    assert (request.gpu_count, request.devices) == (2, ())


def test_no_gpus_is_no_driver() -> None:
    assert not resolve("0", CUDA_IMAGE).driver


@pytest.mark.parametrize(
    ("gpus", "image", "user", "capabilities"),
    [
        ("all", {}, {}, ("compute", "utility")),
        ("all", {"NVIDIA_DRIVER_CAPABILITIES": ""}, {}, ("compute", "utility")),
        ("all", {"NVIDIA_DRIVER_CAPABILITIES": "video"}, {}, ("video",)),
        ("all", CUDA_IMAGE, {"NVIDIA_DRIVER_CAPABILITIES": "graphics"}, ("graphics",)),
        ("all,capabilities=ngx", CUDA_IMAGE, {"NVIDIA_DRIVER_CAPABILITIES": "video"}, ("ngx",)),
        ("all", {"NVIDIA_DRIVER_CAPABILITIES": "all"}, {}, CAPABILITIES),
        ("all", {"CUDA_VERSION": "8.0.61"}, {}, CAPABILITIES),
    ],
)
def test_capabilities_come_from_the_nearest_that_says_any(
    gpus: str, image: dict[str, str], user: dict[str, str], capabilities: tuple[str, ...]
) -> None:
    assert resolve(gpus, image, user).capabilities == capabilities


def test_an_image_from_before_requirements_asks_for_all_where_images_are_honoured() -> None:
    assert resolve(image={"CUDA_VERSION": "8.0.61"}, honour_image=True).devices == ("all",)
    assert not resolve(image={"CUDA_VERSION": "8.0.61"}).driver


def test_an_unknown_capability_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CapabilityError, match="'teleport'") as refusal:
        resolve("all", user={"NVIDIA_DRIVER_CAPABILITIES": "compute,teleport"})
    assert "compute" in refusal.value.remedy
    assert "NVIDIA_DRIVER_CAPABILITIES" in refusal.value.evidence
