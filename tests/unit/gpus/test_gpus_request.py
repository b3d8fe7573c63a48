"""Who decides what is imported: --gpus, then -e, then (where it is honoured) the image."""

import pytest

from sampan.errors import UsageError
from sampan.gpus.request import resolve_request
from sampan.gpus.variables import CapabilityError, ImexChannelError, MigRightsError, notice_gates
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


def test_idle_gpus_are_counted_until_they_are_leased() -> None:
    request = resolve("idle:2,capabilities=utility")
    assert (request.idle_count, request.gpu_count, request.devices) == (2, None, ())
    assert request.capabilities == ("utility",)


GATES = [
    ("NVIDIA_GDS", "gds"),
    ("NVIDIA_MOFED", "mofed"),
    ("NVIDIA_GDRCOPY", "gdrcopy"),
    ("NVIDIA_NVSWITCH", "nvswitch"),
]


@pytest.mark.parametrize(("variable", "extra"), GATES)
def test_an_extra_is_asked_for_by_the_word_enabled(variable: str, extra: str) -> None:
    assert resolve("all", user={variable: "enabled"}).extras == (extra,)
    assert resolve("all", user={variable: "1"}).extras == ()
    assert not resolve(user={variable: "enabled"}).driver
    assert notice_gates({variable: "1"}) == (
        f"{variable}=1 asks for nothing: the word is {variable}=enabled",
    )
    assert notice_gates({variable: "enabled"}) == notice_gates({variable: "disabled"}) == ()


@pytest.mark.parametrize(("variable", "extra"), GATES)
def test_an_image_alone_gets_no_extras(variable: str, extra: str) -> None:
    image = {variable: "enabled", "NVIDIA_IMEX_CHANNELS": "0"}
    assert resolve("all", image).extras == ()
    assert resolve("all", image).imex_channels == ()
    honoured = {**image, "NVIDIA_VISIBLE_DEVICES": "all"}
    assert resolve(image=honoured, honour_image=True).extras == (extra,)


def test_an_image_cannot_ask_for_mig_configuration() -> None:
    assert resolve("all", {"NVIDIA_MIG_CONFIG_DEVICES": "all"}).extras == ()


@pytest.mark.parametrize(
    ("variable", "extra"),
    [
        ("NVIDIA_MIG_CONFIG_DEVICES", "mig-config"),
        ("NVIDIA_MIG_MONITOR_DEVICES", "mig-monitor"),
    ],
)
def test_mig_configuration_and_monitoring_are_for_all_and_the_privileged(
    variable: str, extra: str
) -> None:
    def ask(value: str, *, privileged: bool = True) -> Request:
        return resolve_request(
            gpus_option="all",
            image_environment={},
            user_environment={variable: value},
            privileged=privileged,
        )

    assert ask("all").extras == (extra,)
    assert ask("").extras == ()
    with pytest.raises(MigRightsError, match="cannot be given"):
        ask("0")
    with pytest.raises(MigRightsError, match="privileged") as refusal:
        ask("all", privileged=False)
    assert "--cap-add SYS_ADMIN" in refusal.value.remedy


def test_imex_channels_are_numbers_and_all_means_none() -> None:
    assert resolve("all", user={"NVIDIA_IMEX_CHANNELS": "0, 7,7,all"}).imex_channels == (0, 7)
    for word in ("x", "-1", "1048576", "9" * 5000):
        with pytest.raises(ImexChannelError, match="no IMEX channel"):
            resolve("all", user={"NVIDIA_IMEX_CHANNELS": word})


def test_cdi_names_are_kept_apart_from_our_own_gpus() -> None:
    only = resolve(user={"NVIDIA_VISIBLE_DEVICES": "vendor.com/class=a,nvidia.com/gpu=0"})
    assert (only.driver, only.cdi_devices) == (False, ("vendor.com/class=a", "nvidia.com/gpu=0"))
    both = resolve(user={"NVIDIA_VISIBLE_DEVICES": "vendor.com/class=a,1"})
    assert (both.devices, both.cdi_devices) == (("1",), ("vendor.com/class=a",))
    automatic = resolve(user={"NVIDIA_VISIBLE_DEVICES": "runtime.nvidia.com/gpu=1"})
    assert (automatic.driver, automatic.devices) == (True, ("1",))


def test_a_tegra_image_may_ask_for_every_list() -> None:
    assert resolve("all", {"NVIDIA_REQUIRE_JETPACK": "csv-mounts=all"}).extras == ("jetpack",)
    assert resolve("all", {"NVIDIA_REQUIRE_JETPACK": "csv-mounts=base"}).extras == ()


def named(*names: str, gpus: str | None = None, **user: str) -> Request:
    return resolve_request(
        gpus_option=gpus, image_environment={}, user_environment=user, named=names
    )


def test_devices_of_our_own_cdi_kind_bring_every_capability() -> None:
    request = named("0", "0:1")
    assert (request.driver, request.devices) == (True, ("0", "0:1"))
    assert request.capabilities == CAPABILITIES
    assert request.source == "--device nvidia.com/gpu=0, nvidia.com/gpu=0:1"


def test_capabilities_are_obeyed_for_devices_by_cdi_name_too() -> None:
    assert named("0", NVIDIA_DRIVER_CAPABILITIES="utility").capabilities == ("utility",)


def test_gpus_and_devices_by_cdi_name_add_up() -> None:
    assert named("1", gpus="device=0").devices == ("0", "1")
    assert named("all", gpus="device=0").devices == ("all",)
    assert named("1", gpus="device=0").capabilities == ("compute", "utility")


def test_the_device_none_brings_the_driver_without_a_gpu() -> None:
    assert (named("none").driver, named("none").devices) == (True, ())


@pytest.mark.parametrize("gpus", ["2", "idle:1"])
def test_a_number_of_gpus_and_gpus_by_name_do_not_mix(gpus: str) -> None:
    with pytest.raises(UsageError, match="a number of GPUs"):
        named("0", gpus=gpus)
