"""docker and containerd of Debian sid with the installed drop-ins: runtime, prestart hook, commit, restart."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.dropin_host import LIBRARIES, NODES, DropinHost

pytestmark = pytest.mark.integration
REPOSITORY = Path(__file__).parents[2]
IMAGE = f"sampan-dropin-{os.getpid()}"
LOOK = " ".join((*LIBRARIES, *NODES))
DAEMON = """
set -e
export PATH={bin}:$PATH NVIDIA_CTK_CONFIG_FILE_PATH={config} DOCKER_HOST=unix:///run/docker.sock
dockerd --iptables=false --ip6tables=false --bridge=none -H $DOCKER_HOST \\
  --add-runtime nvidia={bin}/nvidia-container-runtime >/run/dockerd.log 2>&1 &
daemon=$!
until docker info >/dev/null 2>&1; do
  kill -0 $daemon || {{ cat /run/dockerd.log >&2; exit 77; }}
  sleep 0.1
done
finish() {{
  docker rm -f {image} >/dev/null 2>&1 || true
  docker rmi {image} {image}-committed >/dev/null 2>&1 || true
  kill $daemon
  wait $daemon || true
}}
trap finish EXIT
tar -C {root} -c . | docker import - {image} >/dev/null
{steps}
"""
CONTAINERD = """
set -e
export PATH={bin}:$PATH NVIDIA_CTK_CONFIG_FILE_PATH={config}
mkdir -p /run/ctr-test
containerd --root /run/ctr-test/root --state /run/ctr-test/state --address /run/ctr-test/sock \\
  >/run/ctr-test/log 2>&1 &
daemon=$!
trap 'kill $daemon; wait $daemon || true' EXIT
until ctr -a /run/ctr-test/sock version >/dev/null 2>&1; do
  kill -0 $daemon || {{ cat /run/ctr-test/log >&2; exit 77; }}
  sleep 0.1
done
{steps}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DropinHost]:
    if os.geteuid() != 0:
        pytest.skip("the chroot of Debian sid needs root")
    base = tmp_path_factory.mktemp("engines")
    yield DropinHost(base)
    shutil.rmtree(base, ignore_errors=True)


def run_steps(host: DropinHost, form: str, *steps: str) -> list[list[str]]:
    """Lines that each step printed, in one session of an engine."""
    script = form.format(
        bin=host.prefix / "bin", config=host.config, root=host.image.path, image=IMAGE,
        steps="\necho =====\n".join(steps),
    )  # fmt: skip
    done = subprocess.run(
        ["scripts/engines-sid", "sh", "-c", script],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=250,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, (done.stdout, done.stderr)
    return [part.strip().splitlines() for part in done.stdout.split("=====\n")]


def docker(verb: str, options: str, words: str = f"/program {LOOK}") -> str:
    return f"docker {verb} --network none {options} {IMAGE} {words}"


def test_docker_with_the_nvidia_runtime_gives_what_the_variable_names(host: DropinHost) -> None:
    runtime = "--runtime nvidia -e NVIDIA_VISIBLE_DEVICES"
    one, every, void, plain, unset = run_steps(
        host,
        DAEMON,
        docker("run --rm", f"{runtime}=1"),
        docker("run --rm", f"{runtime}=all --read-only"),
        docker("run --rm", f"{runtime}=void"),
        docker("run --rm", "-e NVIDIA_VISIBLE_DEVICES=all"),
        docker("run --rm", "--runtime nvidia"),
    )
    assert one == host.seen(1)
    assert every == host.seen(0, 1)
    assert void == plain == unset == host.seen_nothing()


def test_docker_starts_a_container_again_and_commits_no_file_of_the_driver(
    host: DropinHost,
) -> None:
    started, again, empty, committed = run_steps(
        host,
        DAEMON,
        docker("run", f"--runtime nvidia -e NVIDIA_VISIBLE_DEVICES=0 --name {IMAGE}"),
        f"docker start -a {IMAGE}",
        f"docker commit {IMAGE} {IMAGE}-committed >/dev/null; docker run --rm --network none"
        f" {IMAGE}-committed /bin/busybox find / -xdev -type f -size 0 -name '*nvidia*' -o -xdev"
        " -type f -size 0 -name 'libcuda*'",
        "docker run --rm --network none --runtime nvidia -e NVIDIA_VISIBLE_DEVICES=1"
        f" {IMAGE}-committed /program {LOOK}",
    )
    assert started == again == host.seen(0)
    assert empty == []
    assert committed == host.seen(1)


def test_docker_shows_the_refusal(host: DropinHost) -> None:
    (said,) = run_steps(
        host, DAEMON,
        docker("run --rm", "--runtime nvidia -e NVIDIA_VISIBLE_DEVICES=9") + " 2>&1 || true",
    )  # fmt: skip
    assert "error[gpu-unavailable]" in " ".join(said)
    assert "remedy:" in " ".join(said)


@pytest.mark.skipif(
    not os.path.isdir("/sys/fs/cgroup/devices"), reason="the prestart hook needs cgroup v1"
)
def test_docker_with_gpus_finds_our_prestart_hook(host: DropinHost) -> None:
    one, every, nested, below = run_steps(
        host,
        DAEMON,
        docker("run --rm", "--gpus device=1"),
        docker("run --rm", "--gpus all"),
        docker("run --rm", "--gpus device=0 --runtime nvidia"),
        docker("run --rm", f"--gpus all -v {host.base}/outside:/run") + " 2>&1 || true",
    )
    assert one == host.seen(1)
    assert every == host.seen(0, 1)
    assert nested == host.seen(0)
    assert "error[prestart]" in " ".join(below)
    assert list((host.base / "outside").iterdir()) == []


def test_containerd_runs_a_container_through_the_runtime(host: DropinHost) -> None:
    ctr = "ctr -a /run/ctr-test/sock"
    (seen,) = run_steps(
        host,
        CONTAINERD,
        f"{ctr} run --rm --rootfs --runc-binary {host.runtime} --env NVIDIA_VISIBLE_DEVICES=0"
        f" {host.image.path} sampan-test /program {LOOK}",
    )
    assert seen == host.seen(0)
