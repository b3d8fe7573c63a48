"""When the image's forward-compatibility libcuda is taken instead of the host's."""

import json

import pytest

from sampan.injection.compat import decide_cuda_compat, is_data_centre
from sampan.model.facts import CudaCompat
from sampan.model.inventory import Gpu


def make_gpu(brand: str = "nvidia", name: str = "NVIDIA H200") -> Gpu:
    return Gpu(0, "GPU-0", 0, "0", name, "9.0", brand, 0, ())


def note(*branches: int, cuda: str = "12.8") -> str:
    return json.dumps({"Format": 1, "CUDA Version": cuda, "Driver": list(branches), "Device": []})


@pytest.mark.parametrize(
    ("version", "text", "host", "used"),
    [
        ("550.54.15", "", "535.261.03", True),
        ("550.54.15", "", "550.40.07", False),
        ("550.54.15", "", "580.159.04", False),
        ("570.86.10", note(535, 550), "535.261.03", True),
        ("570.86.10", note(535, 550), "545.23.06", False),
        ("535.261.04", note(535), "535.261.03", True),
        ("535.261.3", note(535), "535.261.03", False),
        ("570.86.10", note(580), "580.159.04", False),
        ("570.86.10", "not json", "535.261.03", False),
        ("570.86.10", "[]", "535.261.03", False),
        ("570.86.10", '{"Driver": "x"}', "535.261.03", False),
        ("570.86.10", "[" * 100_000, "535.261.03", False),
        ("570.86.10", '{"Driver": ["535", 550.1]}', "535.261.03", True),
        ("570.86.10", '{"Driver": [[]]}', "535.261.03", False),
        ("570.86.10", note(cuda="12.8"), "535.261.03", True),
        ("550.54", note(535), "535.261.03", True),
        ("535.261.03.1", note(535), "535.261.03", True),
        ("9" * 5000, note(535), "535.261.03", True),
        ("9" * 5000, "", "535.261.03", False),
        ("550.beta", "", "535.261.03", False),
        ("550.beta", note(535, cuda="12.1"), "535.261.03", False),
        ("550.beta", note(550, cuda="12.8"), "535.261.03", True),
    ],
)
def test_versions_and_note_decide(version: str, text: str, host: str, used: bool) -> None:
    compat = CudaCompat("/usr/local/cuda/compat", version, text)
    decision = decide_cuda_compat(
        compat, driver_version=host, cuda_version="12.2", gpus=[make_gpu()]
    )
    assert decision.use is used
    assert decision.why


@pytest.mark.parametrize(
    ("cuda", "host_cuda", "used"),
    [("12.8", "12.2", True), ("12.2", "12.2", False), ("12.8", "", False), ("", "12.2", False)],
)
def test_cuda_decides_where_a_driver_version_is_unknown(
    cuda: str, host_cuda: str, used: bool
) -> None:
    compat = CudaCompat("/compat", "", note(535, cuda=cuda))
    decision = decide_cuda_compat(
        compat, driver_version="535.1.2", cuda_version=host_cuda, gpus=[make_gpu()]
    )
    assert decision.use is used


def test_a_consumer_gpu_among_them_forbids_it() -> None:
    decision = decide_cuda_compat(
        CudaCompat("/compat", "550.54.15", ""),
        driver_version="535.261.03",
        cuda_version="12.2",
        gpus=[make_gpu(), make_gpu("geforce", "NVIDIA GeForce RTX 4090")],
    )
    assert not decision.use
    assert "RTX 4090 is no data-centre GPU" in decision.why


@pytest.mark.parametrize(
    ("brand", "name", "expected"),
    [
        ("tesla", "Tesla V100", True),
        ("nvidia", "NVIDIA H200", True),
        ("geforce", "NVIDIA GeForce GTX 1080", False),
        ("quadro_rtx", "Quadro RTX 6000", False),
        ("nvidia_rtx", "NVIDIA RTX A6000", False),
        ("", "NVIDIA GeForce RTX 3090", False),
        ("", "NVIDIA A100-SXM4-80GB", True),
        ("unknown", "NVIDIA TITAN V", False),
    ],
)
def test_data_centre_gpus_are_told_by_brand_or_name(brand: str, name: str, expected: bool) -> None:
    assert is_data_centre(make_gpu(brand, name)) is expected


@pytest.mark.parametrize(
    ("text", "used"), [("", False), (note(cuda="12.8"), True), (note(540, cuda="12.6"), False)]
)
def test_on_tegra_the_cuda_of_the_note_alone_decides(text: str, used: bool) -> None:
    compat = CudaCompat("/usr/local/cuda/compat", "600.1", text)
    decision = decide_cuda_compat(
        compat, driver_version="540.4.0", cuda_version="12.6", gpus=[], tegra=True
    )
    assert decision.use is used
