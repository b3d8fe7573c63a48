"""`sampan run --engine podman`: podman 5 of Debian sid, and this machine's own podman."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.dropin.stub import install_hook
from support.engine_host import engine_host
from support.foreign_engines import IMAGE, LOOK, ForeignEngines, foreign_engines, output, seen

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def engines() -> Iterator[ForeignEngines]:
    with foreign_engines() as made:
        yield made


@pytest.fixture(scope="module")
def hook(engines: ForeignEngines) -> str:
    """A hook for the Python of the chroot."""
    installed = Path(install_hook(str(engines.base / "hook")))
    lines = installed.read_text().splitlines(keepends=True)
    lines[0] = "#!/usr/bin/python3 -BIS\n"
    installed.write_text("".join(lines))
    return str(installed)


@pytest.fixture
def document(engines: ForeignEngines) -> Iterator[str]:
    """The directory of the host's document, where podman looks for it."""
    engines.cdi.write()
    yield str(engines.cdi.directory)
    (engines.cdi.directory / "nvidia.yaml").unlink(missing_ok=True)


@pytest.mark.parametrize(("wish", "gpus"), [("all", (0, 1)), ("device=1", (1,))])
def test_plain_flags_give_the_gpus_asked_for(
    engines: ForeignEngines, wish: str, gpus: tuple[int, ...]
) -> None:
    nowhere = str(engines.base / "nowhere")
    done = engines.run("podman", "--rm", "--verbose", "--gpus", wish, IMAGE, "/program", *LOOK, documents=nowhere)  # fmt: skip
    assert output(done) == seen(*gpus)
    assert "GPUs get in by plain flags" in done.stderr


@pytest.mark.parametrize(("wish", "gpus"), [("all", (0, 1)), ("device=1", (1,))])
def test_a_document_where_podman_looks_is_used(
    engines: ForeignEngines, document: str, wish: str, gpus: tuple[int, ...]
) -> None:
    done = engines.run("podman", "--rm", "--verbose", "--gpus", wish, IMAGE, "/program", *LOOK, documents=document)  # fmt: skip
    assert output(done) == seen(*gpus)
    assert "GPUs get in by CDI: nvidia.com/gpu=GPU-" in done.stderr


def test_with_the_hook_podman_gets_a_document_for_the_run_in_no_systems_directory(
    engines: ForeignEngines, hook: str
) -> None:
    nowhere = str(engines.base / "nowhere")

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return engines.run("podman", "--verbose", *words, documents=nowhere, hook=hook)

    one = run("--rm", "--gpus", "device=1", IMAGE, "/program", *LOOK, "/etc/ld.so.cache")
    assert output(one)[:-1] == seen(1)
    assert output(one)[-1] != "/etc/ld.so.cache absent"
    assert "GPUs get in by CDI: sampan.run/gpu=all of " in one.stderr
    none = run("--rm", "-e", "NVIDIA_VISIBLE_DEVICES=none", IMAGE, "/program", *LOOK)
    assert output(none) == seen()
    utility = run("--rm", "--gpus", "all", "-e", "NVIDIA_DRIVER_CAPABILITIES=utility", IMAGE, "/program", "libcuda.so.1", "/dev/nvidia0")  # fmt: skip
    assert output(utility) == ["libcuda.so.1 -1", "/dev/nvidia0 195:0"]
    kept = run("--gpus", "all", IMAGE, "/program", "/dev/nvidia1")
    assert "not by CDI by a document for this run: --rm is not given" in kept.stderr
    assert output(kept) == ["/dev/nvidia1 195:1"]


def test_nothing_is_given_when_nothing_is_asked(engines: ForeignEngines, document: str) -> None:
    out = output(engines.run("podman", "--rm", IMAGE, "/program", *LOOK, documents=document))
    assert out == [*(f"{name} -1" for name in LOOK[:3]), *(f"{name} absent" for name in LOOK[3:])]


