"""What a container of another engine asks for: annotations, mounts, swarm, environment."""

import pytest

from sampan.gpus.container_request import (
    DEFAULTS,
    ContainerRequest,
    RequestSettings,
    annotated_devices,
    mounted_wishes,
    resolve_container_request,
)
from sampan.gpus.variables import CapabilityError, MigRightsError
from sampan.model.inventory import CAPABILITIES

ROOT = "/var/run/nvidia-container-devices"
MOUNTS = RequestSettings(accept_mounts=True)
ALL = {"NVIDIA_VISIBLE_DEVICES": "all"}


def ask(
    environment: dict[str, str] | None = None,
    *,
    annotations: dict[str, str] | None = None,
    mounts: tuple[str, ...] = (),
    bounding: tuple[str, ...] = (),
    settings: RequestSettings = DEFAULTS,
) -> ContainerRequest:
    return resolve_container_request(
        environment=environment or {},
        annotations=annotations or {},
        mounts=[("/dev/null", destination) for destination in mounts],
        bounding=bounding,
        settings=settings,
    )


def test_annotations_come_before_mounts_and_mounts_before_the_environment() -> None:
    annotations = {"cdi.k8s.io/plugin_1": "nvidia.com/gpu=0"}
    mounts = (f"{ROOT}/GPU-1",)
    first = ask(ALL, annotations=annotations, mounts=mounts, settings=MOUNTS).request
    second = ask(ALL, mounts=mounts, settings=MOUNTS).request
    assert (first.driver, first.cdi_devices) == (False, ("nvidia.com/gpu=0",))
    assert (second.driver, second.devices) == (True, ("GPU-1",))
    assert ask(ALL, settings=MOUNTS).request.devices == ("all",)


def test_annotations_are_read_by_sorted_key_and_prefix() -> None:
    annotations = {
        "cdi.k8s.io/b": "v.com/c=2, v.com/c=3",
        "cdi.k8s.io/a": "v.com/c=1",
        "other/x": "v.com/c=9",
    }
    assert annotated_devices(annotations) == ("v.com/c=1", "v.com/c=2", "v.com/c=3")


def test_mounts_count_only_where_the_site_accepts_them_and_from_dev_null() -> None:
    assert not ask(mounts=(f"{ROOT}/0",)).request.driver
    assert mounted_wishes([("/etc/passwd", f"{ROOT}/0")]).devices == ()
    assert mounted_wishes([("/dev/null", f"{ROOT}/../x/0")]).devices == ()


def test_mounts_name_gpus_cdi_devices_and_channels() -> None:
    wishes = mounted_wishes(
        [
            ("/dev/null", f"{ROOT}/{name}")
            for name in ("0", "cdi/v.com/c/d", "cdi/v.com/c=e", "imex/7", "MIG-GPU-1/2/3")
        ]
    )
    assert wishes.devices == ("0", "v.com/c=d", "v.com/c=e", "MIG-GPU-1/2/3")
    assert wishes.imex_channels == ("7",)
    assert len(wishes.destinations) == 5


def test_imex_channels_come_from_mounts_before_the_environment() -> None:
    both = {**ALL, "NVIDIA_IMEX_CHANNELS": "1,2"}
    mounted = ask(both, mounts=(f"{ROOT}/0", f"{ROOT}/imex/7"), settings=MOUNTS).request
    assert mounted.imex_channels == (7,)
    assert ask(both).request.imex_channels == (1, 2)
    assert ask(both, settings=RequestSettings(ignore_imex=True)).request.imex_channels == ()


def test_swarm_resources_replace_the_usual_variable() -> None:
    settings = RequestSettings(swarm_resources=("DOCKER_RESOURCE_GPU", "DOCKER_RESOURCE_MIG"))
    environment = {**ALL, "DOCKER_RESOURCE_GPU": "GPU-1,GPU-2", "DOCKER_RESOURCE_MIG": "MIG-3"}
    assert ask(environment, settings=settings).request.devices == ("GPU-1", "GPU-2", "MIG-3")
    assert ask(ALL, settings=settings).request.devices == ("all",)


def test_an_unprivileged_container_may_be_kept_from_asking_by_variables() -> None:
    strict = RequestSettings(accept_unprivileged=False)
    refused = ask(ALL, settings=strict)
    assert not refused.request.driver
    assert "is not privileged" in refused.warnings[0]
    assert ask(ALL, bounding=("CAP_SYS_ADMIN",), settings=strict).request.driver
    assert not ask({}, settings=strict).warnings


@pytest.mark.parametrize(
    ("environment", "driver", "devices"),
    [
        ({}, False, ()),
        ({"NVIDIA_VISIBLE_DEVICES": ""}, False, ()),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, False, ()),
        ({"NVIDIA_VISIBLE_DEVICES": "none"}, True, ()),
        ({"CUDA_VERSION": "8.0.61"}, True, ("all",)),
        ({"CUDA_VERSION": "12.4.1", "NVIDIA_REQUIRE_CUDA": "cuda>=12.4"}, False, ()),
    ],
)
def test_the_values_mean_what_they_mean_everywhere(
    environment: dict[str, str],
    driver: bool,
    devices: tuple[str, ...],
) -> None:
    request = ask(environment).request
    assert (request.driver, request.devices) == (driver, devices)


def test_the_image_may_ask_for_extras_since_nobody_can_tell_whose_variable_it_is() -> None:
    environment = {**ALL, "NVIDIA_GDS": "enabled", "NVIDIA_REQUIRE_JETPACK": "csv-mounts=all"}
    assert ask(environment).request.extras == ("gds", "jetpack")


def test_mig_configuration_needs_a_privileged_container() -> None:
    environment = {**ALL, "NVIDIA_MIG_CONFIG_DEVICES": "all"}
    with pytest.raises(MigRightsError, match="privileged"):
        ask(environment)
    assert ask(environment, bounding=("CAP_SYS_ADMIN",)).request.extras == ("mig-config",)


def test_all_capabilities_are_those_the_site_supports() -> None:
    few = RequestSettings(supported_capabilities=("compute", "utility"))
    everything = {**ALL, "NVIDIA_DRIVER_CAPABILITIES": "all"}
    assert ask(everything, settings=few).request.capabilities == ("compute", "utility")
    assert ask(everything).request.capabilities == CAPABILITIES
    with pytest.raises(CapabilityError, match="video"):
        ask({**ALL, "NVIDIA_DRIVER_CAPABILITIES": "video"}, settings=few)
