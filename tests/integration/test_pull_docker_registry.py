"""Pull and run by reference from Debian's docker-registry, as users do it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from sampan.engines.pull import PullOptions, pull_image
from sampan.gpus.requirements import RequirementError
from sampan.images.catalogue import list_records
from sampan.images.store import find_image
from sampan.images.store_access import StoreError
from sampan.images.store_layout import StoreLayout
from sampan.registry.failures import CertificateError
from support.driver_host import make_h200_host
from support.engine_host import EngineHost, engine_host
from support.layouts import LayoutMaker, make_tar, named, on_platform, sha256, tar_of
from support.registries import (
    IMPATIENT,
    Front,
    docker_registry,
    front,
    layout_backend,
    make_certificate,
    push,
    require_programs,
    upstream_backend,
)

pytestmark = pytest.mark.integration

# "correct horse" as bcrypt, which docker-registry insists on.
HTPASSWD = "jo:$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n"
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with engine_host() as made:
        yield made


@pytest.fixture(scope="module")
def layout(host: EngineHost) -> Path:
    """A base image that runs, one derived from it, and one with big layers."""
    maker = LayoutMaker(host.base / "layout")
    base = tar_of(host.base / "rootfs")
    hello = make_tar({"etc/hello": b"hello from the registry\n"})
    config = {"Cmd": ["cat", "/etc/hello"], "Env": ["NVIDIA_REQUIRE_DRIVER=driver>=9999"]}
    noise = [make_tar({f"noise{n}": os.urandom(10 << 20)}) for n in range(3)]
    maker.write_index([
        named(maker.add_image([base, hello], config=config), "base"),
        named(maker.add_image([base, hello, make_tar({"etc/more": b"more\n"})]), "derived"),
        named(maker.add_image([*noise, hello]), "big"),
        named(maker.add_image([base, hello], config=config, compress=zstandard.compress,
                              ending="+zstd"), "zstd"),
    ])  # fmt: skip
    return maker.root


@pytest.fixture(scope="module")
def registry(host: EngineHost, layout: Path) -> Iterator[str]:
    with docker_registry(host.base / "registry") as address:
        for tag in ("base", "derived", "big"):
            push(layout, tag, f"{address}/team/image:{tag}")
        yield address


@pytest.fixture
def behind(registry: str) -> Iterator[Front]:
    """The same registry through a front that counts."""
    with front(upstream_backend(registry)) as served:
        yield served


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    return StoreLayout(str(tmp_path / "store"))


@pytest.fixture
def shell(host: EngineHost, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """``sampan`` with a store and a home of its own."""

    def run(*words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        own = {"SAMPAN_STORE": str(tmp_path / "store"), "HOME": str(tmp_path)}
        variables = {**own, **more.pop("variables", {})}
        return host.run(*words, variables=variables, **more)

    return run


Shell = Callable[..., "subprocess.CompletedProcess[str]"]


def test_an_image_that_is_missing_is_pulled_and_run(shell: Shell, registry: str) -> None:
    done = shell("run", "--rm", f"{registry}/team/image:base")
    assert (done.returncode, done.stdout) == (0, "hello from the registry\n"), done.stderr
    assert "no image" in done.stderr
    assert "2 of 2 layers to fetch" in done.stderr
    again = shell("run", "--rm", f"{registry}/team/image:base")
    assert (again.returncode, again.stdout, again.stderr) == (0, "hello from the registry\n", "")


def test_an_ordinary_user_does_it_too(host: EngineHost, registry: str) -> None:
    variables = {"SAMPAN_STORE": str(host.home("ordinary") / "store")}
    done = host.run("run", "--rm", f"{registry}/team/image:base", user="ordinary", variables=variables)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "hello from the registry\n"), done.stderr


def test_with_the_image_present_nothing_of_the_registry_client_is_imported(
    host: EngineHost,
) -> None:
    code = (
        "import json, sys\nfrom sampan.cli.main import main\n"
        f"code = main(['run', '--rm', '{host.image}', 'true'])\n"
        "print(json.dumps(sorted(sys.modules)))\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=host.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    modules = json.loads(done.stdout)
    assert "sampan.engines.prepare" in modules
    heavy = ("sampan.registry", "sampan.engines.pull", "urllib", "urllib3", "http", "ssl", "rich")
    assert [m for m in modules if m.startswith(heavy) or m in heavy] == []


def test_a_digest_names_the_same_image_and_needs_no_registry_afterwards(
    shell: Shell, layout: Path, registry: str
) -> None:
    entries = json.loads((layout / "index.json").read_bytes())["manifests"]
    digest = entries[0]["digest"]
    pinned = f"{registry}/team/image@{digest}"
    pulled = shell("pull", "-q", pinned)
    assert (pulled.returncode, pulled.stderr) == (0, "")
    done = shell("run", "--rm", "--pull", "never", pinned)
    assert done.stdout == "hello from the registry\n", done.stderr


def test_pull_never_and_missing_and_always(shell: Shell, behind: Front) -> None:
    name = f"{behind.host}/team/image:base"
    assert "error[image-not-found]" in shell("run", "--pull", "never", name).stderr
    assert "error[image-not-found]" in shell("pull", "--policy", "never", name).stderr
    assert behind.seen == []
    assert shell("pull", "--policy", "missing", name).returncode == 0
    asked = len(behind.seen)
    assert shell("pull", "--policy", "missing", name).returncode == 0
    assert shell("run", "--rm", name).returncode == 0
    assert len(behind.seen) == asked
    always = shell("run", "--rm", "--pull", "always", name)
    assert always.stdout == "hello from the registry\n"
    assert "up to date" in always.stderr
    assert len(behind.paths("/manifests/")) == 2


def test_explain_pulls_too(shell: Shell, registry: str) -> None:
    done = shell("explain", f"{registry}/team/image:base")
    assert "Nothing of the host's driver is imported" in done.stdout, done.stderr


def test_a_derived_image_costs_only_its_own_layers(shell: Shell, behind: Front) -> None:
    shell("pull", f"{behind.host}/team/image:base")
    before = len(behind.paths("/blobs/"))
    done = shell("pull", f"{behind.host}/team/image:derived")
    assert "1 of 3 layers to fetch" in done.stderr
    assert "are here" in done.stderr
    # Its configuration and its one layer.
    assert len(behind.paths("/blobs/")) == before + 2


def test_a_rehearsal_fetches_no_layer_and_writes_nothing(
    shell: Shell, behind: Front, tmp_path: Path
) -> None:
    done = shell("pull", "--dry-run", f"{behind.host}/team/image:base")
    assert done.returncode == 0
    assert "2 of 2 layers to fetch" in done.stdout
    assert len(behind.paths("/blobs/")) == 1
    assert not (tmp_path / "store").exists()


def test_a_driver_that_is_too_old_is_said_before_the_first_layer(
    behind: Front, store: StoreLayout, tmp_path: Path
) -> None:
    driver = make_h200_host(tmp_path / "host").take
    options = PullOptions(gpus="all", settings=IMPATIENT, find_inventory=driver)
    with pytest.raises(RequirementError) as raised:
        pull_image(
            f"{behind.host}/team/image:base",
            store=store,
            environment={"HOME": str(tmp_path)},
            options=options,
        )
    assert "driver>=9999" in raised.value.evidence
    assert len(behind.paths("/blobs/")) == 1


def test_a_store_without_room_is_said_before_the_first_layer(
    tmp_path: Path, store: StoreLayout
) -> None:
    maker = LayoutMaker(tmp_path / "layout")
    entry = maker.add_image([make_tar({"a": b"a"})])
    manifest = json.loads(maker.blob_path(entry["digest"]).read_bytes())
    manifest["layers"][0]["size"] = 1 << 60
    maker.write_index([named(maker.add_document(manifest, manifest["mediaType"]), "v1")])
    with (
        front(layout_backend(maker.root)) as registry,
        pytest.raises(StoreError, match="not enough room"),
    ):
        pull_image(
            f"{registry.host}/a:v1",
            store=store,
            environment={"HOME": str(tmp_path)},
            options=PullOptions(settings=IMPATIENT),
        )
    assert len(registry.paths("/blobs/")) == 1


def start_pull(store: StoreLayout, name: str, home: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "sampan", "pull", name],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path), "SAMPAN_STORE": store.root,
             "HOME": str(home)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("moment", ["layers to fetch", "packed", "linking"])
def test_a_pull_that_is_killed_can_be_done_again_and_keeps_whole_layers(
    behind: Front, store: StoreLayout, tmp_path: Path, moment: str
) -> None:
    name = f"{behind.host}/team/image:big"
    with start_pull(store, name, tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if moment in line:
                break
        process.send_signal(signal.SIGKILL)
    assert len(list_records(store)) in (0, 1)
    whole = {path.stem for path in Path(store.packs("zstd")).glob("[!.]*.index")}
    assert whole or moment == "layers to fetch"
    before = len(behind.seen)
    image = pull_image(name, store=store, environment={"HOME": str(tmp_path)})
    assert find_image(name, store=store) == image
    again = {path.rpartition(":")[2] for _, path, _ in behind.seen[before:] if "/blobs/" in path}
    assert not whole & again


def test_two_pulls_at_once_fetch_each_layer_once(
    behind: Front, store: StoreLayout, tmp_path: Path
) -> None:
    name = f"{behind.host}/team/image:big"
    with start_pull(store, name, tmp_path) as one, start_pull(store, name, tmp_path) as two:
        outcomes = [process.communicate() for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), outcomes
    assert outcomes[0][0] == outcomes[1][0]
    blobs = behind.paths("/blobs/")
    # Four layers once, and the configuration once for each.
    assert len(blobs) == 6
    assert len(set(blobs)) == 5


def test_an_index_gives_the_image_of_the_platform(
    shell: Shell, registry: str, tmp_path: Path
) -> None:
    maker = LayoutMaker(tmp_path / "layout")
    images = [
        on_platform(maker.add_image([make_tar({"arch": name.encode()})], architecture=name), name)
        for name in ("amd64", "arm64")
    ]
    maker.write_index([named(maker.add_list(images), "both")])
    push(maker.root, "both", f"{registry}/team/both:1", "--all")
    done = shell("pull", "-q", "--platform", "linux/arm64", f"{registry}/team/both:1")
    assert done.returncode == 0, done.stderr
    config = next((tmp_path / "store/images/sha256").glob("*.config.json"))
    assert json.loads(config.read_bytes())["architecture"] == "arm64"
    again = shell("pull", "-q", "--policy", "missing", "--platform", "linux/arm64", f"{registry}/team/both:1")  # fmt: skip
    assert again.stdout == done.stdout
    other = shell("pull", "-q", "--policy", "missing", "--platform", "linux/amd64", f"{registry}/team/both:1")  # fmt: skip
    assert other.stdout != done.stdout
    index = maker.add_list(images)["digest"]
    assert shell("inspect", f"{registry}/team/both@{index}").returncode == 0


@pytest.mark.parametrize(("tag", "words"), [("base", ("--format", "v2s2")), ("zstd", ())])
def test_docker_v2s2_manifests_and_zstd_layers_are_read(
    shell: Shell, registry: str, layout: Path, tag: str, words: tuple[str, ...]
) -> None:
    target = f"{registry}/team/kinds:{tag}"
    push(layout, tag, target, *words)
    assert shell("run", "--rm", target).stdout == "hello from the registry\n"


@pytest.fixture(scope="module")
def guarded(host: EngineHost, layout: Path) -> Iterator[str]:
    """A registry that wants a password."""
    with docker_registry(host.base / "guarded", htpasswd=HTPASSWD) as address:
        push(layout, "base", f"{address}/team/image:base", "--dest-creds", f"jo:{PASSWORD}")
        yield address


def test_a_password_is_checked_kept_and_used(shell: Shell, guarded: str, tmp_path: Path) -> None:
    name = f"{guarded}/team/image:base"
    assert "error[registry-unauthorized]" in shell("pull", name).stderr
    wrong = shell("login", "-u", "jo", "--password-stdin", guarded, stdin="wrong")
    assert wrong.returncode == 125
    assert "does not accept your credentials" in wrong.stderr
    assert "error[registry-unauthorized]" in shell("pull", name).stderr
    right = shell("login", "-u", "jo", "--password-stdin", guarded, stdin=f"{PASSWORD}\n")
    assert right.returncode == 0, right.stderr
    assert PASSWORD not in right.stdout + right.stderr
    assert (tmp_path / ".config/sampan/auth.json").stat().st_mode & 0o777 == 0o600
    assert shell("run", "--rm", name).stdout == "hello from the registry\n"
    assert shell("logout", guarded).returncode == 0
    assert "error[registry-unauthorized]" in shell("pull", name).stderr


def test_what_skopeo_logged_in_to_is_used(shell: Shell, guarded: str, tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    subprocess.run(
        ["skopeo", "login", "--authfile", str(file), "--tls-verify=false", "-u", "jo",
         "--password-stdin", guarded],
        input=PASSWORD, text=True, check=True, capture_output=True,
    )  # fmt: skip
    done = shell("pull", "-q", f"{guarded}/team/image:base", variables={"REGISTRY_AUTH_FILE": str(file)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = shell("logout", guarded, variables={"REGISTRY_AUTH_FILE": str(file)})
    assert f"remain in {file}" in said.stderr


def test_a_helper_that_docker_names_keeps_and_gives(
    shell: Shell, guarded: str, tmp_path: Path
) -> None:
    helper = tmp_path / "bin/docker-credential-drawer"
    helper.parent.mkdir()
    helper.write_text(
        f"""#!/bin/sh
