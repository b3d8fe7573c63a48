"""``sampan configure`` before the engines themselves: containerd 1 and 2, dockerd, podman, apptainer."""

import contextlib
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.integration
REPOSITORY = Path(__file__).parents[2]
SAMPAN = (str(REPOSITORY / ".venv" / "bin" / "sampan"),)
IN_CHROOT = ("containerd", "dockerd", "podman")


class Place(NamedTuple):
    """A directory with a runtime, and programs that come first on PATH."""

    directory: Path
    path: str

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            words, capture_output=True, text=True, cwd=REPOSITORY,
            env={**os.environ, "PATH": f"{self.path}:{os.environ['PATH']}"},
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def configure(self, engine: str, *words: str, check: bool = True) -> str:
        done = self.run(
            *SAMPAN, "configure", engine, "--yes", "--runtime-path", str(self.runtime),
            "--state-dir", str(self.directory / "state"), *words, check=check,
        )  # fmt: skip
        return done.stdout + done.stderr

    @property
    def runtime(self) -> Path:
        return self.directory / "sampan-runtime"

    def dump(self, file: Path) -> dict[str, Any]:
        return tomllib.loads(self.run("containerd", "--config", str(file), "config", "dump").stdout)


def make_place(directory: Path, path: Path) -> Place:
    shutil.copy("/bin/true", directory / "sampan-runtime")
    return Place(directory, str(path))


