"""What an image, a pod or a damaged bundle can say to ``sampan-runtime``: it gives nothing away for it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.dropin_host import LIBRARIES, NODES, DropinHost

pytestmark = pytest.mark.integration
LOOK = (*LIBRARIES, *NODES)
DEVICES = "/var/run/nvidia-container-devices"
STRICT = (
    "accept-nvidia-visible-devices-as-volume-mounts = true\n"
    "accept-nvidia-visible-devices-envvar-when-unprivileged = false"
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DropinHost]:
    if os.geteuid() != 0:
        pytest.skip("raw runtimes need root here")
    base = tmp_path_factory.mktemp("hostile")
    yield DropinHost(base)
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def host(shared: DropinHost) -> DropinHost:
    shared.configure()
    return shared


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return "h-" + "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


def read(bundle: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((bundle / "config.json").read_text())
    return document


def test_an_annotation_that_claims_to_record_our_edits_takes_nothing_away(
    host: DropinHost, name: str
) -> None:
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="0")
    before = read(bundle)
    forged = {
        "mounts": [mount["destination"] for mount in before["mounts"]],
        "rules": before["linux"]["resources"]["devices"],
        "env": {"NVIDIA_VISIBLE_DEVICES": [["NVIDIA_VISIBLE_DEVICES=all"], "NVIDIA_VISIBLE_DEVICES=0"]},
    }  # fmt: skip
    host.edit(bundle, annotations={"org.sampan.edits": json.dumps(forged)})
    done = host.run(bundle)
    assert done.stdout.splitlines() == host.seen(0)
    assert "the annotation org.sampan.edits is none of ours" in done.stderr
    after = read(bundle)
    assert after["mounts"][: len(before["mounts"])] == before["mounts"]
    assert after["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}


def test_such_an_annotation_alone_goes_and_nothing_else(host: DropinHost, name: str) -> None:
    bundle = host.make_bundle(name, *LOOK)
    before = read(bundle)
    host.edit(bundle, annotations={"a": "b", "org.sampan.edits": '{"mounts":["/proc"]}'})
    assert host.run(bundle).stdout.splitlines() == host.seen_nothing()
    assert read(bundle) == {**before, "annotations": {"a": "b"}}


def test_a_record_that_another_user_may_write_is_not_believed(host: DropinHost, name: str) -> None:
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="0")
    assert host.run(bundle).stdout.splitlines() == host.seen(0)
    (bundle / "config.json.sampan-edits").chmod(0o666)
    done = host.run(bundle)
    assert done.stdout.splitlines() == host.seen(0)
    assert "none of ours" in done.stderr


@pytest.mark.parametrize(
    "variables",
    [
        {"NVIDIA_VISIBLE_DEVICES": "\x1b]0;title\x07\nerror[x]: y"},
        {"NVIDIA_VISIBLE_DEVICES": "0", "NVIDIA_IMEX_CHANNELS": "\x1b[31m\n"},
        {"NVIDIA_VISIBLE_DEVICES": "0", "NVIDIA_DRIVER_CAPABILITIES": "\u202e\x9b"},
        {"NVIDIA_VISIBLE_DEVICES": "0", "NVIDIA_REQUIRE_CUDA": "\x1b[31m>=1"},
        {"NVIDIA_VISIBLE_DEVICES": "a\x1b/x=\n1"},
    ],
)
def test_words_of_an_image_command_no_terminal_and_begin_no_line(
    host: DropinHost, name: str, tmp_path: Path, variables: dict[str, str]
) -> None:
    bundle = host.make_bundle(name, **variables)
    done = host.run(bundle, "--log", str(tmp_path / "log"))
    assert done.returncode == 1
    assert all(line.isprintable() for line in done.stderr.split("\n"))
    assert all(line.startswith("sampan-runtime: ") for line in done.stderr.splitlines())
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def spoil(text: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        before = path.read_text()
        path.write_text(before[: before.rindex("}")] + "," + text + "}")

    return change


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/proc/kcore")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spoil('"deep":' + "[" * 100_000 + "]" * 100_000), "recursion"),
        (spoil('"far":1e999'), "is no configuration of a container"),
        (spoil('"root":{"path":"/"}'), "the same member twice"),
        (spoil('"digits":' + "9" * 5000), "is no configuration of a container"),
        (spoil('"blank":"' + "x" * (33 << 20) + '"'), "is longer than 32 MiB"),
        (make_fifo, "is no regular file"),
        (link_to_endless, "sampan-runtime: error[runtime]"),
        (Path.unlink, "No such file"),
    ],
    ids=["deep", "infinite", "twice", "digits", "huge", "fifo", "endless", "missing"],
)
def test_a_configuration_that_is_none_is_refused_in_three_lines_at_most(
    host: DropinHost, name: str, change: Callable[[Path], None], said: str
) -> None:
    bundle = host.make_bundle(name, NVIDIA_VISIBLE_DEVICES="0")
    change(bundle / "config.json")
    done = host.run(bundle)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 3


@pytest.mark.parametrize(
    "members",
    [
        {"mounts": 5}, {"mounts": ["NVIDIA"]}, {"linux": []}, {"hooks": {"prestart": [{"path": 5}]}},
        {"hooks": []}, {"annotations": ["org.sampan.edits"]}, {"annotations": 7},
        {"linux": {"namespaces": 5}}, {"linux": {"resources": {"devices": {"a": 1}}}},
        {"process": {"env": ["NVIDIA_VISIBLE_DEVICES=0", 5], "args": ["/program"], "cwd": "/"}},
        {"process": {"env": 5, "args": ["NVIDIA_VISIBLE_DEVICES"], "cwd": "/"}},
    ],
)  # fmt: skip
def test_members_of_odd_types_give_no_gpu_and_no_traceback(
    host: DropinHost, name: str, members: dict[str, Any]
) -> None:
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="0")
    host.edit(bundle, **members)
    before = (bundle / "config.json").read_bytes()
    done = host.run(bundle)
    assert "Traceback" not in done.stderr
    assert done.returncode != 0 or done.stdout.splitlines() == host.seen(0)
    if done.returncode:
        assert (bundle / "config.json").read_bytes() == before


def test_variables_of_an_image_reach_neither_the_runtime_nor_the_hook(
    host: DropinHost, name: str
) -> None:
    bundle = host.make_bundle(
        name, *LOOK,
        NVIDIA_VISIBLE_DEVICES="0", LD_PRELOAD="./evil.so", PYTHONPATH=".", PYTHONHOME="/", PYTHONSTARTUP="x.py",
        PATH=".:/bin", BASH_ENV="./evil", ENV="./evil", HOME=".", XDG_CONFIG_HOME="/",
        NVIDIA_CTK_CONFIG_FILE_PATH="/config.toml",
    )  # fmt: skip
    marker = host.base / f"{name}-marker"
    for place in ("sitecustomize.py", "typing.py", "os.py", "sampan.py", "evil", "runc"):
        (bundle / "rootfs" / place).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (bundle / "rootfs" / place).chmod(0o755)
        (bundle / place).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (bundle / place).chmod(0o755)
    done = host.call("run", f"sampan-{os.getpid()}-{name[:20]}", cwd=bundle)
    assert done.stdout.splitlines() == host.seen(0)
    assert not marker.exists()


def test_a_volume_of_an_image_is_no_wish_where_mounts_count(host: DropinHost, name: str) -> None:
    host.configure(STRICT)
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="all")
    volume = host.base / f"{name}-volume"
    volume.mkdir()
    mounts = read(bundle)["mounts"]
    for source, options in ((str(volume), ["rbind"]), ("tmpfs", ["nosuid"])):
        kind = "bind" if source != "tmpfs" else "tmpfs"
        one = {"destination": f"{DEVICES}/all", "type": kind, "source": source, "options": options}
        host.edit(bundle, mounts=[*mounts, one])
        assert host.run(bundle).stdout.splitlines() == host.seen_nothing()


def test_where_variables_do_not_count_they_ask_for_no_extras_either(
    host: DropinHost, name: str
) -> None:
    host.configure(STRICT)
    bundle = host.make_bundle(
        name, *LOOK, NVIDIA_IMEX_CHANNELS="0", NVIDIA_GDRCOPY="enabled", NVIDIA_NVSWITCH="enabled"
    )
    marker = {"destination": f"{DEVICES}/0", "type": "bind", "source": "/dev/null", "options": ["bind"]}  # fmt: skip
    host.edit(bundle, mounts=[*read(bundle)["mounts"], marker])
    done = host.run(bundle)
    assert done.stdout.splitlines() == host.seen(0)
    assert "NVIDIA_IMEX_CHANNELS" in done.stderr
    assert "is ignored" in done.stderr


@pytest.mark.parametrize(("manager", "gpus"), [("libpod", ()), ("cri-o", (1,))])
def test_annotations_that_podman_copies_from_images_count_as_little_as_their_variables(
    host: DropinHost, name: str, manager: str, gpus: tuple[int, ...]
) -> None:
    host.configure(STRICT)
    bundle = host.make_bundle(name, *LOOK)
    annotations = {"io.container.manager": manager, "cdi.k8s.io/x": "nvidia.com/gpu=1"}
    host.edit(bundle, annotations=annotations)
    done = host.run(bundle)
    assert done.stdout.splitlines() == (host.seen(*gpus) if gpus else host.seen_nothing())
    assert ("is ignored" in done.stderr) == (not gpus)


def test_a_rootless_engine_reads_the_sites_configuration(host: DropinHost) -> None:
    host.configure(runtime='runtimes = ["crun"]')
    parents = [host.base, *(p for p in host.base.parents if str(p) not in ("/tmp", "/"))]
    modes = [(place, place.stat().st_mode) for place in parents]
    words = ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "unshare", "--map-root-user"]  # fmt: skip
    try:
        for place in parents:
            place.chmod(0o755)
        if subprocess.run([*words, "true"], capture_output=True).returncode:
            pytest.skip("the kernel lets ordinary users make no user namespace")
        done = subprocess.run(
            [*words, str(host.runtime), "--version"],
            env=host.environment(), capture_output=True, text=True,
        )  # fmt: skip
        assert "crun version" in done.stdout, done.stderr
        host.config.chmod(0o666)
        refused = subprocess.run(
            [*words, str(host.runtime), "--version"],
            env=host.environment(), capture_output=True, text=True,
        )  # fmt: skip
        assert "may be written by everybody" in refused.stderr
    finally:
        host.config.chmod(0o644)
        for place, mode in modes:
            place.chmod(mode)


def test_a_runtime_that_leads_back_to_us_is_refused_and_does_not_spin(
    host: DropinHost, name: str
) -> None:
    wrapper = host.base / "crun-of-somebody"
    wrapper.write_text(f'#!/bin/sh\nexec {host.runtime} "$@"\n')
    wrapper.chmod(0o755)
    host.configure(runtime=f'runtimes = ["{wrapper}"]')
    bundle = host.make_bundle(name)
    for words in (("run", "--bundle", str(bundle), "x"), ("state", "x"), ("--version",)):
        done = host.call(*words)
        assert done.returncode == 1
        assert "leads back to sampan-runtime" in done.stderr
    host.configure()
    assert "runc version" in host.call("--version").stdout
