"""``sampan driver --unknown`` and ``--all``: what becomes of every file of the driver."""

import json
from pathlib import Path

import pytest

import sampan.cli.driver
from sampan.cli.main import main
from support.driver_host import FakeHost

V = "580.95.05"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = FakeHost(tmp_path)
    host.load_module(V)
    host.add_control_nodes()
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    host.add_file("/usr/bin/nvidia-bug-report.sh")
    monkeypatch.setattr(sampan.cli.driver, "find_inventory", lambda _: host.take())
    return host


@pytest.mark.usefixtures("host")
def test_a_driver_whose_files_are_all_explained_prints_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["driver", "--unknown"]) == 0
    assert capsys.readouterr().out == ""


def test_a_file_that_no_rule_explains_is_named_and_the_status_is_1(
    host: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    host.add_file("/usr/share/nvidia/novelty.dat")
    assert main(["driver", "--unknown"]) == 1
    assert capsys.readouterr().out == "/usr/share/nvidia/novelty.dat\n"
    assert main(["driver", "--unknown", "--format=json"]) == 1
    assert json.loads(capsys.readouterr().out)["unknown"] == ["/usr/share/nvidia/novelty.dat"]


@pytest.mark.usefixtures("host")
def test_all_says_what_stays_on_the_host_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    main(["driver", "--all"])
    (line,) = [row for row in capsys.readouterr().out.splitlines() if "bug-report" in row]
    assert line.split(maxsplit=1) == [
        "/usr/bin/nvidia-bug-report.sh",
        "a program that changes the host: not for containers",
    ]
    main(["driver", "--all", "--format=json"])
    left_out = json.loads(capsys.readouterr().out)["left_out"]
    assert left_out[0]["path"] == "/usr/bin/nvidia-bug-report.sh"


def test_in_a_whole_system_only_the_drivers_own_files_are_judged(
    host: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    host.add_file("/usr/lib/os-release")
    for stranger in (
        "/usr/bin/ls",
        "/usr/lib64/libc.so.6",
        "/usr/lib64/libcudart.so.12",
        "/home/user/nvidia-notes.txt",
        "/usr/share/vulkan/icd.d/intel_icd.json",
        "/lib/firmware/nvidia/tu102/gr/sw_ctx.bin",
    ):
        host.add_file(stranger)
    for companion in ("/usr/bin/nvidia-ctk", "/usr/bin/nvidia-container-cli"):
        host.add_program(companion)
    host.add_library("/usr/lib64/libnvidia-container.so.1.17.8", "libnvidia-container.so.1")
    assert main(["driver", "--unknown"]) == 0
    assert capsys.readouterr().out == ""
    for novelty in (f"/usr/lib64/libnew.so.{V}", "/usr/bin/nvidia-novelty", "/etc/nvidia/new.conf"):
        host.add_file(novelty, b"\x7fELF-not-really")
    assert main(["driver", "--unknown"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "/etc/nvidia/new.conf",
        "/usr/bin/nvidia-novelty",
        f"/usr/lib64/libnew.so.{V}",
    ]
