"""Hosts on which a container cannot be started: each says what is missing and what to do."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support.engine_host import USERS, EngineHost, engine_host

pytestmark = pytest.mark.integration

RUN = ("run", "--rm", "testimage", "true")


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with engine_host() as made:
        yield made


def run_after(host: EngineHost, setup: str, *words: str, user: str = "root") -> tuple[int, str]:
    """Run ``sampan`` in a mount namespace in which a shell script was run first."""
    line = ["unshare", "--mount", "sh", "-c", f'set -e; {setup}; exec "$@"', "sh"]
    done = subprocess.run(
        [*line, *host.command(*words, user=user)],
        env=host.environment(user),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


def hide(programs: Sequence[str]) -> str:
    """Shell words that make programs disappear."""
    found = [shutil.which(program) for program in programs]
    return "; ".join(f"mount --bind /dev/null {path}" for path in found if path) or "true"


def test_no_runtime(host: EngineHost) -> None:
    code, said = run_after(host, hide(["crun", "runc"]), *RUN)
    assert code == 125
    assert "error[runtime-missing]" in said
    assert "apt-get install crun" in said


def test_runc_serves_where_there_is_no_crun(host: EngineHost) -> None:
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    for user in USERS:
        code, said = run_after(host, hide(["crun"]), *RUN, user=user)
        assert (code, said) == (0, "")
    assert not list(Path("/sys/fs/cgroup").glob("*/sampan-*"))


def test_user_namespaces_turned_off(host: EngineHost) -> None:
    # The limit counts per namespace, so that the machine's own stays as it is.
    inner = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"', "sh"]  # fmt: skip
    line = host.command(*RUN, user="ordinary")
    place = line.index("--clear-groups") if "--clear-groups" in line else len(line) - len(RUN) - 3
    words = [*line[:place], *inner, *line[place:]]
    done = subprocess.run(words, env=host.environment("ordinary"), capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 125, done.stderr
    assert "error[user-namespace]" in done.stderr
    assert "user.max_user_namespaces=0" in done.stderr
    assert "sysctl -w user.max_user_namespaces" in done.stderr


def test_neither_fuse_nor_unsquashfs(host: EngineHost) -> None:
    code, said = run_after(host, hide(["squashfuse_ll", "unsquashfs"]), *RUN, user="ordinary")
    assert code == 125
    assert "error[unpack]" in said
    assert "squashfuse_ll is not installed" in said
    assert "apt-get install squashfuse" in said


def test_without_loop_devices_root_uses_fuse(host: EngineHost) -> None:
    code, said = run_after(host, "mount --bind /dev/null /dev/loop-control", *RUN)
    assert (code, said) == (0, "")


def test_without_newuidmap_a_user_has_one_id(host: EngineHost) -> None:
    code, said = run_after(host, hide(["newuidmap"]), *RUN, user="ranged")
    assert (code, said) == (0, "")


def test_an_image_that_is_not_there(host: EngineHost) -> None:
    done = host.run("run", "--rm", "--pull", "never", "nothere", "true")
    assert done.returncode == 125
    assert "error[image-not-found]" in done.stderr


def test_a_damaged_image_names_the_file_and_what_was_tried(host: EngineHost) -> None:
    (sif,) = (host.store / "images/sha256").glob("*.sif")
    content = sif.read_bytes()
    sif.write_bytes(content[:4096] + bytes(len(content) - 4096))
    try:
        for user in ("root", "ordinary"):
            done = host.run(*RUN, user=user)
            assert done.returncode == 125
            assert "error[rootfs]" in done.stderr or "error[sif]" in done.stderr
            assert str(sif) in done.stderr
    finally:
        sif.write_bytes(content)
    assert host.run(*RUN).returncode == 0


def test_a_gpu_where_there_is_none_says_what_is_missing(host: EngineHost) -> None:
    if os.path.exists("/proc/driver/nvidia/version"):
        pytest.skip("this machine has an NVIDIA driver")
    done = host.run("run", "--rm", "--gpus", "all", "testimage", "true")
    assert done.returncode == 125
    assert "/proc/driver/nvidia" in done.stderr
    assert "remedy:" in done.stderr


def test_the_driver_is_looked_for_below_the_roots_that_were_named(
    host: EngineHost, tmp_path: Path
) -> None:
    root = tmp_path / "driver"
    (root / "dev").mkdir(parents=True)
    words = ("run", "--rm", "--gpus", "all", "testimage", "true")
    done = host.run(*words[:2], "--driver-root", str(root), *words[2:])
    assert done.returncode == 125
    assert f"no device node {root}/dev/nvidiactl" in done.stderr
    done = host.run(*words, variables={"SAMPAN_DEV_ROOT": str(root)})
    assert f"no device node {root}/dev/nvidiactl" in done.stderr
    done = host.run(*words, variables={"SAMPAN_DRIVER_ROOT": "/nowhere"})
    assert "SAMPAN_DRIVER_ROOT /nowhere is no directory" in done.stderr
