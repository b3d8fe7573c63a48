"""What ``sampan pull`` asks the registry, and what it says: policies, rehearsals, lines and events."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.engines.host_fit import HostFit
from sampan.engines.pull import PullOptions, open_pull
from sampan.images.store_layout import StoreLayout
from support.driver_host import make_h200_host
from support.layouts import LayoutMaker, make_tar, named, on_platform
from support.pull_host import Drip, events_of, pull_environment, start_pull
from support.registries import IMPATIENT, Front, front, layout_backend, make_certificate

pytestmark = pytest.mark.integration

SMALL = make_tar({"etc": None, "etc/name": b"small"})
MORE = make_tar({"etc/more": os.urandom(100_000)})
CONFIG = {
    "Env": ["CUDA_VERSION=12.4.1", "NVIDIA_REQUIRE_CUDA=cuda>=99.0"],
    "Labels": {
        "org.opencontainers.image.ref.name": "ubuntu",
        "org.opencontainers.image.version": "22.04",
    },
}
Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def layout(tmp_path: Path) -> LayoutMaker:
    maker = LayoutMaker(tmp_path / "layout")
    maker.write_index([
        named(maker.add_image([SMALL]), "v1"),
        named(maker.add_image([SMALL, MORE], config=CONFIG), "cuda"),
    ])  # fmt: skip
    return maker


@pytest.fixture
def registry(layout: LayoutMaker) -> Iterator[Front]:
    with front(layout_backend(layout.root)) as served:
        yield served


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    return StoreLayout(str(tmp_path / "store"))


@pytest.fixture
def shell(store: StoreLayout, tmp_path: Path) -> Shell:
    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "sampan", *words],
            env=pull_environment(store, tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def asked(registry: Front) -> list[str]:
    """What was asked for images since the last time, e.g. ``HEAD manifests``."""
    said = [
        f"{method} {path.split('/')[-2]}"
        for method, (_, path, _) in zip(registry.methods, registry.seen, strict=True)
        if path != "/v2/"
    ]
    registry.seen.clear()
    registry.methods.clear()
    return said


@pytest.mark.parametrize("policy", ["always", "newer"])
def test_an_unchanged_image_costs_one_head_and_a_changed_one_is_fetched(
    shell: Shell, registry: Front, layout: LayoutMaker, policy: str
) -> None:
    name = f"{registry.host}/a:v1"
    first = shell("pull", "--policy", policy, name)
    assert asked(registry) == ["GET manifests", "GET blobs", "GET blobs"]
    again = shell("pull", "--policy", policy, name)
    assert asked(registry) == ["HEAD manifests"]
    assert again.stdout == first.stdout
    assert again.stderr.endswith("v1: up to date\n")
    layout.write_index([named(layout.add_image([SMALL, MORE]), "v1")])
    changed = shell("pull", "--policy", policy, name)
    assert changed.stdout != first.stdout
    assert "1 of 2 layers to fetch" in changed.stderr
    assert asked(registry) == ["HEAD manifests", "GET manifests", "GET blobs", "GET blobs"]


def test_a_registry_that_says_no_digest_is_asked_for_the_manifest(
    shell: Shell, registry: Front
) -> None:
    name = f"{registry.host}/a:v1"
    shell("pull", name)
    asked(registry)

    def intercept(handler: object) -> bool:
        if handler.command == "HEAD":  # type: ignore[attr-defined]
            handler.answer(405)  # type: ignore[attr-defined]
            return True
        return False

    registry.intercept = intercept
    assert "up to date" in shell("pull", name).stderr
    assert asked(registry) == ["HEAD manifests", "GET manifests", "GET blobs"]


def test_newer_makes_do_with_what_is_here_when_the_registry_is_away(
    shell: Shell, registry: Front, tmp_path: Path, layout: LayoutMaker
) -> None:
    name = f"{registry.host}/a:v1"
    first = shell("pull", name)
    registry.intercept = lambda handler: handler.hang_up() is None
    here = shell("pull", "--policy", "newer", name)
    assert (here.returncode, here.stdout) == (0, first.stdout)
    assert "the image that is here will do" in here.stderr
    away = shell("pull", "--policy", "always", name)
    assert (away.returncode, away.stdout) == (125, "")
    missing = shell("pull", "--policy", "newer", f"{registry.host}/a:other")
    assert missing.returncode == 125


@pytest.mark.parametrize("policy", ["always", "newer", "missing", "never"])
def test_a_pinned_image_that_is_here_needs_no_request(
    shell: Shell, registry: Front, layout: LayoutMaker, policy: str
) -> None:
    digest = json.loads((layout.root / "index.json").read_bytes())["manifests"][0]["digest"]
    shell("pull", f"{registry.host}/a@{digest}")
    asked(registry)
    done = shell("pull", "--policy", policy, f"{registry.host}/a@{digest}")
    assert done.returncode == 0
    assert asked(registry) == []


def test_an_image_of_another_platform_is_not_the_one_that_is_here(
    shell: Shell, registry: Front, layout: LayoutMaker
) -> None:
    images = [
        on_platform(layout.add_image([SMALL], architecture=name), name)
        for name in ("amd64", "arm64")
    ]
    layout.write_index([named(layout.add_list(images), "both")])
    name = f"{registry.host}/a:both"
    amd = shell("pull", "-q", "--platform", "linux/amd64", name).stdout
    arm = shell("pull", "-q", "--platform", "linux/arm64", name).stdout
    assert amd != arm
    asked(registry)
    assert shell("pull", "-q", "--platform", "linux/arm64", name).stdout == arm
    assert asked(registry) == ["HEAD manifests"]


def test_a_rehearsal_says_all_that_is_known(shell: Shell, registry: Front) -> None:
    shell("pull", f"{registry.host}/a:v1")
    done = shell("pull", "--dry-run", f"{registry.host}/a:cuda")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "1 of 2 layers to fetch" in lines[0]
    facts = dict(line.split(None, 1) for line in lines[1:])
    assert facts["CUDA:"] == "12.4.1"
    assert facts["base:"] == "ubuntu 22.04 (glibc)"
    assert "CUDA 99.0 or newer" in facts["needs:"]
    assert "inodes" in facts["free:"]
    assert f"here, shared with {registry.host}/a:v1" in done.stdout
    assert lines[-1].endswith("to fetch")


def test_a_rehearsal_for_programs_is_one_document(shell: Shell, registry: Front) -> None:
    shell("pull", f"{registry.host}/a:v1")
    document = json.loads(shell("pull", "--dry-run", "--json", f"{registry.host}/a:cuda").stdout)
    assert [layer["found_by"] for layer in document["layers"]] == ["digest", ""]
    assert document["layers"][0]["shared_with"] == [f"{registry.host}/a:v1"]
    assert document["fetch_bytes"] == document["layers"][1]["size"]
    assert document["platform"] == "linux/amd64"
    assert (document["cuda"], document["base"]["libc"]) == ("12.4.1", "glibc")
    assert document["room"]["free_bytes"] > document["needed_bytes"] > 0


def test_a_driver_that_is_too_old_is_a_warning_for_whom_no_gpu_was_asked(
    registry: Front, store: StoreLayout, tmp_path: Path
) -> None:
    """With --gpus it is a refusal: test_pull_docker_registry has it."""
    options = PullOptions(settings=IMPATIENT, find_inventory=make_h200_host(tmp_path / "host").take)
    with open_pull(
        f"{registry.host}/a:cuda", store=store, environment={"HOME": "/"}, options=options
    ) as plan:
        assert plan.host.fits is False
        assert "cuda>=99.0" in plan.host.why_not
        assert any("does not meet what the image demands" in text for text in plan.warnings)
    with open_pull(
        f"{registry.host}/a:v1", store=store, environment={"HOME": "/"}, options=options
    ) as plan:
        # Without demands the host is not looked at.
        assert plan.host == HostFit("", "", None)
        assert plan.warnings == ()


def test_an_alpine_image_for_gpus_is_warned_of(
    registry: Front, layout: LayoutMaker, store: StoreLayout, tmp_path: Path
) -> None:
    labels = {"org.opencontainers.image.base.name": "docker.io/library/alpine:3.22"}
    layout.write_index([named(layout.add_image([SMALL], config={"Labels": labels}), "musl")])
    inventory = make_h200_host(tmp_path / "host").take
    options = PullOptions(gpus="all", settings=IMPATIENT, find_inventory=inventory)
    with open_pull(
        f"{registry.host}/a:musl", store=store, environment={"HOME": "/"}, options=options
    ) as plan:
        assert any("refuses images with musl" in text for text in plan.warnings)


def test_quiet_prints_the_id_alone(shell: Shell, registry: Front) -> None:
    done = shell("pull", "-q", f"{registry.host}/a:v1")
    assert done.stdout.startswith("sha256:")
    assert (len(done.stdout.split()), done.stderr) == (1, "")


def test_events_are_one_object_a_line_from_the_plan_to_the_image(
    shell: Shell, registry: Front
) -> None:
    done = shell("pull", "--json", f"{registry.host}/a:cuda")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "plan"
    assert kinds[-2:] == ["link", "done"]
    assert events[-1]["image"] == events[0]["image"]
    layers = [event for event in events if event["event"] == "layer"]
    assert {event["layer"] for event in layers if event["stage"] == "done"} == {
        layer["digest"][7:19] for layer in events[0]["layers"]
    }
    assert set(layers[0]) == {"event", "layer", "stage", "done", "total", "limit", "rate"}


def test_a_log_gets_a_line_now_and_then_and_the_network_is_named(
    registry: Front, store: StoreLayout, tmp_path: Path
) -> None:
    registry.intercept = drip = Drip(2_000, 0.2, only=("/blobs/",))
    with start_pull(store, f"{registry.host}/a:cuda", tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "limited by the" in line:
                break
        drip.release()
        rest = process.stderr.read()
        assert process.wait() == 0
    assert "limited by the network" in line
    assert " left, " in line
    assert rest.count("\n") < 8


def test_a_terminal_gets_a_picture(registry: Front, store: StoreLayout, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    registry.intercept = Drip(4_000, 0.1, only=("/blobs/",))
    process = subprocess.Popen(
        [sys.executable, "-m", "sampan", "pull", f"{registry.host}/a:cuda"],
        env={**pull_environment(store, tmp_path), "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait() == 0
    assert process.stdout is not None
    process.stdout.close()
    text = shown.decode()
    assert "fetching" in text
    assert "network" in text
    assert "linking the image" in text


def test_events_come_while_it_works(registry: Front, store: StoreLayout, tmp_path: Path) -> None:
    registry.intercept = drip = Drip(20_000, 0.2, only=("/blobs/",))
    with start_pull(store, f"{registry.host}/a:cuda", tmp_path, "--json") as process:
        for event in events_of(process):
            if event["event"] == "progress" and event["limit"] == "network":
                break
        drip.release()
        assert [last["event"] for last in events_of(process)][-1] == "done"
    assert 0 < event["done"] < event["total"]


def test_what_an_index_lists_for_another_platform_alone_is_refused_before_it_is_fetched(
    shell: Shell, registry: Front, layout: LayoutMaker
) -> None:
    """As docker and podman do; a login node fetches for others with --platform."""
    image = on_platform(layout.add_image([SMALL], architecture="s390x"), "s390x")
    layout.write_index([named(layout.add_list([image]), "far")])
    name = f"{registry.host}/a:far"
    refused = shell("pull", name)
    assert refused.returncode == 125
    assert "there is: linux/s390x" in refused.stderr
    assert refused.stderr.endswith("--platform linux/s390x\n")
    assert registry.paths("/blobs/") == []
    assert shell("pull", "--platform", "linux/s390x", name).returncode == 0


def test_run_and_explain_take_the_registry_options_of_pull(
    shell: Shell, layout: LayoutMaker, tmp_path: Path
) -> None:
    tls = make_certificate(tmp_path, ["127.0.0.1"])
    given = tmp_path / "given"
    given.mkdir()
    (given / "ca.crt").write_bytes(tls[0].read_bytes())
    with front(layout_backend(layout.root), tls) as safe:
        name = f"{safe.host}/a:v1"
        assert "error[registry-certificate]" in shell("explain", name).stderr
        assert shell("explain", "--cert-dir", str(given), name).returncode == 0
        shell("rmi", name)
        assert shell("explain", "--tls-verify=false", name).returncode == 0
        shell("rmi", name)
        # It has no program: all that stands before that is what is seen here.
        assert "registry-certificate" in shell("run", name, "true").stderr
        found = shell("run", "--tls-verify=false", name, "true").stderr
        assert "registry-certificate" not in found
        assert "linking the image" in found