case $1 in
store) cat >{tmp_path}/drawer ;;
get) cat >/dev/null; cat {tmp_path}/drawer 2>/dev/null || {{ echo credentials not found; exit 1; }} ;;
erase) cat >/dev/null; rm -f {tmp_path}/drawer ;;
esac
"""
    )
    helper.chmod(0o755)
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"credsStore": "drawer"}))
    variables = {"PATH": f"{helper.parent}:/usr/bin:/bin:/usr/sbin:/sbin"}
    done = shell("login", "-u", "jo", "--password-stdin", guarded, stdin=PASSWORD, variables=variables)  # fmt: skip
    assert "kept in docker-credential-drawer" in done.stdout, done.stderr
    assert not (tmp_path / ".config").exists()
    assert json.loads((tmp_path / "drawer").read_text())["ServerURL"] == guarded
    pulled = shell("pull", "-q", f"{guarded}/team/image:base", variables=variables)
    assert pulled.returncode == 0, pulled.stderr
    shell("logout", guarded, variables=variables)
    assert not (tmp_path / "drawer").exists()


def test_a_registry_with_a_ca_of_its_own(
    shell: Shell, layout: Path, store: StoreLayout, tmp_path: Path
) -> None:
    require_programs("openssl")
    tls = make_certificate(tmp_path, ["127.0.0.1"])
    with docker_registry(tmp_path / "registry", tls=tls) as address:
        push(layout, "base", f"{address}/team/image:base")
        name = f"{address}/team/image:base"
        assert "error[registry-certificate]" in shell("pull", name).stderr
        done = shell("pull", "-q", name, variables={"SSL_CERT_FILE": str(tls[0])})
        assert done.returncode == 0, done.stderr
        settings = IMPATIENT._replace(certificate_directories=(str(tmp_path / "certs.d"),))
        place = tmp_path / "certs.d" / address
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes(tls[0].read_bytes())
        options = PullOptions(settings=settings)
        pull_image(name, store=store, environment={"HOME": str(tmp_path)}, options=options)
        (place / "ca.crt").write_text("no certificate")
        with pytest.raises(CertificateError, match="cannot be used"):
            pull_image(name, store=store, environment={"HOME": str(tmp_path)}, options=options)


def test_the_same_bytes_come_out_of_a_pull_and_of_an_import(
    shell: Shell, registry: str, layout: Path, tmp_path: Path
) -> None:
    pulled = shell("pull", "-q", f"{registry}/team/image:big").stdout
    other = {"SAMPAN_STORE": str(tmp_path / "other")}
    imported = shell("import", "-q", f"oci:{layout}:big", f"{registry}/team/image:big", variables=other).stdout  # fmt: skip
    assert pulled == imported
    files = [
        next((tmp_path / name / "images/sha256").glob("*.sif")).read_bytes()
        for name in ("store", "other")
    ]
    assert sha256(files[0]) == sha256(files[1])
