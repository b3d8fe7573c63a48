"""What an image demands is said in words that name a driver."""

import pytest

from sampan.gpus.requirement_words import describe_requirements, driver_branch


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cuda>=12.4", "a driver for CUDA 12.4 or newer (driver 550 or newer)"),
        (
            ("cuda>=12.4 brand=tesla,driver>=470,driver<471 brand=unknown,driver>=470,driver<471 "
            "brand=tesla,driver>=535,driver<536 brand=unknown,driver>=535,driver<536"),
            ("a driver for CUDA 12.4 or newer (driver 550 or newer); or "
            "driver 470 or 535 with a GPU of the brand tesla or unknown"),
        ),
        ("driver>=535.54.03", "driver 535.54.03 or newer"),
        ("arch>=9.0", "compute capability 9.0 or newer"),
        ("cuda>=99.9", "a driver for CUDA 99.9 or newer"),
        ("cuda>=9.0,driver<400", "a driver for CUDA 9.0 or newer (driver 384 or newer) and driver < 400"),
    ],
)  # fmt: skip
def test_a_requirement_is_told_in_words(text: str, expected: str) -> None:
    assert describe_requirements({"NVIDIA_REQUIRE_CUDA": text}) == (expected,)


def test_an_image_without_requirements_demands_nothing() -> None:
    assert describe_requirements({"PATH": "/bin"}) == ()
    assert describe_requirements({"NVIDIA_REQUIRE_CUDA": "cuda>=12.4", "NVIDIA_DISABLE_REQUIRE": "1"}) == ()  # fmt: skip


def test_an_image_from_before_requirements_demands_its_cuda_version() -> None:
    assert describe_requirements({"CUDA_VERSION": "8.0.61"}) == (
        "a driver for CUDA 8.0 or newer (driver 367 or newer)",
    )


@pytest.mark.parametrize(
    ("cuda", "branch"), [("12.7", 570), ("11.8", 520), ("7.5", 367), ("13.9", None)]
)
def test_a_cuda_version_between_two_takes_the_branch_of_the_next(
    cuda: str, branch: int | None
) -> None:
    assert driver_branch(cuda) == branch
