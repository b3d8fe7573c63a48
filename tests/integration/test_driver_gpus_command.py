"""``sampan gpus`` on described hosts: MIG devices, use, and nvidia-smi's own lines."""

import json
from pathlib import Path

import pytest

import sampan.cli.driver
import sampan.cli.gpus
from sampan.cli.main import main
from sampan.model.inventory import Inventory
from support.described_host import describe, install_nvml, make_described_host
from support.driver_host import FakeHost

pytestmark = pytest.mark.integration


def use_inventory(monkeypatch: pytest.MonkeyPatch, inventory: Inventory) -> None:
    monkeypatch.setattr(sampan.cli.gpus, "find_inventory", lambda _: inventory)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = make_described_host(tmp_path / "host", "mig")
    use_inventory(monkeypatch, host.take(nvml=True))
    return host


@pytest.mark.usefixtures("host")
def test_mig_devices_stand_below_their_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpus"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Driver 580.159.04, CUDA up to 13.0; 4 GPUs, 6 MIG devices"
    assert lines[2].startswith("0      NVIDIA H100 80GB HBM3 (MIG mode)")
    assert lines[3].split()[:3] == ["0:0", "MIG", "3g.40gb"]
    assert "40960 MiB" in lines[3]
    assert lines[3].endswith("/dev/nvidia-caps/nvidia-cap21 /dev/nvidia-caps/nvidia-cap22")


@pytest.mark.usefixtures("host")
def test_the_short_list_is_nvidia_smis(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpus", "-L"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-00000001-aaaa-bbbb-cccc-000000000001)"
    )
    assert lines[1] == (
        "  MIG 3g.40gb     Device  0: (UUID: MIG-00000010-aaaa-bbbb-cccc-000000000010)"
    )


def test_use_is_shown_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = make_described_host(tmp_path / "host", "eight-gpus")
    use_inventory(monkeypatch, host.take(nvml=True))
    assert main(["gpus", "--usage"]) == 0
    heading, first, second = capsys.readouterr().out.splitlines()[1:4]
    assert heading.split()[4:7] == ["USED", "UTIL", "PROCESSES"]
    assert "122880 MiB  97 %" in first
    assert first.split()[8:11] == ["97", "%", "3"]
    assert second.split()[8:11] == ["0", "%", "0"]


@pytest.mark.usefixtures("host")
def test_use_as_json_is_null_where_nvml_does_not_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpus", "--usage", "--format", "json"]) == 0
    gpus = json.loads(capsys.readouterr().out)
    assert gpus[0]["usage"]["utilization_percent"] is None
    assert gpus[1]["usage"] == {
        "memory_used_bytes": 0, "utilization_percent": 0, "process_count": 0,
    }  # fmt: skip
    assert gpus[0]["mig_devices"][1]["uuid"] == "MIG-00000011-aaaa-bbbb-cccc-000000000011"
    assert gpus[0]["mig_devices"][1]["usage"]["process_count"] == 0


def test_unknown_use_is_a_warning_and_the_gpus_are_listed(
    host: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    install_nvml(host, describe("unknown-error"))
    assert main(["gpus", "--usage"]) == 0
    said = capsys.readouterr()
    assert "Unknown Error" in said.err
    assert "NVIDIA H100 80GB HBM3 (MIG mode)" in said.out


def test_driver_lists_access_nodes_once_and_extras_by_their_name(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory = host.take(nvml=True)
    monkeypatch.setattr(sampan.cli.driver, "find_inventory", lambda _: inventory)
    assert main(["driver", "--format", "json"]) == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    kinds = {part["name"]: part["kind"] for part in parts}
    assert kinds["/dev/nvidia-caps/nvidia-cap1"] == "mig-config"
    assert kinds["/dev/nvidia-caps/nvidia-cap48"] == "mig"
    names = [part["name"] for part in parts]
    assert names.count("/dev/nvidia-caps/nvidia-cap48") == 1
