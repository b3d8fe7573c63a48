"""What people paste from a browser is read as the image that the page shows."""

import pytest

from sampan.model.reference import ImageNameError, parse_reference


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://catalog.ngc.nvidia.com/orgs/nvidia/containers/pytorch", "nvcr.io/nvidia/pytorch:latest"),
        ("https://catalog.ngc.nvidia.com/orgs/nvidia/containers/pytorch/tags", "nvcr.io/nvidia/pytorch:latest"),
        ("https://catalog.ngc.nvidia.com/orgs/nvidia/containers/pytorch?version=24.05-py3", "nvcr.io/nvidia/pytorch:24.05-py3"),
        ("https://catalog.ngc.nvidia.com/orgs/nvidia/teams/clara/containers/bionemo/layers", "nvcr.io/nvidia/clara/bionemo:latest"),
        ("https://catalog.ngc.nvidia.com/orgs/nvidia/-/containers/pytorch/-", "nvcr.io/nvidia/pytorch:latest"),
        ("https://catalog.ngc.nvidia.com/orgs/nvidia/-/containers/pytorch/26.04-py3", "nvcr.io/nvidia/pytorch:26.04-py3"),
        ("https://catalog.ngc.nvidia.com/orgs/nvidia/-/containers/vllm/26.03.post1-py3/tags?_lr=1", "nvcr.io/nvidia/vllm:26.03.post1-py3"),
        ("https://catalog.ngc.nvidia.com/orgs/nim/meta/containers/llama3-8b-instruct/-", "nvcr.io/nim/meta/llama3-8b-instruct:latest"),
        ("catalog.ngc.nvidia.com/orgs/hpc/containers/gromacs", "nvcr.io/hpc/gromacs:latest"),
        ("https://ngc.nvidia.com/catalog/containers/nvidia:pytorch", "nvcr.io/nvidia/pytorch:latest"),
        ("https://ngc.nvidia.com/catalog/containers/nvidia:clara:bionemo/tags", "nvcr.io/nvidia/clara/bionemo:latest"),
        ("https://ngc.nvidia.com/catalog/containers/nvidia%2Fpytorch", "nvcr.io/nvidia/pytorch:latest"),
        ("https://hub.docker.com/r/nvidia/cuda/tags?name=12.4", "docker.io/nvidia/cuda:latest"),
        ("https://hub.docker.com/_/debian", "docker.io/library/debian:latest"),
        ("https://hub.docker.com/layers/nvidia/cuda/12.4.1-base-ubuntu22.04/images/sha256-0", "docker.io/nvidia/cuda:12.4.1-base-ubuntu22.04"),
    ],
)  # fmt: skip
def test_the_address_of_a_catalogue_page_is_the_image_it_shows(address: str, expected: str) -> None:
    assert str(parse_reference(address)) == expected


@pytest.mark.parametrize(
    "address",
    [
        "https://catalog.ngc.nvidia.com/orgs/nvidia/models/resnet50",
        "https://catalog.ngc.nvidia.com/",
        "https://hub.docker.com/search?q=cuda",
    ],
)
def test_the_address_of_another_page_is_refused_with_the_way_to_search(address: str) -> None:
    with pytest.raises(ImageNameError) as refusal:
        parse_reference(address)
    assert "the page is not one of" in refusal.value.evidence
    assert "sampan search" in refusal.value.remedy


@pytest.mark.parametrize(
    "address",
    [
        "https://catalog.ngc.nvidia.com/orgs/nvidia/-/containers/pytorch/24.05%0Apy3",
        "https://catalog.ngc.nvidia.com/orgs/nvidia/-/containers/../24.05",
        "https://evil.example/catalog.ngc.nvidia.com/orgs/nvidia/containers/pytorch",
    ],
)
def test_an_address_cannot_smuggle_in_what_no_name_may_hold(address: str) -> None:
    with pytest.raises(ImageNameError):
        parse_reference(address)
