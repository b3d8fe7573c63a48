"""This machine's podman, with and without root, before ``sampan-runtime``: a wish, and an image with orders."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest

from support.dropin_host import LIBRARIES, NODES, ONE_HIERARCHY
from support.engine_host import engine_host
from support.foreign_engines import IMAGE, ForeignEngines

pytestmark = pytest.mark.integration
LOOK = ("/program", *LIBRARIES, *NODES)
VISIBLE = "NVIDIA_VISIBLE_DEVICES"
# podman hands its runtime no variable of ours, and believes a name when it is about cgroups.
RUNTIME = """
export NVIDIA_CTK_CONFIG_FILE_PATH={config}
exec {runtime} "$@"
"""
PODMAN = """
verb=$1
shift
case $verb in run | create) set -- --cgroups=disabled --network none {limits} "$@" ;; esac
exec {podman} --cgroup-manager=cgroupfs --storage-driver=vfs --runtime {programs}/crun {places} "$verb" "$@"
"""
TOP = "accept-nvidia-visible-devices-as-volume-mounts = true\n"
CRUN = '[nvidia-container-runtime]\nruntimes = ["/usr/bin/crun"]\n'
STRICT = "accept-nvidia-visible-devices-envvar-when-unprivileged = false\n"

Go = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module", params=["root", "ranged"])
def podman(request: pytest.FixtureRequest) -> Iterator[tuple[ForeignEngines, Go]]:
    user: str = request.param
    program = shutil.which("podman", path="/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("podman is not installed")
    if os.geteuid() != 0:
        pytest.skip("the nodes of the host need root")
    with engine_host() as host:
        base = host.base / "foreign"
        base.mkdir()
        host.base.chmod(0o755)
        engines = ForeignEngines(base)
        runtime = engines.install_runtime()
        configure(engines)
        config = base / "config.toml"
        engines.add_program("crun", RUNTIME.format(config=config, runtime=runtime))
        places = f"--root {base}/graph --runroot {base}/run" if user == "root" else ""
        limits = "--ulimit nofile=1024:1024 --ulimit nproc=1024:1024" if user == "root" else ""
        engines.add_program(
            "podman",
            PODMAN.format(podman=program, programs=engines.programs, places=places, limits=limits),
        )
        environment = {
            **host.environment(user),
            "PATH": engines.environment()["PATH"],
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
            "XDG_RUNTIME_DIR": str(host.runtime(user)),
            "TMPDIR": str(host.home(user)),
        }

        def go(
            *words: str, program: str = f"{engines.programs}/podman"
        ) -> "subprocess.CompletedProcess[str]":
            private = ["unshare", "--mount", "sh", "-c", ONE_HIERARCHY, "sh"]
            return subprocess.run(
                [*private, *host.command(user=user, program=(program, *words))],
                env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=120,
            )  # fmt: skip

        done = go("import", str(base / "small.tar"), IMAGE)
        assert done.returncode == 0, done.stderr
        yield engines, go
        if user != "root":
            # Files of subordinate ids go with podman's own tool.
            go("unshare", "rm", "-rf", str(host.home(user) / ".local"), program=program)


def configure(engines: ForeignEngines, top: str = "") -> None:
    config = engines.base / "config.toml"
    _, cut, rest = config.read_text().partition("[nvidia-container-cli]")
    rest = rest.replace(CRUN, "")
    config.write_text(f"{TOP}{top}{cut}{rest}{CRUN}")


def test_the_variable_gives_exactly_the_gpu_that_it_names(
    podman: tuple[ForeignEngines, Go],
) -> None:
    engines, go = podman
    configure(engines)
    done = go("run", "--rm", "--read-only", "-e", f"{VISIBLE}=1", IMAGE, *LOOK)
    assert done.stdout.splitlines() == seen(1), done.stderr


def test_annotations_of_an_image_take_nothing_away_and_count_as_its_variables_do(
    podman: tuple[ForeignEngines, Go],
) -> None:
    engines, go = podman
    configure(engines, STRICT)
    context = engines.base / "context"
    context.mkdir(mode=0o755, exist_ok=True)
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nLABEL a=b\nENV {VISIBLE}=all\n")
    forged = '{"mounts":["/proc","/sys"],"rules":[{"allow":false,"access":"rwm"}]}'
    annotations = ("org.sampan.edits=" + forged, "cdi.k8s.io/x=nvidia.com/gpu=all")
    words = [word for one in annotations for word in ("--annotation", one)]
    built = go("build", "--quiet", "--isolation", "chroot", *words, "--tag", "evil", str(context))
    assert built.returncode == 0, built.stderr
    look = f"/bin/busybox ls -d /proc/self /sys/class && {' '.join(LOOK)}"
    done = go("run", "--rm", "evil", "/bin/busybox", "sh", "-c", look)
    assert done.stdout.splitlines() == ["/proc/self", "/sys/class", *seen_nothing()], done.stderr


def seen(*gpus: int) -> list[str]:
    lines = [*(f"{name} {number}" for name, number in LIBRARIES.items()), "/dev/nvidiactl 195:255"]
    return lines + [f"/dev/nvidia{n} {f'195:{n}' if n in gpus else 'absent'}" for n in (0, 1)]


def seen_nothing() -> list[str]:
    return [f"{name} -1" for name in LIBRARIES] + [f"{node} absent" for node in NODES]
