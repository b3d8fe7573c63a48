"""``sampan install`` and ``uninstall``: what is put where, what gives way, what comes back."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.dropin.names import NVIDIA_NAMES, PROGRAMS, SAMPAN_NAMES
from support.described_host import make_described_host

pytestmark = pytest.mark.integration
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def sampan(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "sampan", *words], capture_output=True, text=True)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("prefix")
    place.chmod(0o755)
    done = sampan("install", "--prefix", str(place))
    assert done.returncode == 0, done.stderr
    yield place
    shutil.rmtree(place, ignore_errors=True)


def call(prefix: Path, name: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(prefix / "bin" / name), *words], env={**CLEAN, **more}, capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_all_names_lead_to_programs_that_start_without_our_environment(prefix: Path) -> None:
    names = {**SAMPAN_NAMES, **NVIDIA_NAMES}
    assert {path.name for path in (prefix / "bin").iterdir()} == set(names)
    for name in names:
        assert (prefix / "bin" / name).resolve().parent == (prefix / "libexec/sampan").resolve()
    for program in PROGRAMS:
        first, *_ = (prefix / "libexec/sampan" / program).read_text().splitlines()
        assert first.endswith(" -BIS")
        assert not first.startswith(f"#!{sys.prefix}")


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("nvidia-ctk", ["--version"], "sampan "),
        ("nvidia-ctk", ["config", "default"], "no-cgroups = false"),
        ("nvidia-ctk", ["cdi", "list", "--spec-dir", "/nonexistent"], ""),
        ("nvidia-ctk", ["system", "create-dev-char-symlinks", "--dev-root", "/nonexistent"], ""),
        ("nvidia-cdi-hook", ["--help"], "create-symlinks"),
        ("nvidia-container-cli", ["--version"], "sampan "),
        ("nvidia-container-runtime-hook", ["--version"], "Sampan"),
        ("nvidia-container-runtime", ["--version"], "runc version"),
    ],
)
def test_the_names_answer(prefix: Path, name: str, words: list[str], said: str) -> None:
    done = call(prefix, name, *words)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_nvidia_docker_is_docker_with_gpus(prefix: Path, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "$@"\n')
    docker.chmod(0o755)
    done = call(prefix, "nvidia-docker", "ps", "-a", NV_DOCKER=str(docker))
    assert (done.returncode, done.stdout) == (0, "ps -a\n"), done.stderr


def test_nvidia_ctk_changes_the_configuration_and_keeps_comments(
    prefix: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("# ours\n[nvidia-container-runtime]\nmode = 'auto' # was legacy\n")
    words = ["config", "--config-file", str(config), "--in-place"]
    words += ["--set", "nvidia-container-runtime.runtimes=crun:runc", "--set", "disable-require"]
    done = call(prefix, "nvidia-ctk", *words)
    assert done.returncode == 0, done.stderr
    text = config.read_text()
    assert "# ours" in text
    assert "# was legacy" in text
    assert 'runtimes = ["crun", "runc"]' in text
    assert "disable-require = true" in text
    refused = call(prefix, "nvidia-ctk", *words[:-1], "no.such=1")
    assert refused.returncode != 0
    assert "no.such" in refused.stderr


def test_nvidia_container_cli_describes_the_host(prefix: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("device nodes need root")
    host = make_described_host(tmp_path / "host", "two-gpus", real_nodes=True)
    config = tmp_path / "config.toml"
    config.write_text(
        f'[nvidia-container-cli]\nroot = "{host.root}"\n[sampan]\n'
        f'proc-root = "{host.proc}"\nsys-root = "{host.sys}"\n'
    )
    environment = {"NVIDIA_CTK_CONFIG_FILE_PATH": str(config)}
    info = call(prefix, "nvidia-container-cli", "info", **environment)
    assert info.returncode == 0, info.stderr
    assert info.stdout.count("Device Index:") == 2
    listed = call(prefix, "nvidia-container-cli", "list", "--device", "1", **environment)
    assert [line for line in listed.stdout.splitlines() if line.endswith(("nvidia0", "nvidia1"))] == [
        f"{host.root}/dev/nvidia1"
    ]  # fmt: skip


def test_files_of_others_give_way_only_by_force_and_come_back(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "bin").mkdir(mode=0o755)
    theirs = tmp_path / "bin/nvidia-ctk"
    theirs.write_text("NVIDIA's\n")
    words = ("--prefix", str(tmp_path))
    refused = sampan("install", *words)
    assert refused.returncode != 0
    assert f"have the names: {theirs}" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]
    assert sampan("install", *words, "--force").returncode == 0
    assert theirs.is_symlink()
    manifest = json.loads((tmp_path / "libexec/sampan/installed.json").read_text())
    assert manifest["backups"] == {str(theirs): f"{theirs}.before-sampan"}
    # Repeating it neither loses the backup nor makes another.
    assert sampan("install", *words).returncode == 0
    removed = sampan("uninstall", *words)
    assert removed.returncode == 0, removed.stderr
    assert theirs.read_text() == "NVIDIA's\n"
    assert [path.name for path in (tmp_path / "bin").iterdir()] == ["nvidia-ctk"]
    assert not (tmp_path / "libexec/sampan").exists()


def test_a_name_that_somebody_has_taken_over_is_not_removed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    words = ("--prefix", str(tmp_path))
    assert sampan("install", *words, "--names", "sampan").returncode == 0
    name = tmp_path / "bin/sampan-runtime"
    name.unlink()
    name.write_text("another\n")
    assert sampan("uninstall", *words).returncode == 0
    assert name.read_text() == "another\n"


def test_uninstall_without_an_installation_says_so(tmp_path: Path) -> None:
    done = sampan("uninstall", "--prefix", str(tmp_path))
    assert done.returncode != 0
    assert "nothing of Sampan's is installed" in done.stderr


def test_a_place_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    done = sampan("install", "--prefix", str(tmp_path / "open"))
    assert done.returncode != 0
    assert "is no place for what engines run as root" in done.stderr