@pytest.fixture
def old(tmp_path: Path) -> Place:
    """This distribution's containerd and dockerd."""
    done = subprocess.run(
        [REPOSITORY / "scripts" / "engine-programs"], capture_output=True, text=True
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    root = Path(done.stdout.strip())
    return make_place(tmp_path, root / "usr/bin")._replace(path=f"{root}/usr/bin:{root}/usr/sbin")


@pytest.fixture
def new(tmp_path: Path) -> Place:
    """Debian sid's engines, each behind a script that enters their chroot; /tmp is the same there."""
    script = str(REPOSITORY / "scripts" / "engines-sid")
    # Whatever the chroot still needs is made here, where no time is running out.
    ready = subprocess.run([script, "true"], capture_output=True, text=True, cwd=REPOSITORY)
    if ready.returncode == 77:
        pytest.skip(ready.stderr.strip())
    if not tmp_path.is_relative_to("/tmp"):
        pytest.skip(f"{tmp_path} is not seen in the chroot")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in IN_CHROOT:
        (programs / name).write_text(f'#!/bin/sh\ncd {REPOSITORY}; exec {script} {name} "$@"\n')
        (programs / name).chmod(0o755)
    return make_place(tmp_path, programs)


CRI_2 = "io.containerd.grpc.v1.cri"
CRI_3 = "io.containerd.cri.v1.runtime"
PACKAGED = """\
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd/opt"
"""
KUBERNETES = """\
# a cluster's
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "my/pause:1" # ours
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
"""


def runtimes(dump: dict[str, Any]) -> dict[str, Any]:
    plugins = dump["plugins"]
    found: dict[str, Any] = plugins[CRI_3 if CRI_3 in plugins else CRI_2]["containerd"]["runtimes"]
    return found


@pytest.mark.parametrize("text", [PACKAGED, KUBERNETES, "", 'disabled_plugins = ["cri"]\n'])
@pytest.mark.parametrize("generation", ["old", "new"])
def test_containerd_takes_the_runtime_loses_nothing_and_gets_its_bytes_back(
    generation: str, text: str, request: pytest.FixtureRequest
) -> None:
    place: Place = request.getfixturevalue(generation)
    file = place.directory / "containerd" / "config.toml"
    file.parent.mkdir()
    file.write_text(text)
    before = place.dump(file)
    assert "written: " in place.configure("containerd", "--config", str(file))
    after = place.dump(file)
    if CRI_2 in after["plugins"] or CRI_3 in after["plugins"]:
        ours = runtimes(after)["nvidia"]
        assert ours["options"]["BinaryName"] == str(place.runtime)
        assert ours["runtime_type"] == "io.containerd.runc.v2"
        assert bool(ours["options"].get("SystemdCgroup")) == (text == KUBERNETES)
        assert runtimes(after)["runc"]["runtime_type"] == "io.containerd.runc.v2"
        assert set(runtimes(after)) - set(runtimes(before)) == {"nvidia"}
    assert "nothing to change" in place.configure("containerd", "--config", str(file))
    place.configure("containerd", "--config", str(file), "--undo")
    assert file.read_text() == text
    assert list(file.parent.iterdir()) == [file]


def test_containerd_1_keeps_runc_although_it_forgets_it_when_another_runtime_is_listed(
    old: Place,
) -> None:
    file = old.directory / "config.toml"
    text = f'version = 2\n[plugins."{CRI_2}".containerd.runtimes.x]\nruntime_type = "y"\n'
    file.write_text(text)
    if "runc" in runtimes(old.dump(file)):
        pytest.skip("this containerd does not forget it")
    file.write_text("version = 2\n")
    old.configure("containerd", "--config", str(file))
    assert set(runtimes(old.dump(file))) == {"runc", "nvidia"}


def test_containerd_1_whose_section_an_imported_file_replaces_is_refused_and_left_as_it_was(
    old: Place,
) -> None:
    imported = old.directory / "99-theirs.toml"
    imported.write_text(KUBERNETES)
    file = old.directory / "config.toml"
    text = PACKAGED.replace("version = 2\n", f'version = 2\nimports = ["{imported}"]\n')
    file.write_text(text)
    said = old.configure("containerd", "--config", str(file), check=False)
    if "written: " in said:
        pytest.skip("this containerd merges imported files")
    assert "an imported file replaces this section" in said
    assert file.read_text() == text


def test_containerd_1_does_not_know_cdi_before_1_7(old: Place) -> None:
    release = old.run("containerd", "--version").stdout
    if " 1.6." not in release:
        pytest.skip(f"this is {release.strip()}")
    file = old.directory / "config.toml"
    file.write_text(PACKAGED)
    assert "it came with 1.7" in old.configure("containerd", "--cdi", "--config", str(file), check=False)  # fmt: skip
    assert file.read_text() == PACKAGED


def test_imports_of_others_stay_and_still_count_in_containerd_2(new: Place) -> None:
    theirs = new.directory / "theirs.toml"
    theirs.write_text(f'version = 3\n[plugins."{CRI_3}".containerd.runtimes.kata]\nruntime_type = "io.containerd.kata.v2"\n')  # fmt: skip
    file = new.directory / "config.toml"
    file.write_text(f'version = 3\nimports = ["{theirs}"]\n')
    new.configure("containerd", "--config", str(file), "--set-as-default", "--cdi")
    after = new.dump(file)
    assert set(runtimes(after)) == {"kata", "nvidia", "runc"}
    assert after["plugins"][CRI_3]["containerd"]["default_runtime_name"] == "nvidia"
    assert after["plugins"][CRI_3]["enable_cdi"] is True


def test_a_containerd_that_refuses_its_present_file_is_left_alone(new: Place) -> None:
    file = new.directory / "config.toml"
    file.write_text("version = 99\n")
    said = new.configure("containerd", "--config", str(file), check=False)
    assert "containerd does not take" in said
    assert file.read_text() == "version = 99\n"


def test_docker_20_is_not_given_words_that_keep_it_from_starting(old: Place) -> None:
    release = old.run("dockerd", "--version").stdout
    if " 20." not in release:
        pytest.skip(f"this is {release.strip()}")
    file = old.directory / "daemon.json"
    said = old.configure("docker", "--config", str(file), "--cdi", check=False)
    assert "does not know CDI" in said
    assert not file.exists()
    assert "cannot check its file" in old.configure("docker", "--config", str(file))


def test_dockerd_is_asked_before_and_after(new: Place) -> None:
    file = new.directory / "daemon.json"
    file.write_text('{"no-such-directive": 1}')
    said = new.configure("docker", "--config", str(file), check=False)
    assert "docker does not take its present configuration" in said
    assert "no-such-directive" in said
    assert file.read_text() == '{"no-such-directive": 1}'


RELOADED = """
set -eu
cp "$1" "$1.live"
dockerd --config-file "$1.live" --iptables=false --ip6tables=false --bridge=none -H "$DOCKER_HOST" >"$1.log" 2>&1 &
daemon=$!
until docker info >/dev/null 2>&1; do kill -0 $daemon || { cat "$1.log" >&2; exit 1; }; sleep 0.1; done
cp "$2" "$1.live"
kill -HUP $daemon
until docker info --format '{{json .Runtimes}}' | grep -q '"nvidia"'; do sleep 0.1; done
docker info --format '{{.DefaultRuntime}} {{range $name, $one := .Runtimes}}{{$name}}={{$one.Path}} {{end}}'
kill $daemon
wait $daemon || true
"""


def test_a_running_docker_finds_the_runtime_after_a_reload(new: Place) -> None:
    file = new.directory / "daemon.json"
    file.write_text('{"log-driver": "local"}\n')
    before = Path(shutil.copy(file, new.directory / "before.json"))
    assert "reload docker" in new.configure("docker", "--config", str(file), "--set-as-default")
    script = str(REPOSITORY / "scripts" / "engines-sid")
    done = subprocess.run(
        [script, "bash", "-c", RELOADED, "reloaded", str(before), str(file)],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nvidia ")
    assert f"nvidia={new.runtime}" in done.stdout


@contextlib.contextmanager
def own_podman(directory: Path) -> Iterator[Place]:
    if not shutil.which("podman"):
        pytest.skip("podman is not installed here")
    yield make_place(directory, Path("/usr/bin"))


@pytest.mark.parametrize("generation", ["host", "new"])
def test_podman_finds_the_runtime(
    generation: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = request.getfixturevalue("new") if generation == "new" else None
    with contextlib.nullcontext(place) if place else own_podman(tmp_path) as place:
        file = place.directory / "conf.d" / "99-sampan.conf"
        place.configure("podman", "--config", str(file), "--set-as-default")
        info = place.run(
            "env", f"CONTAINERS_CONF={file}", "podman", "info", "--format",
            "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}",
        )  # fmt: skip
        assert info.stdout.strip() == f"nvidia {place.runtime}"
        place.configure("podman", "--config", str(file), "--undo")
        assert not file.parent.exists()


def test_the_files_of_apptainer_s_package_are_changed_in_one_line_and_restored(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [REPOSITORY / "scripts" / "apptainer-sid", "--prepare"], capture_output=True, text=True
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    packaged = cache / "sampan-peers/apptainer-sid/etc/apptainer/apptainer.conf"
    file = Path(shutil.copy(packaged, tmp_path))
    place = make_place(tmp_path, Path("/usr/bin"))
    shutil.copy(packaged.with_name("nvliblist.conf"), tmp_path)
    said = place.configure("apptainer", "--config", str(file), "--set-as-default")
    changed = [line for line in said.splitlines() if line.startswith(("+always", "-always"))]
    assert changed == ["-always use nv = no", "+always use nv = yes"]
    place.configure("apptainer", "--config", str(file), "--undo")
    assert file.read_text() == packaged.read_text()


STARTED = """
set -eu
mkdir -p /run/c
containerd --config "$1" --root /run/c/root --state /run/c/state -a /run/c/sock >/run/c/log 2>&1 &
daemon=$!
until ctr -a /run/c/sock version >/dev/null 2>&1; do kill -0 $daemon || { cat /run/c/log >&2; exit 1; }; sleep 0.1; done
ctr -a /run/c/sock plugins ls
cat /run/c/log
kill -KILL $daemon
"""


def test_containerd_2_starts_its_kubernetes_interface_with_the_runtime(new: Place) -> None:
    file = new.directory / "config.toml"
    file.write_text(PACKAGED)
    new.configure("containerd", "--config", str(file), "--set-as-default")
    script = str(REPOSITORY / "scripts" / "engines-sid")
    done = subprocess.run(
        [script, "bash", "-c", STARTED, "started", str(file)],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    states = [line.split() for line in done.stdout.splitlines() if "io.containerd." in line[:20]]
    assert ["io.containerd.grpc.v1", "cri", "-", "ok"] in states
    assert f'BinaryName\\":\\"{new.runtime}' in done.stdout
    assert 'defaultRuntimeName\\":\\"nvidia' in done.stdout
