"""`sampan run --engine docker` and `sampan docker` with the docker of Debian sid: which GPUs, and how."""

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.engines.leases import list_holders
from sampan.injection.cdi_jobs import HookChoice
from support.cdi_host import CUDA
from support.described_host import make_described_host
from support.foreign_engines import IMAGE, LOOK, ForeignEngines, foreign_engines, output, seen

pytestmark = pytest.mark.integration
NODES = "find /dev -name 'nvidia*' -type c | sort"


@pytest.fixture(scope="module")
def engines() -> Iterator[ForeignEngines]:
    with foreign_engines("--cdi-spec-dir {base}/cdi") as made:
        yield made


@pytest.fixture
def document(engines: ForeignEngines) -> Iterator[Path]:
    """The document of the host, where the daemon looks for it."""
    engines.cdi.write()
    path = engines.cdi.directory / "nvidia.yaml"
    yield path
    path.unlink(missing_ok=True)


@pytest.mark.parametrize(("wish", "gpus"), [("all", (0, 1)), ("device=1", (1,)), ("1", (0,))])
def test_plain_flags_give_the_gpus_asked_for_with_no_configuration_at_all(
    engines: ForeignEngines, wish: str, gpus: tuple[int, ...]
) -> None:
    done = engines.run("docker", "--rm", "--verbose", "--gpus", wish, IMAGE, "/program", *LOOK)
    assert output(done) == seen(*gpus)
    assert "GPUs get in by plain flags" in done.stderr
    assert "not by CDI: no document in" in done.stderr
    assert "not by runtime: docker has none" in done.stderr


@pytest.mark.parametrize(("wish", "gpus"), [("all", (0, 1)), ("device=1", (1,)), ("1", (0,))])
def test_a_document_where_the_daemon_looks_is_used_before_plain_flags(
    engines: ForeignEngines, document: Path, wish: str, gpus: tuple[int, ...]
) -> None:
    done = engines.run("docker", "--rm", "--verbose", "--gpus", wish, IMAGE, "/program", *LOOK)
    assert output(done) == seen(*gpus)
    assert f"GPUs get in by CDI: nvidia.com/gpu=GPU-{'0' * 7}" in done.stderr
    assert "--mount" not in done.stderr


def test_the_group_of_the_nodes_is_given_where_docker_forgets_it(
    engines: ForeignEngines, document: Path
) -> None:
    for wanted in (True, False):
        out = output(engines.run("docker", "--rm", "--gpus", "all,capabilities=graphics", IMAGE, "/bin/busybox", "id", "-G"))  # fmt: skip
        assert "44" in out[0].split(), "CDI" if wanted else "plain flags"
        document.unlink(missing_ok=True)


def test_names_of_devices_are_taken_from_the_option_and_from_the_variable(
    engines: ForeignEngines, document: Path
) -> None:
    for words in (
        ("--device", "nvidia.com/gpu=1"),
        ("-e", "NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=1"),
    ):
        assert output(engines.run("docker", "--rm", *words, IMAGE, "/program", *LOOK)) == seen(1)
    document.unlink()
    unwritten = engines.run(
        "docker", "--rm", "--device", "nvidia.com/gpu=1", IMAGE, "/program", *LOOK
    )
    assert output(unwritten) == seen(1)


@pytest.mark.parametrize("spoil", ["missing", "hook", "wrong-gpu", "broken"])
def test_a_document_that_would_fail_or_lie_is_passed_over(
    engines: ForeignEngines, document: Path, spoil: str
) -> None:
    text = document.read_text()
    if spoil == "missing":
        text = text.replace(f"libcuda.so.{engines.cdi.version}", "libcuda.so.1.2.3")
    elif spoil == "hook":
        engines.cdi.write(HookChoice("/opt/absent/sampan-hook"))
        text = document.read_text()
    elif spoil == "wrong-gpu":
        text = text.replace("/dev/nvidia1", "/dev/nvidia0")
    else:
        text += "\n- what is this\n"
    document.write_text(text)
    done = engines.run("docker", "--rm", "--verbose", "--gpus", "device=1", IMAGE, "/program", *LOOK)  # fmt: skip
    assert output(done) == seen(1)
    assert "GPUs get in by plain flags" in done.stderr


