"""``sampan explain`` groups the plan, needs no image, leases nothing."""

import json
from pathlib import Path

import pytest

import sampan.cli.explain
from sampan.cli.main import main
from support.driver_host import make_h200_host


@pytest.fixture(autouse=True)
def _h200(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = make_h200_host(tmp_path)
    monkeypatch.setattr(sampan.cli.explain, "find_inventory", lambda _: host.take())


def explain(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["explain", *words]) == 0
    return capsys.readouterr().out


def test_without_an_image_files_lie_where_the_host_has_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = explain(capsys, "--gpus", "all")
    libraries = out.partition("Links")[0]
    assert "  /usr/local/nvidia/lib64/libcuda.so.580.159.04 " in libraries
    assert main(["explain", "--gpus", "all,capabilities=graphics"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert "GPU:       0 = NVIDIA H200 GPU-" in out


def test_items_stand_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    out = explain(capsys, "--gpus", "all,capabilities=utility")
    headings = [line for line in out.splitlines() if line and not line.startswith(" ")][2:]
    assert headings == [
        "Libraries", "Programs, descriptions, firmware", "Links", "Files that Sampan writes",
        "Device nodes", "Variables and groups", "Left out:",
    ]  # fmt: skip


def test_json_names_the_kind_of_each_item(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(explain(capsys, "--gpus", "all", "--json"))
    kinds = {reason["item"]: reason["kind"] for reason in document["reasons"]}
    assert kinds["/dev/nvidia0"] == "node"
    assert kinds["env NVIDIA_VISIBLE_DEVICES"] == "setting"
    assert kinds["libEGL_nvidia.so.580.159.04"] == "left-out"


def test_mig_configuration_is_explained_with_the_right_to_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--gpus", "all", "-e", "NVIDIA_MIG_CONFIG_DEVICES=all"]
    assert main(["explain", *words]) == 125
    assert "error[mig-rights]" in capsys.readouterr().err
    assert "mig-config" in explain(capsys, *words, "--cap-add", "SYS_ADMIN")