def test_exit_code_input_and_options_are_podmans(engines: ForeignEngines) -> None:
    change = "ENV GONE=still here"
    engines.engine("podman", "import", "--change", change, str(engines.base / "small.tar"), f"{IMAGE}-with")  # fmt: skip
    done = engines.run("podman", "--rm", "-i", "-e", "GONE", "--shm-size", "8m", "-w", "/dev", "--tmpfs", "/scratch:size=1m",
        "--security-opt", "systempaths=unconfined", "-v", f"{engines.base}/small:/seen:ro", f"{IMAGE}-with",
        "/bin/sh", "-c", "cat; pwd; echo [$GONE]; ls /seen/program; exit 42", stdin="words\n")  # fmt: skip
    assert (done.returncode, done.stdout.split()) == (42, ["words", "/dev", "[]", "/seen/program"]), done.stderr  # fmt: skip
    assert engines.run("podman", "--rm", IMAGE, "/no/such").returncode == 127


def test_a_cdi_device_of_any_vendor_goes_with_the_gpus(engines: ForeignEngines, hook: str) -> None:
    other = engines.base / "other"
    other.mkdir()
    (other / "other.json").write_text(
        '{"cdiVersion": "0.5.0", "kind": "vendor.com/thing", "devices": [{"name": "a",'
        ' "containerEdits": {"env": ["THING=yes"]}}]}'
    )
    done = engines.run("podman", "--rm", "--gpus", "device=1", "--device", "vendor.com/thing=a",
        "--cdi-spec-dir", str(other), IMAGE, "/program", "$THING", *LOOK,
        documents=str(engines.base / "nowhere"), hook=hook)  # fmt: skip
    assert output(done) == ["$THING yes", *seen(1)]


PRIVATE = """
mount --make-rprivate /
if mountpoint -q /sys/fs/cgroup/unified; then umount -l /sys/fs/cgroup/unified; fi
exec "$@"
"""
WRAPPER = """
verb=$1
shift
if [ "$verb" = run ]; then set -- --cgroups=disabled {limits} "$@"; fi
exec {podman} --cgroup-manager=cgroupfs --storage-driver=vfs {places} "$verb" "$@"
"""


@pytest.mark.parametrize("user", ["root", "ranged"])
def test_this_machines_podman_takes_plain_flags_with_and_without_root(user: str) -> None:
    podman = shutil.which("podman", path="/usr/bin:/usr/local/bin")
    if podman is None:
        pytest.skip("podman is not installed")
    if os.geteuid() != 0:
        pytest.skip("the nodes of the host need root")
    with engine_host() as host:
        base = host.base / "foreign"
        base.mkdir()
        host.base.chmod(0o755)
        engines = ForeignEngines(base)
        # The machine's own limits and cgroups are none of our program's business.
        places = f"--root {base}/graph --runroot {base}/run" if user == "root" else ""
        limits = "--ulimit nofile=1024:1024 --ulimit nproc=1024:1024" if user == "root" else ""
        text = WRAPPER.format(podman=podman, places=places, limits=limits)
        engines.add_program("podman", text)
        environment = {
            **host.environment(user),
            "PATH": engines.environment()["PATH"],
            "PYTHONWARNINGS": "ignore",
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
            "XDG_RUNTIME_DIR": str(host.runtime(user)),
            "TMPDIR": str(host.home(user)),
        }

        def go(*line: str) -> "subprocess.CompletedProcess[str]":
            private = ["unshare", "--mount", "sh", "-c", PRIVATE, "sh"]
            return subprocess.run(
                [*private, *host.command(user=user, program=line)],
                env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
            )  # fmt: skip

        output(go(f"{engines.programs}/podman", "import", str(base / "small.tar"), IMAGE))
        words = ("run", "--engine", "podman", "--network", "none", "--rm", "--verbose", "--gpus", "device=1")  # fmt: skip
        done = go(*engines.sampan(*words, IMAGE, "/program", *LOOK, documents="/nowhere"))
        assert output(done) == seen(1)
        assert "GPUs get in by plain flags" in done.stderr
        # Files of subordinate ids go with podman's own tool.
        go(podman, "unshare", "rm", "-rf", str(host.home(user) / ".local"))