def test_our_runtime_gets_the_variables_where_the_daemon_has_it(
    engines: ForeignEngines, document: Path
) -> None:
    engines.reload_runtimes({"gpu-runtime": engines.install_runtime()})
    try:
        done = engines.run("docker", "--rm", "--verbose", "--gpus", "device=1", IMAGE, "/program", *LOOK,
            "$NVIDIA_DRIVER_CAPABILITIES")  # fmt: skip
        none = engines.run("docker", "--rm", "-e", "NVIDIA_VISIBLE_DEVICES=none", IMAGE, "/program", *LOOK)  # fmt: skip
        old = subprocess.run(
            engines.sampan("docker", "run", "--rm", "--network=none", IMAGE, "/program", *LOOK),
            env=engines.environment(NV_GPU="0"), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
    finally:
        engines.reload_runtimes({})
    assert output(done) == [*seen(1), "$NVIDIA_DRIVER_CAPABILITIES compute,utility"]
    assert "GPUs get in by runtime: docker has the runtime gpu-runtime" in done.stderr
    assert output(none) == seen()
    assert output(old) == seen(0)


def test_nothing_is_given_when_nothing_is_asked(engines: ForeignEngines, document: Path) -> None:
    for words in ((), ("-e", "NVIDIA_VISIBLE_DEVICES=void"), ("--gpus", "0")):
        out = output(engines.run("docker", "--rm", *words, IMAGE, "/program", *LOOK))
        assert out == [*(f"{name} -1" for name in LOOK[:3]), *(f"{name} absent" for name in LOOK[3:])]  # fmt: skip


def test_none_gives_the_driver_without_a_gpu(engines: ForeignEngines, document: Path) -> None:
    done = engines.run("docker", "--rm", "-e", "NVIDIA_VISIBLE_DEVICES=none", IMAGE, "/program", *LOOK)  # fmt: skip
    assert output(done) == seen()


def test_only_the_capabilities_asked_for_are_mounted(engines: ForeignEngines) -> None:
    done = engines.run("docker", "--rm", "--gpus", "all", "-e", "NVIDIA_DRIVER_CAPABILITIES=utility",
        IMAGE, "/program", "libcuda.so.1", "/dev/nvidia0", "$NVIDIA_DRIVER_CAPABILITIES")  # fmt: skip
    assert output(done) == ["libcuda.so.1 -1", "/dev/nvidia0 195:0", "$NVIDIA_DRIVER_CAPABILITIES utility"]  # fmt: skip


def test_what_cannot_be_had_is_refused_before_a_container_exists(engines: ForeignEngines) -> None:
    wanting = f"{IMAGE}-wanting"
    change = "ENV NVIDIA_REQUIRE_CUDA=cuda>=99.0"
    engines.engine("docker", "import", "--change", change, str(engines.base / "small.tar"), wanting)
    before = engines.engine("docker", "ps", "-aq").stdout
    unknown = engines.run("docker", "--gpus", "device=7", IMAGE, "/program")
    unmet = engines.run("docker", "--gpus", "all", wanting, "/program")
    assert (unknown.returncode, unmet.returncode) == (125, 125)
    assert "7" in unknown.stderr
    assert "cuda>=99.0" in unmet.stderr
    missing = engines.run("docker", "--gpus", "all", "--pull", "never", "localhost/absent", "true")
    assert "error[engine-unavailable]: docker has no image localhost/absent" in missing.stderr
    assert engines.engine("docker", "ps", "-aq").stdout == before


def test_a_mig_device_comes_with_its_own_nodes_alone(engines: ForeignEngines) -> None:
    host = make_described_host(engines.base / "mig", "mig", real_nodes=True)
    name = engines.add_host("mig-inventory", host.take(nvml=True))
    done = engines.run("docker", "--rm", "--gpus", "device=0:1", IMAGE, "/bin/sh", "-c", NODES, host=name)  # fmt: skip
    # GPU instance 5 of GPU 0 and its first compute instance.
    assert output(done) == [
        "/dev/nvidia-caps/nvidia-cap48", "/dev/nvidia-caps/nvidia-cap49", "/dev/nvidia-uvm",
        "/dev/nvidia-uvm-tools", "/dev/nvidia0", "/dev/nvidiactl",
    ]  # fmt: skip


def test_options_mean_what_they_mean_with_our_own_engine(engines: ForeignEngines) -> None:
    (engines.base / "given").mkdir()
    (engines.base / "given/a,b").write_text("here")
    (engines.base / "variables").write_text("FROM_FILE=two words\n")
    out = output(engines.run(
        "docker", "--rm", "--gpus", "all", "-e", "A=b=c", "-e", "OURS", "--env-file", str(engines.base / "variables"),
        "-v", f"{engines.base}/given/a,b:/seen:ro", "--tmpfs", "/scratch:size=1m", "-w", "/dev",
        "-u", "12:34", "--hostname", "elsewhere", "--shm-size", "8m", "--entrypoint", "/bin/sh",
        "--label", "x=y", "--ulimit", "nofile=99:100", "--cap-drop", "all", IMAGE, "-c",
        "echo $A $OURS $FROM_FILE; cat /seen; pwd; id -u; id -g; hostname; ulimit -n; df -k /dev/shm /scratch | awk 'NR>1{print $2}';"
        " touch /seen 2>/dev/null || echo read-only; grep CapEff /proc/self/status",
        OURS="passed on",
    ))  # fmt: skip
    assert out == ["b=c passed on two words", "here/dev", "12", "34", "elsewhere", "99", "8192", "1024",
        "read-only", "CapEff:\t0000000000000000"]  # fmt: skip


def test_what_docker_cannot_do_is_refused_by_its_name(engines: ForeignEngines) -> None:
    directory = engines.run("docker", "--cdi-spec-dir", "/x", "--gpus", "all", IMAGE, "true")
    mount = engines.run("docker", "-v", "/tmp:/x:noexec", IMAGE, "true")
    engine = engines.run("docker", IMAGE, "true", PATH="/nowhere")
    assert "error[engine-option]: docker cannot be told --cdi-spec-dir" in directory.stderr
    assert "error[engine-option]: docker is not told to mount with noexec" in mount.stderr
    assert {done.returncode for done in (directory, mount, engine)} == {125}
    done = subprocess.run(
        engines.sampan("run", IMAGE, "true"),
        env=engines.environment(SAMPAN_ENGINE="rocket"), capture_output=True, text=True,
    )  # fmt: skip
    assert "there is no engine 'rocket'" in done.stderr


def test_a_daemon_elsewhere_gets_no_files_of_this_host(engines: ForeignEngines) -> None:
    done = engines.run("docker", "--gpus", "all", IMAGE, "true", DOCKER_HOST="tcp://gpu1:2375")
    assert done.returncode == 125
    assert "error[engine-unavailable]: this host's driver cannot be mounted" in done.stderr
    assert "tcp://gpu1:2375" in done.stderr


def test_exit_code_and_standard_input_are_the_containers(engines: ForeignEngines) -> None:
    done = engines.run("docker", "--rm", "-i", "--gpus", "all", IMAGE, "/bin/sh", "-c", "cat; exit 42", stdin="words")  # fmt: skip
    assert (done.returncode, done.stdout) == (42, "words")
    assert engines.run("docker", "--rm", "--gpus", "all", IMAGE, "/no/such").returncode == 127


def test_a_signal_reaches_the_program_and_idle_gpus_are_leased_meanwhile(
    engines: ForeignEngines,
) -> None:
    words = ("run", "--engine", "docker", "--network", "none", "--rm", "--gpus", "idle:1", IMAGE,
        "/bin/sh", "-c", "trap 'echo asked; exit 9' TERM; echo up; while :; do sleep 0.1; done")  # fmt: skip
    uuids = {gpu.uuid for gpu in engines.inventory.gpus}
    with subprocess.Popen(
        engines.sampan(*words), env=engines.environment(), stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        held = [holder for holder in list_holders() if holder.gpu in uuids]
        assert [(one.pid, one.container_id) for one in held] == [(running.pid, "docker")]
        running.send_signal(signal.SIGTERM)
        assert running.stdout.read() == "asked\n"
        assert running.wait(30) == 9
    assert not [holder for holder in list_holders() if holder.gpu in uuids]


def test_a_terminal_is_the_containers_own(engines: ForeignEngines) -> None:
    words = ("run", "--engine", "docker", "--network", "none", "--rm", "-it", "--gpus", "all", IMAGE,
        "/bin/sh", "-c", "test -t 0 && echo terminal; read line; echo got $line")  # fmt: skip
    line = engines.sampan(*words)
    pid, master = pty.fork()
    if pid == 0:
        os.execvpe(line[0], line, engines.environment())
    shown = b""
    while b"terminal" not in shown:
        shown += os.read(master, 4096)
    os.write(master, b"typed\n")
    while b"got typed" not in shown:
        shown += os.read(master, 4096)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(master)


def test_a_detached_container_starts_again_with_its_gpus(engines: ForeignEngines) -> None:
    done = engines.run("docker", "-d", "--name", "sampan-again", "--gpus", "device=1", IMAGE, "/program", *LOOK)  # fmt: skip
    assert len(output(done)[0]) == 64
    try:
        engines.engine("docker", "wait", "sampan-again")
        assert engines.engine("docker", "logs", "sampan-again").stdout.splitlines() == seen(1)
        again = engines.engine("docker", "start", "-a", "sampan-again")
        assert again.stdout.splitlines() == seen(1)
    finally:
        engines.engine("docker", "rm", "-f", "sampan-again")


def test_a_committed_image_keeps_empty_files_where_the_driver_was_and_works_again(
    engines: ForeignEngines,
) -> None:
    run = ("--gpus", "all", "--name", "sampan-committed", IMAGE, "/program", "libcuda.so.1")
    committed = f"{IMAGE}-committed"
    try:
        assert output(engines.run("docker", *run)) == [f"libcuda.so.1 {CUDA}"]
        engines.engine("docker", "commit", "sampan-committed", committed)
    finally:
        engines.engine("docker", "rm", "-f", "sampan-committed")
    path = "/usr/lib64/libcuda.so.1"
    assert output(engines.run("docker", "--rm", committed, "/program", path)) == [f"{path} 0"]
    again = engines.run("docker", "--rm", "--gpus", "device=1", committed, "/program", *LOOK)
    assert output(again) == seen(1)


def test_docker_20_10_needs_nothing_but_plain_flags() -> None:
    with foreign_engines(suite="bookworm") as old:
        done = old.run(
            "docker", "--rm", "--verbose", "--gpus", "device=1", IMAGE, "/program", *LOOK
        )
        assert output(done) == seen(1)
        assert "not by CDI: docker 20.10" in done.stderr
        none = old.run("docker", "--rm", IMAGE, "/program", *LOOK)
        assert output(none)[3:] == [f"{name} absent" for name in LOOK[3:]]
        named = old.run("docker", "--rm", "--device", "vendor.com/thing=a", IMAGE, "/program")
        assert "error[engine-option]: docker 20.10" in named.stderr


def test_nvidia_docker_gives_what_the_images_variables_ask_for(engines: ForeignEngines) -> None:
    asking = f"{IMAGE}-asking"
    change = "ENV NVIDIA_VISIBLE_DEVICES=1"
    engines.engine("docker", "import", "--change", change, str(engines.base / "small.tar"), asking)

    def nvidia_docker(*words: str, **variables: str) -> list[str]:
        done = subprocess.run(
            engines.sampan("docker", *words),
            env=engines.environment(**variables), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        return output(done)

    run = ("run", "--rm", "--network=none")
    assert nvidia_docker(*run, asking, "/program", *LOOK) == seen(1)
    assert nvidia_docker(*run, asking, "/program", *LOOK, NV_GPU="0 1") == seen(0, 1)
    named = ("-e", "NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=0")
    assert nvidia_docker(*run, *named, IMAGE, "/program", *LOOK) == seen(0)
    assert nvidia_docker(*run, "--gpus", "device=0", IMAGE, "/program", *LOOK) == seen(0)
    plain = nvidia_docker(*run, IMAGE, "/program", *LOOK)
    assert plain[0] == "libcuda.so.1 -1"
    assert plain[3:] == ["/dev/nvidia0 absent", "/dev/nvidia1 absent", "/dev/nvidiactl absent"]
    assert nvidia_docker("ps", "-q", "--filter", "name=nobody") == []
    assert nvidia_docker("version")[0].startswith("Sampan: ")
    exact = subprocess.run(
        engines.sampan("docker", *run, asking, "/bin/sh", "-c", "exit 7"), env=engines.environment()
    )
    assert exact.returncode == 7
