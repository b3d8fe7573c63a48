"""What a user sees of ``sampan configure`` where the engine itself cannot be asked."""

import json
import os
import pty
import stat
import threading
import tomllib
from pathlib import Path

import pytest

import sampan.engines.configure.change
import sampan.engines.configure.machine
from sampan.cli.main import main
from sampan.engines.configure.apptainer import list_names
from sampan.engines.configure.engine_table import engine_module
from sampan.engines.configure.machine import this_machine
from sampan.engines.configure.plan import EngineConfigurationError, Wishes
from sampan.kernel.bounded_program import ProgramAnswer
from support.driver_host import make_h200_host


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime; and no engine of this machine is asked."""
    program = tmp_path / "bin" / "sampan-runtime"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(
        sampan.engines.configure.machine, "find_executable",
        lambda name, search=None: name if "/" in name and os.access(name, os.X_OK) else "",
    )  # fmt: skip
    return program


def configure(engine: str, runtime: Path, *words: str) -> int:
    state = runtime.parent.parent / "state"
    return main(["configure", engine, "--runtime-path", str(runtime), "--state-dir", str(state), *words])  # fmt: skip


DAEMON = '{\n  "log-driver": "local",\n\n  "runtimes": {"kata": {"path": "/k"}}\n}\n'


def test_docker_gets_the_runtime_keeps_the_rest_and_undo_restores_every_byte(
    tmp_path: Path, runtime: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(DAEMON)
    file.chmod(0o640)
    words = ["--config", str(file)]
    assert configure("docker", runtime, *words, "--yes", "--set-as-default") == 0
    said = capsys.readouterr().out
    assert '+  "default-runtime": "nvidia"' in said
    assert "backup: " in said
    assert "reload docker" in said
    values = json.loads(file.read_text())
    assert values["runtimes"] == {"kata": {"path": "/k"}, "nvidia": {"path": str(runtime)}}
    assert list(values) == ["log-driver", "runtimes", "default-runtime"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    backup = Path(said.partition("backup: ")[2].splitlines()[0])
    assert backup.read_text() == DAEMON
    assert configure("docker", runtime, *words, "--yes", "--set-as-default") == 0
    assert capsys.readouterr().out.endswith("nothing to change\n")
    assert configure("docker", runtime, *words, "--undo", "--yes") == 0
    assert file.read_text() == DAEMON
    capsys.readouterr()
    assert configure("docker", runtime, *words, "--undo", "--yes") == 0
    assert capsys.readouterr().out == "nothing to undo\n"


def test_undo_after_others_changed_the_file_takes_exactly_our_keys(
    tmp_path: Path, runtime: Path
) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(DAEMON)
    words = ["--config", str(file), "--yes"]
    assert configure("docker", runtime, *words, "--cdi") == 0
    file.write_text(file.read_text().replace('"local"', '"journald"'))
    assert configure("docker", runtime, *words, "--set-as-default") == 0
    assert configure("docker", runtime, *words, "--undo") == 0
    assert file.read_text() == DAEMON.replace('"local"', '"journald"')


def test_a_file_that_was_not_there_is_gone_again_with_its_directories(
    tmp_path: Path, runtime: Path
) -> None:
    file = tmp_path / "etc" / "containers" / "conf.d" / "99-sampan.conf"
    for words in ([], ["--set-as-default"]):
        assert configure("podman", runtime, "--config", str(file), "--yes", *words) == 0
    assert tomllib.loads(file.read_text()) == {
        "engine": {"runtime": "nvidia", "runtimes": {"nvidia": [str(runtime)]}}
    }
    assert configure("podman", runtime, "--config", str(file), "--yes", "--undo") == 0
    assert not (tmp_path / "etc").exists()


def test_a_dry_run_shows_the_difference_and_writes_nothing(
    tmp_path: Path, runtime: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "daemon.json"
    assert configure("docker", runtime, "--config", str(file), "--dry-run") == 0
    assert f"+++ {file}" in capsys.readouterr().out
    assert not file.exists()
    assert not (tmp_path / "state").exists()


def test_without_a_terminal_and_yes_it_refuses_with_the_command(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "daemon.json"
    monkeypatch.setattr("sys.argv", ["sampan", "configure", "docker"])
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert configure("docker", runtime, "--config", str(file)) == 125
    assert "remedy:   sampan configure docker --yes" in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize(("answer", "there"), [(b"y\n", True), (b"\n", False), (b"no\n", False)])
def test_at_a_terminal_it_asks_and_only_yes_means_yes(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, there: bool
) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        writer = threading.Thread(target=os.write, args=(ours, answer))
        writer.start()
        file = tmp_path / "daemon.json"
        code = configure("docker", runtime, "--config", str(file))
        writer.join()
    os.close(ours)
    assert (file.exists(), code) == (there, 0 if there else 1)


def test_a_link_is_not_followed(
    tmp_path: Path, runtime: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "daemon.json").symlink_to("real.json")
    assert configure("docker", runtime, "--config", str(tmp_path / "daemon.json"), "--yes") == 125
    said = capsys.readouterr().err
    assert "is a symbolic link" in said
    assert f"--config {tmp_path}/real.json" in said
    assert (tmp_path / "real.json").read_text() == "{}"


def test_a_file_that_others_may_write_is_refused(
    tmp_path: Path, runtime: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "daemon.json"
    file.write_text("{}")
    file.chmod(0o666)
    assert configure("docker", runtime, "--config", str(file), "--yes") == 125
    assert "may be written by others (mode 0666)" in capsys.readouterr().err
    assert file.read_text() == "{}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody")
def test_root_does_not_edit_a_file_of_another_user(
    tmp_path: Path, runtime: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "daemon.json"
    file.write_text("{}")
    os.chown(file, 12345, 12345)
    assert configure("docker", runtime, "--config", str(file), "--yes") == 125
    assert "belongs to user 12345" in capsys.readouterr().err


def test_a_runtime_that_is_not_there_is_refused_since_every_container_would_fail(
    tmp_path: Path, runtime: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime.unlink()
    assert configure("docker", runtime, "--config", str(tmp_path / "d.json"), "--yes") == 125
    assert "remedy:   sudo sampan install" in capsys.readouterr().err
    assert configure("docker", runtime, "--config", str(tmp_path / "d.json"), "--no-runtime", "--cdi", "--yes") == 0  # fmt: skip
    assert json.loads((tmp_path / "d.json").read_text()) == {"features": {"cdi": True}}


def test_a_daemon_json_with_comments_is_refused_with_the_line(
    tmp_path: Path, runtime: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "daemon.json"
    file.write_text('{\n  // a remark\n  "debug": true\n}\n')
    assert configure("docker", runtime, "--config", str(file), "--yes") == 125
    assert "line 2, column 3" in capsys.readouterr().err


def test_a_runtime_that_another_tool_put_there_comes_back_with_undo(
    tmp_path: Path, runtime: Path
) -> None:
    file = tmp_path / "daemon.json"
    text = '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}'
    file.write_text(text)
    assert configure("docker", runtime, "--config", str(file), "--yes") == 0
    assert json.loads(file.read_text())["runtimes"]["nvidia"] == {"path": str(runtime), "args": []}
    assert configure("docker", runtime, "--config", str(file), "--yes", "--undo") == 0
    assert file.read_text() == text


def test_containerd_of_version_3_gets_a_drop_in_and_one_more_import(
    tmp_path: Path, runtime: Path
) -> None:
    file = tmp_path / "config.toml"
    text = 'version = 3\nimports = ["/etc/containerd/theirs.toml"] # theirs\n'
    file.write_text(text)
    words = ["--config", str(file), "--yes"]
    assert configure("containerd", runtime, *words, "--set-as-default") == 0
    pattern = f"{tmp_path}/conf.d/*.toml"
    assert file.read_text() == text.replace('theirs.toml"]', f'theirs.toml", "{pattern}"]')
    section = tomllib.loads((tmp_path / "conf.d/99-sampan.toml").read_text())["plugins"]
    assert section["io.containerd.cri.v1.runtime"]["containerd"] == {
        "default_runtime_name": "nvidia",
        "runtimes": {
            "nvidia": {
                "runtime_type": "io.containerd.runc.v2",
                "options": {"BinaryName": str(runtime)},
            }
        },
    }
    assert configure("containerd", runtime, *words, "--undo") == 0
    assert file.read_text() == text
    assert not (tmp_path / "conf.d").exists()


def test_an_import_that_is_there_already_is_not_written_twice(
    tmp_path: Path, runtime: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text('version = 3\nimports = ["conf.d/*.toml"]\n')
    assert configure("containerd", runtime, "--config", str(file), "--yes") == 0
    assert file.read_text() == 'version = 3\nimports = ["conf.d/*.toml"]\n'


def test_containerd_of_version_2_copies_the_default_runtime_s_options(
    tmp_path: Path, runtime: Path
) -> None:
    file = tmp_path / "config.toml"
    cri = '[plugins."io.containerd.grpc.v1.cri".containerd'
    text = (
        f'version = 2\n{cri}]\ndefault_runtime_name = "crun"\n{cri}.runtimes.crun]\n'
        f'runtime_type = "io.containerd.runc.v2"\n{cri}.runtimes.crun.options]\n'
        'BinaryName = "/usr/bin/crun"\nSystemdCgroup = true\n'
    )
    file.write_text(text)
    assert configure("containerd", runtime, "--config", str(file), "--yes") == 0
    plugins = tomllib.loads(file.read_text())["plugins"]
    runtimes = plugins["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]
    assert runtimes["crun"]["options"]["BinaryName"] == "/usr/bin/crun"
    assert runtimes["nvidia"] == {
        "runtime_type": "io.containerd.runc.v2",
        "options": {"SystemdCgroup": True, "BinaryName": str(runtime)},
    }


def test_crio_gets_a_drop_in(tmp_path: Path, runtime: Path) -> None:
    file = tmp_path / "99-sampan.conf"
    words = ["--config", str(file), "--yes", "--set-as-default", "--cdi-spec-dir", "/etc/cdi"]
    assert configure("crio", runtime, *words) == 0
    assert tomllib.loads(file.read_text())["crio"]["runtime"] == {
        "default_runtime": "nvidia",
        "cdi_spec_dirs": ["/etc/cdi"],
        "runtimes": {"nvidia": {"runtime_path": str(runtime), "runtime_type": "oci"}},
    }


def test_buildkit_lets_builds_ask_for_devices(tmp_path: Path, runtime: Path) -> None:
    file = tmp_path / "buildkitd.toml"
    text = 'insecure-entitlements = [ "network.host" ] # mine\n[cdi]\n  disabled = true\n'
    file.write_text(text)
    assert configure("buildkit", runtime, "--config", str(file), "--yes") == 0
    values = tomllib.loads(file.read_text())
    assert values == {
        "insecure-entitlements": ["network.host", "device"], "cdi": {"disabled": False},
    }  # fmt: skip
    assert configure("buildkit", runtime, "--config", str(file), "--yes", "--undo") == 0
    assert file.read_text() == text


def test_the_names_for_apptainer_s_list_are_those_of_the_driver(tmp_path: Path) -> None:
    names = list_names(make_h200_host(tmp_path).take())
    assert "libcuda.so" in names
    assert "nvidia-smi" in names
    assert all(not name.startswith("libGL.so") for name in names)


def test_a_damaged_record_is_said_and_nothing_is_touched(
    tmp_path: Path, runtime: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "daemon.json"
    words = ["--config", str(file), "--yes"]
    assert configure("docker", runtime, *words) == 0
    record = next((tmp_path / "state").glob("docker-*.json"))
    record.write_text("{")
    before = file.read_text()
    assert configure("docker", runtime, *words, "--undo") == 125
    assert "is damaged" in capsys.readouterr().err
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("engine", "as_root", "as_user"),
    [
        ("docker", "/etc/docker/daemon.json", "/home/u/.config/docker/daemon.json"),
        (
            "podman",
            "/etc/containers/containers.conf.d/99-sampan.conf",
            "/home/u/.config/containers/containers.conf.d/99-sampan.conf",
        ),
        ("containerd", "/etc/containerd/config.toml", "/home/u/.config/containerd/config.toml"),
        ("buildkit", "/etc/buildkit/buildkitd.toml", "/home/u/.config/buildkit/buildkitd.toml"),
        ("crio", "/etc/crio/crio.conf.d/99-sampan.conf", "/etc/crio/crio.conf.d/99-sampan.conf"),
        ("apptainer", "/etc/apptainer/apptainer.conf", "/etc/apptainer/apptainer.conf"),
    ],
)
def test_root_configures_the_machine_s_engine_and_a_user_his_own(
    engine: str, as_root: str, as_user: str
) -> None:
    for is_root, path in ((True, as_root), (False, as_user)):
        machine = this_machine()._replace(environment={"HOME": "/home/u"}, is_root=is_root)
        assert engine_module(engine).locate(Wishes(""), machine) == path


@pytest.mark.parametrize(
    ("printed", "release"),
    [
        ("Docker version 28.5.2+dfsg4, build 3ef3c07", (28, 5, 2)),
        ("Docker version 20.10.24+dfsg1, build 5d6db84", (20, 10, 24)),
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", (1, 6, 20)),
        ("containerd containerd.io v2.1.4 75cb2b7193", (2, 1, 4)),
        ("containerd github.com/containerd/containerd/v2 2.1.9+unknown ", (2, 1, 9)),
        ("podman version 5.8.6", (5, 8, 6)),
        ("buildkitd github.com/moby/buildkit v0.20.0-rc1 b89ee49", (0, 20, 0)),
        ("no number at all", ()),
    ],
)
def test_releases_are_read_from_what_the_engines_print(
    printed: str, release: tuple[int, ...]
) -> None:
    machine = this_machine()._replace(
        find=lambda name: f"/usr/bin/{name}", ask=lambda _: ProgramAnswer(0, printed, "")
    )
    assert machine.release("engine") == release


def test_an_engine_that_objects_leaves_files_record_and_directories_as_they_were(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "new" / "daemon.json"
    words = ["--config", str(file), "--yes"]
    monkeypatch.setattr(
        sampan.engines.configure.machine,
        "find_executable",
        lambda name, search=None: name if "/" in name else f"/usr/sbin/{name}",
    )

    def answer(arguments: list[str]) -> ProgramAnswer:
        if "--version" in arguments:
            return ProgramAnswer(0, "Docker version 28.5.2", "")
        return ProgramAnswer(1, "", "it does not please me")

    monkeypatch.setattr(sampan.engines.configure.machine, "_ask", answer)
    assert configure("docker", runtime, *words) == 125
    said = capsys.readouterr().err
    assert "every file is again what it was" in said
    assert "it does not please me" in said
    assert not file.parent.exists()
    assert list((tmp_path / "state").iterdir()) == []


def test_a_crash_between_record_and_file_leaves_nothing_that_undo_could_spoil(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(DAEMON)

    def crash(*_: object) -> tuple[str, ...]:
        os._exit(9)

    child = os.fork()
    if not child:
        monkeypatch.setattr(sampan.engines.configure.change, "write_target", crash)
        configure("docker", runtime, "--config", str(file), "--yes")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert file.read_text() == DAEMON
    assert configure("docker", runtime, "--config", str(file), "--yes", "--undo") == 0
    assert file.read_text() == DAEMON
    assert configure("docker", runtime, "--config", str(file), "--yes") == 0
    assert configure("docker", runtime, "--config", str(file), "--yes", "--undo") == 0
    assert file.read_text() == DAEMON


CRIO = """\
[crio.runtime]
default_runtime = "crun"
[crio.runtime.runtimes.crun]
runtime_path = "/usr/libexec/crio/crun"
monitor_path = "/usr/libexec/crio/conmon"
monitor_cgroup = ""
allowed_annotations = ["io.containers.trace-syscall"]
[crio.runtime.runtimes.nvidia]
runtime_path = "/elsewhere"
"""


def test_crio_s_monitor_and_annotations_are_those_of_its_default_runtime() -> None:
    shown = CRIO.partition("[crio.runtime.runtimes.nvidia]")[0]
    machine = this_machine()._replace(
        find=lambda name: f"/usr/bin/{name}", ask=lambda _: ProgramAnswer(0, shown, "")
    )
    plan = engine_module("crio").plan(Wishes("/r"), machine)
    assert {edit.key[-1]: edit.value for edit in plan.files[0].edits} == {
        "runtime_path": "/r",
        "runtime_type": "oci",
        "monitor_path": "/usr/libexec/crio/conmon",
        "allowed_annotations": ["io.containers.trace-syscall"],
    }


def test_a_later_file_of_crio_that_names_another_runtime_is_noticed() -> None:
    machine = this_machine()._replace(
        find=lambda name: f"/usr/bin/{name}", ask=lambda _: ProgramAnswer(0, CRIO, "")
    )
    plan = engine_module("crio").plan(Wishes("/r"), machine)
    assert "'/elsewhere'" in plan.check(False)


@pytest.mark.parametrize(
    ("release", "key", "word"),
    [
        ("25.0.3", ("features", "cdi"), "restart"),
        ("28.5.2", ("features", "cdi"), "restart"),
    ],
)
def test_docker_s_cdi_is_switched_on_where_it_exists(
    release: str, key: tuple[str, ...], word: str
) -> None:
    machine = this_machine()._replace(
        find=lambda name: f"/usr/bin/{name}",
        ask=lambda _: ProgramAnswer(0, f"Docker version {release}", ""),
    )
    plan = engine_module("docker").plan(Wishes("/r", cdi=True), machine)
    assert key in [edit.key for edit in plan.files[0].edits]
    assert word in plan.restart[0]


@pytest.mark.parametrize(
    ("engine", "printed", "wishes", "said"),
    [
        ("docker", "Docker version 20.10.24", Wishes("/r", cdi=True), "does not know CDI"),
        ("docker", "Docker version 24.0.7", Wishes("/r", spec_dirs=("/e",)), "does not know CDI"),
        ("podman", "podman version 3.4.4", Wishes("/r", cdi=True), "does not read CDI"),
        ("podman", "podman version 5.4.2", Wishes("/r", spec_dirs=("/e",)), "/etc/cdi and"),
        ("buildkit", "buildkitd b v0.19.0 x", Wishes(""), "does not know CDI"),
    ],
)
def test_a_release_that_cannot_do_it_is_told_so(
    engine: str, printed: str, wishes: Wishes, said: str
) -> None:
    machine = this_machine()._replace(
        find=lambda name: f"/usr/bin/{name}", ask=lambda _: ProgramAnswer(0, printed, "")
    )
    with pytest.raises(EngineConfigurationError, match=said):
        engine_module(engine).plan(wishes, machine)
