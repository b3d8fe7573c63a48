"""``sampan doctor``: which checks run, what is printed, how it ends, and that nothing is changed."""

import json
import os
from pathlib import Path

import pytest

import sampan.cli.doctor
from sampan.cli.main import main
from sampan.doctor.table import CHECKS, SCOPES
from sampan.kernel.bounded_program import ask_program
from support.doctor import DoctorHost, make_driver_host

PAGE = Path(__file__).parent.parent.parent.parent / "docs" / "doctor.md"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DoctorHost:
    host = make_driver_host(tmp_path)
    monkeypatch.setattr(sampan.cli.doctor, "make_host", host.view)
    return host


@pytest.mark.usefixtures("host")
def test_a_sound_host_ends_with_0_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "driver", "mig"]) == 0
    assert capsys.readouterr().out == "2 checks: 2 ok\n"
    assert main(["doctor", "-v", "driver"]) == 0
    assert capsys.readouterr().out.startswith("ok[driver]: driver 580.95.05 with 1 GPUs\n")


def test_a_warning_ends_with_1_and_something_broken_with_2(
    host: DoctorHost, capsys: pytest.CaptureFixture[str]
) -> None:
    host.add_gpu(1, node=False)
    assert main(["doctor", "device-nodes"]) == 1
    host.load_module("570.86.15")
    assert main(["doctor", "driver-versions"]) == 2
    out = capsys.readouterr().out
    assert "broken[driver-version-mismatch]: " in out
    assert "  seen as:  Failed to initialize NVML: Driver/library version mismatch\n" in out
    assert "  remedy:   reboot" in out
    assert out.endswith("1 check: 1 broken\n")


def test_json_has_every_finding_and_the_worst(
    host: DoctorHost, capsys: pytest.CaptureFixture[str]
) -> None:
    host.load_module("570.86.15")
    assert main(["doctor", "--json", "driver-versions", "mig"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["worst"] == "broken"
    assert document["checks"] == ["driver-versions", "mig"]
    assert [finding["check"] for finding in document["findings"]] == ["driver-versions", "mig"]
    assert set(document["findings"][0]) == {
        "id", "severity", "cause", "evidence", "symptom", "remedy", "check",
    }  # fmt: skip


def test_the_list_names_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(CHECKS)
    assert {check.scope for check in CHECKS.values()} == set(SCOPES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["drivr"], "did you mean: driver"),
        (["image-compat"], "sampan doctor --image NAME image-compat"),
        (["registries"], "sampan doctor --network registries"),
        (["--engine", "lxc"], "--help shows the options"),
        (["--image", "nothing-of-this-name"], "error[image-not-found]"),
    ],
)
@pytest.mark.usefixtures("host")
def test_a_word_that_means_nothing_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("SAMPAN_STORE", str(tmp_path / "store"))
    assert main(["doctor", *words]) == 125
    assert said in capsys.readouterr().err


def test_with_an_engine_only_that_one_is_looked_at_and_our_own_is_not(
    host: DoctorHost, capsys: pytest.CaptureFixture[str]
) -> None:
    host.install_docker()
    host.install_podman()
    main(["doctor", "--engine", "podman", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert "user-namespaces" not in document["checks"]
    causes = [one["cause"] for one in document["findings"] if one["check"] == "engines"]
    assert causes == ["podman 5.4.0"]


def test_a_strangers_file_name_neither_looks_like_a_finding_nor_runs_when_pasted(
    host: DoctorHost, capsys: pytest.CaptureFixture[str]
) -> None:
    host.write("/etc/cdi/x\nok[driver]: \x1b[2K;reboot.yaml", "not: a document\n")
    assert main(["doctor", "cdi-documents"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if not line.startswith("  ")]) == 2
    assert "\x1b" not in "".join(lines)
    remedy = next(line for line in lines if line.startswith("  remedy:"))
    assert "validate '" in remedy


def test_nothing_is_changed_by_looking(host: DoctorHost) -> None:
    host.install_docker()
    before = _states(host.base)
    main(["doctor"])
    assert _states(host.base) == before


def _states(base: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for directory, names, files in os.walk(base):
        for name in (*names, *files):
            status = os.lstat(f"{directory}/{name}")
            found[f"{directory}/{name}"] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def test_a_fifo_in_place_of_a_file_does_not_keep_the_doctor(host: DoctorHost) -> None:
    for path in ("etc/docker/daemon.json", "etc/cdi/nvidia.yaml", "etc/apt/sources.list"):
        place = host.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(place)
    host.install_docker()
    assert main(["doctor"]) in (1, 2)


def test_a_program_that_hangs_is_left_behind_with_all_its_children() -> None:
    answer = ask_program(["/bin/sh", "-c", "echo begun; sleep 1000 & wait"], timeout_s=0.5)
    assert (answer.code, answer.output) == (None, "begun\n")
    assert answer.said == "no answer in 0.5 s"


def test_a_program_that_is_absent_or_fails_says_so() -> None:
    assert ask_program(["/nonexistent"], timeout_s=5).said.startswith("cannot start: ")
    answer = ask_program(["/bin/sh", "-c", "echo why >&2; exit 3"], timeout_s=5)
    assert (answer.code, answer.said) == (3, "why")


def test_the_page_explains_every_check() -> None:
    rows = [line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if line.startswith("| `")]  # fmt: skip
    assert rows == [f"`{name}`" for name in CHECKS]


def test_the_driver_is_checked_where_the_variables_say_that_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMPAN_DRIVER_ROOT", str(tmp_path))
    monkeypatch.setenv("SAMPAN_DEV_ROOT", str(tmp_path))
    assert sampan.cli.doctor.make_host().inventory.driver_root == str(tmp_path)
    monkeypatch.setenv("SAMPAN_DRIVER_ROOT", "/nowhere")
    assert main(["doctor"]) == 125
