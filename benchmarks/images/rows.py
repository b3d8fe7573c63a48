"""The rows of the table: what is run, and what must be there or gone before."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from example_image import ExampleImage


class Row(NamedTuple):
    """One way to a runnable image; ``prepare`` and ``clean`` are not measured."""

    name: str
    command: list[str]
    prepare: Callable[[], None]
    clean: Callable[[], None]
    environment: dict[str, str]


def make_rows(
    example: ExampleImage, work: Path, apptainer: Sequence[str]
) -> tuple[list[Row], list[str]]:
    """All rows whose programs are there, and why the others are not."""
    rows = _our_rows(example, work)
    missing = []
    peers = _peer_rows(example, work)
    for program, row in peers:
        if shutil.which(program):
            rows.append(row)
        else:
            missing.append(f"{row.name}: {program} is not installed")
    if apptainer:
        rows += _apptainer_rows(example, work, apptainer)
    else:
        missing.append("apptainer build: give --apptainer COMMAND")
    return rows, missing


def _our_rows(example: ExampleImage, work: Path) -> list[Row]:
    store = work / "store"
    sampan = str(Path(sys.executable).with_name("sampan"))
    environment = {"SAMPAN_STORE": str(store)}

    def command(tag: str, *options: str) -> list[str]:
        return [sampan, "import", "-q", *options, f"oci:{example.layout}:{tag}", f"bench:{tag}"]

    def fill(*tags: str) -> None:
        _remove(store)
        for tag in tags:
            _run(command(tag), environment)

    def fill_and_remove() -> None:
        fill("base")
        _run([sampan, "rmi", "bench:base"], environment)

    def empty() -> None:
        _remove(store)

    return [
        Row("sampan import, zstd", command("base"), empty, empty, environment),
        Row(
            "sampan import, gzip",
            command("base", "--compression", "gzip"),
            empty,
            empty,
            environment,
        ),
        Row(
            "sampan import rootfs: (merged tar), zstd",
            [sampan, "import", "-q", f"rootfs:{example.merged}", "bench:merged"],
            empty,
            empty,
            environment,
        ),
        Row(
            "sampan import, layers packed before (link)",
            command("base"),
            fill_and_remove,
            empty,
            environment,
        ),
        Row(
            "sampan import, one small layer more",
            command("derived"),
            lambda: fill("base"),
            empty,
            environment,
        ),
    ]


def _peer_rows(example: ExampleImage, work: Path) -> list[tuple[str, Row]]:
    target = work / "peer"

    def empty() -> None:
        _remove(target)
        target.mkdir()

    def squash(*options: str) -> list[str]:
        words = ["mksquashfs", "-", str(target / "out.sqfs"), "-tar", "-noappend", *options]
        return ["sh", "-c", '"$@" <"$0"', str(example.merged), *words, "-no-progress", "-quiet"]

    storage = ["--root", str(target / "root"), "--runroot", str(target / "run")]
    return [
        (
            "mksquashfs",
            Row(
                "mksquashfs -tar (merged tar), zstd 1",
                squash("-comp", "zstd", "-Xcompression-level", "1"),
                empty,
                empty,
                {},
            ),
        ),
        ("mksquashfs", Row("mksquashfs -tar (merged tar), gzip", squash(), empty, empty, {})),
        (
            "umoci",
            Row(
                "umoci unpack",
                ["umoci", "unpack", "--image", f"{example.layout}:base", str(target / "bundle")],
                empty,
                empty,
                {},
            ),
        ),
        (
            "podman",
            Row(
                "podman load",
                ["podman", *storage, "load", "--quiet", "-i", str(example.archive)],
                empty,
                empty,
                {},
            ),
        ),
    ]


def _apptainer_rows(example: ExampleImage, work: Path, program: Sequence[str]) -> list[Row]:
    target = work / "apptainer"

    def empty() -> None:
        _remove(target)
        # Apptainer runs as an ordinary user.
        for name in (target, target / "tmp", target / "cache"):
            name.mkdir()
            name.chmod(0o1777)

    variables = {
        "APPTAINER_TMPDIR": str(target / "tmp"),
        "APPTAINER_CACHEDIR": str(target / "cache"),
    }
    environment = {
        **variables,
        "SAMPAN_CHROOT_BINDS": str(work),
        "SAMPAN_CHROOT_ENV": " ".join(f"{name}={value}" for name, value in variables.items()),
    }

    def command(*options: str) -> list[str]:
        words = ["build", *options, str(target / "out.sif"), f"oci:{example.single}"]
        return [*program, *words]

    zstd = "-comp zstd -Xcompression-level 3"
    return [
        Row("apptainer build, defaults", command(), empty, empty, environment),
        Row(
            "apptainer build, zstd 3",
            command("--mksquashfs-args", zstd),
            empty,
            empty,
            environment,
        ),
    ]


def _remove(path: Path) -> None:
    # podman leaves mounts and directories without permissions; rm as root takes them all.
    overlay = path / "root/overlay"
    if overlay.is_dir():
        subprocess.run(["umount", str(overlay)], capture_output=True)
    subprocess.run(["rm", "-rf", str(path)], check=True)


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    subprocess.run(
        list(command), env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL
    )
