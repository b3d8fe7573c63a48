"""What ``sampan gpus``, ``driver`` and ``explain`` print."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sampan.cli.driver
import sampan.cli.explain
import sampan.cli.gpus
from sampan.cli.main import main
from sampan.images.facts_json import dump_facts
from sampan.images.store import StoredImage
from sampan.model.facts import ImageFacts
from support.driver_host import FakeHost, make_h200_host
from support.plan_facts import make_facts


def use_host(monkeypatch: pytest.MonkeyPatch, host: FakeHost) -> None:
    for module in (sampan.cli.gpus, sampan.cli.driver, sampan.cli.explain):
        monkeypatch.setattr(module, "find_inventory", lambda _: host.take())


@pytest.fixture
def h200(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = make_h200_host(tmp_path / "host")
    use_host(monkeypatch, host)
    return host


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = FakeHost(tmp_path / "bare")
    use_host(monkeypatch, host)
    return host


def use_image(
    monkeypatch: pytest.MonkeyPatch, directory: Path, facts: ImageFacts, *environment: str
) -> None:
    (directory / "facts").write_bytes(dump_facts(facts))
    (directory / "config").write_text(
        json.dumps({"architecture": "amd64", "config": {"Env": list(environment)}})
    )
    image = StoredImage(facts.digest, "", "", str(directory / "facts"), str(directory / "config"))
    monkeypatch.setattr(sampan.cli.explain, "locate_image", lambda _: image)


@pytest.mark.usefixtures("h200")
def test_gpus_lists_each_gpu_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpus"]) == 0
    summary, heading, row = capsys.readouterr().out.splitlines()
    assert summary == "Driver 580.159.04, CUDA up to 13.0; 1 GPU"
    assert heading.split()[:3] == ["INDEX", "NAME", "UUID"]
    assert "NVIDIA H200" in row
    assert row.endswith("/dev/nvidia0")


@pytest.mark.usefixtures("h200")
def test_gpus_as_json_can_be_read_by_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpus", "--format", "json"]) == 0
    (gpu,) = json.loads(capsys.readouterr().out)
    assert gpu["uuid"] == "GPU-11111111-2222-3333-4444-555555555555"
    assert gpu["nodes"][0]["path"] == "/dev/nvidia0"


@pytest.mark.parametrize("option", ["--driver-root", "--dev-root"])
def test_a_root_that_is_not_there_is_not_taken_for_a_missing_driver(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gpus", option, str(tmp_path / "nowhere")]) == 125
    assert f"{option} {tmp_path}/nowhere is no directory" in capsys.readouterr().err


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("command", ["gpus", "driver"])
def test_without_a_driver_exactly_what_is_missing_is_said(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    first, evidence, remedy = said.err.splitlines()
    assert first == "error[no-driver]: this machine has no usable NVIDIA driver"
    for part in ("/proc/driver/nvidia/version", "libcuda.so", "/dev/nvidiactl"):
        assert part in evidence
    assert remedy.startswith("  remedy:")


def test_a_dropped_gpu_is_a_warning_and_no_gpu_an_exit_code(
    h200: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    (h200.root / "dev/nvidia0").unlink()
    h200.add_file("/dev/nvidia0x")
    h200._nodes.clear()
    h200.add_control_nodes()
    assert main(["gpus"]) == 1
    said = capsys.readouterr()
    assert "warning: GPU 0" in said.err
    assert "0 GPUs" in said.out


@pytest.mark.usefixtures("h200")
def test_driver_lists_what_would_be_imported_and_from_where(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["driver", "--capabilities", "utility"]) == 0
    out = capsys.readouterr().out
    assert "kernel module 580.159.04" in out
    assert "libnvidia-ml.so.580.159.04" in out
    assert "/usr/local/nvidia/bin/nvidia-smi" in out
    assert "/dev/nvidiactl" in out
    assert "libcuda.so" not in out


@pytest.mark.usefixtures("h200")
def test_driver_as_json_has_the_same_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["driver", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["driver_version"] == "580.159.04"
    kinds = {part["kind"] for part in document["parts"]}
    assert kinds == {"library", "program", "configuration", "firmware", "node"}


@pytest.mark.usefixtures("h200")
@pytest.mark.parametrize("text", ["teleport", "compute,teleport", ","])
def test_an_unknown_capability_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["driver", "--capabilities", text]) == 125
    assert "choose from: all, compute" in capsys.readouterr().err


@pytest.mark.usefixtures("h200")
def test_explain_gives_the_reason_of_each_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_image(monkeypatch, tmp_path, make_facts(), "NVIDIA_DRIVER_CAPABILITIES=utility")
    assert main(["explain", "debian", "--gpus", "all"]) == 0
    out = capsys.readouterr().out
    assert "Asked for: --gpus all; capabilities utility" in out
    imported, _, left_out = out.partition("Left out:")
    assert "/usr/bin/nvidia-smi" in imported
    assert "libcuda.so.580.159.04" in left_out


@pytest.mark.usefixtures("h200")
def test_explain_as_json_is_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_image(monkeypatch, tmp_path, make_facts())
    words = ["explain", "debian", "-e", "NVIDIA_VISIBLE_DEVICES=0", "--format", "json"]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["environment"]["NVIDIA_VISIBLE_DEVICES"] == "0"
    assert document["gpus"] == ["GPU-11111111-2222-3333-4444-555555555555"]
    assert any(device["path"] == "/dev/nvidia0" for device in document["devices"])


@pytest.mark.usefixtures("bare")
def test_explain_without_a_wish_needs_no_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_image(monkeypatch, tmp_path, make_facts(), "NVIDIA_VISIBLE_DEVICES=all")
    assert main(["explain", "cuda"]) == 0
    assert capsys.readouterr().out.startswith("Nothing of the host's driver is imported")


@pytest.mark.usefixtures("bare")
def test_explain_with_a_wish_on_a_machine_without_a_driver_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_image(monkeypatch, tmp_path, make_facts())
    assert main(["explain", "cuda", "--gpus", "all"]) == 125
    assert "error[no-driver]: --gpus all cannot be met" in capsys.readouterr().err


@pytest.mark.usefixtures("h200")
@pytest.mark.parametrize(
    ("environment", "words", "said"),
    [
        (["NVIDIA_REQUIRE_CUDA=cuda>=99"], ["--gpus", "all"], "error[requirement]"),
        ([], ["--gpus", "2"], "error[gpu-unavailable]"),
        ([], ["--gpus", "all", "-e", "=x"], "error[usage]"),
    ],
)
def test_explain_refuses_what_a_run_would_refuse(
    environment: list[str],
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_image(monkeypatch, tmp_path, make_facts(), *environment)
    assert main(["explain", "image", *words]) == 125
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("h200")
def test_a_variable_named_without_a_value_has_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_image(monkeypatch, tmp_path, make_facts())
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "none")
    monkeypatch.delenv("NVIDIA_DRIVER_CAPABILITIES", raising=False)
    words = ["-e", "NVIDIA_VISIBLE_DEVICES", "-e", "NVIDIA_DRIVER_CAPABILITIES"]
    assert main(["explain", "image", *words]) == 0
    assert "NVIDIA_VISIBLE_DEVICES=none" in capsys.readouterr().out


def test_planning_an_import_loads_no_heavy_module() -> None:
    program = (
        "import sys, sampan.engines.driver_import, sampan.driver.cache, sampan.driver.absence,"
        "sampan.gpus.requirements, sampan.gpus.selection, sampan.injection.plan,"
        "sampan.injection.oci; print(' '.join(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], env={}, capture_output=True, text=True, check=True
    )
    heavy = {
        "asyncio", "ctypes", "dataclasses", "logging", "pathlib", "pynvml", "rich", "shutil",
        "subprocess", "tempfile",
    }  # fmt: skip
    assert heavy.isdisjoint(done.stdout.split())
