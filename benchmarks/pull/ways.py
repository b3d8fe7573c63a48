"""The rows of the table: ways from a registry to something that runs, each with a store of its own."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

_SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
# For kernels before 4.14; the command line has no option for it.
_GZIP_PULL = """\
import os, sys
from sampan.engines.pull import PullOptions, pull_image
from sampan.images.importer import ImportOptions
from sampan.images.store_layout import locate_store

options = PullOptions(importing=ImportOptions(compression="gzip"))
store = locate_store(os.environ)
pull_image(sys.argv[1], store=store, environment=os.environ, options=options)
"""
_PODMAN = ("--storage-driver", "overlay", "pull", "-q", "--tls-verify=false")


class Way(NamedTuple):
    """One way to pull an image.

    Attributes:
        command: of a registry's host and a tag of the repository ``bench``.
        store: directory that holds all that it keeps; made empty before a first pull.
        environment: variables of command and ``outer``.
        outer: command that takes another one and runs it where the program is.
    """

    name: str
    command: Callable[[str, str], list[str]]
    store: Path
    environment: dict[str, str]
    outer: tuple[str, ...] = ()

    def clear(self) -> None:
        """Empty its store."""
        # Podman leaves its storage mounted.
        for line in Path("/proc/mounts").read_text().splitlines():
            target = line.split()[1]
            if target.startswith(f"{self.store}/"):
                subprocess.run(["umount", "-l", target], check=False)
        subprocess.run(["rm", "-rf", str(self.store)], check=True)
        self.store.mkdir(parents=True)
        # Apptainer runs as an ordinary user.
        self.store.chmod(0o1777)


def make_ways(work: Path) -> tuple[list[Way], list[str]]:
    """All ways whose programs are here, ours first, and why the others are not."""
    stores = work / "stores"
    # Other users go through.
    stores.mkdir(exist_ok=True)
    ways = _sampans(stores / "sampan")
    missing = []
    if shutil.which("podman"):
        ways.append(_podman("podman pull, bookworm", stores / "p", ()))
    else:
        missing.append("podman pull, bookworm: podman is not installed")
    if shutil.which("skopeo") and shutil.which("umoci"):
        ways.append(_skopeo_umoci(stores / "skopeo"))
    else:
        missing.append("skopeo copy + umoci unpack: skopeo and umoci are not both installed")
    chroots: tuple[tuple[Sequence[str], Sequence[Way]], ...] = (
        (
            [str(_SCRIPTS / "engines-sid")],
            (
                _podman("podman pull, sid", stores / "ps", (str(_SCRIPTS / "engines-sid"),)),
                _docker("docker pull, sid", stores / "ds", "sid"),
            ),
        ),
        (
            [str(_SCRIPTS / "engines-sid"), "--suite", "bookworm"],
            (_docker("docker pull, bookworm", stores / "d", "bookworm"),),
        ),
        ([str(_SCRIPTS / "apptainer-sid")], _apptainers(stores / "apptainer")),
    )
    for script, inside in chroots:
        done = subprocess.run([*script, "--prepare"], capture_output=True, text=True)
        if done.returncode == 0:
            ways += inside
        else:
            missing += [f"{way.name}: {done.stderr.strip()[-300:]}" for way in inside]
    return ways, missing


def _sampans(store: Path) -> list[Way]:
    program = str(Path(sys.executable).with_name("sampan"))
    environment = {"SAMPAN_STORE": str(store / "store")}
    return [
        Way(
            "sampan pull",
            lambda host, tag: [program, "pull", "-q", f"{host}/bench:{tag}"],
            store,
            environment,
        ),
        Way(
            "sampan pull, gzip blocks",
            lambda host, tag: [sys.executable, "-c", _GZIP_PULL, f"{host}/bench:{tag}"],
            store,
            environment,
        ),
    ]


def _podman(name: str, store: Path, outer: tuple[str, ...]) -> Way:
    # Its run directory may have no more than 50 characters.
    places = ["podman", "--root", f"{store}/g", "--runroot", f"{store}/r"]
    return Way(
        name,
        lambda host, tag: [*places, *_PODMAN, f"{host}/bench:{tag}"],
        store,
        {"SAMPAN_CHROOT_BINDS": str(store.parent)},
        outer,
    )


def _docker(name: str, store: Path, suite: str) -> Way:
    return Way(
        name,
        lambda host, tag: ["docker", "pull", "-q", f"{host}/bench:{tag}"],
        store,
        {"SAMPAN_CHROOT_BINDS": str(store.parent), "SAMPAN_DOCKER_DATA": str(store / "data")},
        (str(_SCRIPTS / "engines-sid"), "--suite", suite, "--docker"),
    )


def _skopeo_umoci(store: Path) -> Way:
    script = (
        'skopeo copy -q --insecure-policy --src-tls-verify=false "docker://$1/bench:$2" '
        '"oci:$3/layout:$2" && umoci unpack --image "$3/layout:$2" "$3/$2"'
    )
    return Way(
        "skopeo copy + umoci unpack",
        lambda host, tag: ["sh", "-c", script, "pull", host, tag, str(store)],
        store,
        {},
    )


def _apptainers(store: Path) -> list[Way]:
    def build(host: str, tag: str, *options: str) -> list[str]:
        words = ["build", "--no-https", *options, f"{store}/{tag}.sif"]
        return [str(_SCRIPTS / "apptainer-sid"), *words, f"docker://{host}/bench:{tag}"]

    # Both beside the file, so that the temporary tree counts as its.
    variables = f"APPTAINER_TMPDIR={store} APPTAINER_CACHEDIR={store}/cache"
    environment = {"SAMPAN_CHROOT_BINDS": str(store.parent), "SAMPAN_CHROOT_ENV": variables}
    zstd = ("--mksquashfs-args", "-comp zstd -Xcompression-level 3")
    return [
        Way("apptainer build, defaults", build, store, environment),
        Way(
            "apptainer build, zstd 3",
            lambda host, tag: build(host, tag, *zstd),
            store,
            environment,
        ),
    ]
