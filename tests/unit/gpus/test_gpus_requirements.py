"""What an image demands is checked before it starts; the refusal gives the host's values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.gpus.requirements import RequirementError, check_requirements, compare_versions
from sampan.model.inventory import Gpu, Inventory

CUDA_12_4 = (
    "cuda>=12.4 brand=tesla,driver>=470,driver<471 brand=unknown,driver>=470,driver<471"
    " brand=nvidia,driver>=535,driver<536 brand=geforcertx,driver>=535,driver<536"
)


def make_gpu(architecture: str = "9.0", brand: str = "nvidia") -> Gpu:
    return Gpu(0, "GPU-0", 0, "0:0:0.0", "H200", architecture, brand, 0, ())


def make_host(driver: str = "580.159.04", cuda: str = "13.0") -> Inventory:
    return Inventory("/", "/", driver, driver, cuda, "discrete", (), (), (), (), (), (), (), ())


def check(environment: dict[str, str], host: Inventory, *gpus: Gpu) -> None:
    check_requirements(environment, host, gpus)


@pytest.mark.parametrize(
    "text",
    ["cuda>=12.4", "cuda>13.0 cuda=13.0", "driver>=580.159.4", "arch>=7.5", "brand=NVIDIA",
     "brand!=geforce,cuda<=13.0", "", CUDA_12_4],
)  # fmt: skip
def test_a_met_requirement_passes(text: str) -> None:
    check({"NVIDIA_REQUIRE_CUDA": text}, make_host(), make_gpu())


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("cuda>=13.1", "cuda 13.0"),
        ("driver<580", "driver 580.159.04"),
        ("arch=8.0", "arch 9.0"),
        ("brand=geforce", "brand nvidia"),
        ("cuda>=14 cuda<12", "cuda 13.0"),
        ("cuda>=12,arch>=10.0", "arch 9.0"),
    ],
)
def test_an_unmet_one_is_refused_with_the_hosts_value(text: str, has: str) -> None:
    with pytest.raises(RequirementError) as refusal:
        check({"NVIDIA_REQUIRE_CUDA": text}, make_host(), make_gpu())
    assert has in refusal.value.evidence
    assert "NVIDIA_DISABLE_REQUIRE" in refusal.value.remedy


def test_an_old_data_centre_driver_is_an_alternative_where_the_image_says_so() -> None:
    old = make_host("535.261.03", "12.2")
    check({"NVIDIA_REQUIRE_CUDA": CUDA_12_4}, old, make_gpu())
    check({"NVIDIA_REQUIRE_CUDA": CUDA_12_4}, old, make_gpu(brand="geforce_rtx"))
    with pytest.raises(RequirementError):
        check({"NVIDIA_REQUIRE_CUDA": CUDA_12_4}, old, make_gpu(brand="geforce"))


def test_all_variables_and_all_gpus_count_and_are_reported_together() -> None:
    environment = {"NVIDIA_REQUIRE_CUDA": "cuda>=14", "NVIDIA_REQUIRE_ARCH": "arch>=9.0"}
    with pytest.raises(RequirementError) as refusal:
        check(environment, make_host(), make_gpu(), make_gpu("8.0"))
    assert "NVIDIA_REQUIRE_CUDA" in refusal.value.evidence
    assert "NVIDIA_REQUIRE_ARCH" in refusal.value.evidence


def test_an_image_from_before_requirements_demands_its_cuda() -> None:
    check({"CUDA_VERSION": "8.0.61"}, make_host(), make_gpu())
    with pytest.raises(RequirementError, match="demands more"):
        check({"CUDA_VERSION": "13.5.0"}, make_host(), make_gpu())


@pytest.mark.parametrize("word", ["1", "t", "TRUE", "true", "True", "T"])
def test_requirements_can_be_switched_off(word: str) -> None:
    check({"NVIDIA_REQUIRE_CUDA": "cuda>=99", "NVIDIA_DISABLE_REQUIRE": word}, make_host())


def test_what_the_host_does_not_tell_is_not_held_against_it() -> None:
    check({"NVIDIA_REQUIRE_CUDA": "arch>=9.0,brand=tesla"}, make_host(), make_gpu("", ""))
    check({"NVIDIA_REQUIRE_CUDA": "arch>=9.0"}, make_host())


@pytest.mark.parametrize("text", ["cuda", "speed>=3", "cuda>=new", "brand>=tesla", ">=3"])
def test_an_unreadable_requirement_is_refused_by_name(text: str) -> None:
    with pytest.raises(RequirementError, match="cannot be read") as refusal:
        check({"NVIDIA_REQUIRE_ODD": text}, make_host(), make_gpu())
    assert "NVIDIA_REQUIRE_ODD" in refusal.value.evidence


@given(
    st.lists(st.integers(0, 999), min_size=1, max_size=4),
    st.lists(st.integers(0, 999), min_size=1, max_size=4),
)
def test_versions_compare_number_by_number(left: list[int], right: list[int]) -> None:
    def text(numbers: list[int]) -> str:
        return ".".join(f"{number:03}" for number in numbers)

    width = max(len(left), len(right))
    first, second = left + [0] * (width - len(left)), right + [0] * (width - len(right))
    assert compare_versions(text(left), text(right)) == (first > second) - (first < second)


def test_the_failing_term_and_what_would_meet_it_are_named() -> None:
    with pytest.raises(RequirementError) as refusal:
        check({"NVIDIA_REQUIRE_CUDA": CUDA_12_4}, make_host("470.1", "11.4"), make_gpu())
    assert "cuda>=12.4" in refusal.value.evidence.partition("of which")[2]
    assert "driver 550 or newer" in refusal.value.remedy
    assert "cuda-compat-12-4" in refusal.value.remedy
    assert "brand" not in refusal.value.remedy


def test_a_gpu_too_old_is_answered_with_another_gpu() -> None:
    with pytest.raises(RequirementError) as refusal:
        check({"NVIDIA_REQUIRE_ARCH": "arch>=10.0"}, make_host(), make_gpu())
    assert "choose a GPU that has arch>=10.0" in refusal.value.remedy


def test_a_long_requirement_is_said_once_for_all_gpus_that_are_alike() -> None:
    gpus = [make_gpu()._replace(nvml_index=index) for index in range(3)]
    gpus.append(make_gpu(brand="geforce")._replace(nvml_index=3))
    with pytest.raises(RequirementError) as refusal:
        check({"NVIDIA_REQUIRE_CUDA": CUDA_12_4}, make_host("470.1", "11.4"), *gpus)
    assert refusal.value.evidence.count("cuda>=12.4") == 2
    assert "GPUs 0, 1, 2 have cuda 11.4" in refusal.value.evidence
    assert "GPU 3 has cuda 11.4, driver 470.1, brand geforce" in refusal.value.evidence


def test_jetpack_is_no_requirement() -> None:
    check({"NVIDIA_REQUIRE_JETPACK": "csv-mounts=all"}, make_host(), make_gpu())


@pytest.mark.parametrize("number", ["9" * 5000, "١٢.٤"])
def test_a_number_nobody_can_read_is_refused_not_computed(number: str) -> None:
    with pytest.raises(RequirementError, match="cannot be read"):
        check({"NVIDIA_REQUIRE_CUDA": f"cuda>={number}"}, make_host(), make_gpu())
    check({"CUDA_VERSION": f"{number}.0"}, make_host(), make_gpu())
