"""What a hostile image or a hostile user brings: links that change, canaries, odd files; and witnesses."""

import contextlib
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ODD_KINDS = (
    "fifo",
    "socket",
    "device",
    "directory",
    "absolute",
    "upwards",
    "magic",
    "chain",
    "loop",
)
"""What can lie where a regular file is expected; the last five are symbolic links."""

_SWAP = """
import ctypes, os, sys
first, second = sys.argv[1:]
swap = ctypes.CDLL(None).renameat2
sys.stdout.write("swapping\\n")
sys.stdout.flush()
while True:
    swap(-100, first.encode(), -100, second.encode(), 2)
    swap(-100, first.encode(), -100, second.encode(), 2)
"""


def take_snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything that could be changed below a directory: two snapshots differ if anything was."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        times = (status.st_mtime_ns, status.st_ctime_ns)
        found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, times, content)
    return found


@contextlib.contextmanager
def swapping(*pairs: tuple[Path, Path]) -> Iterator[None]:
    """Other processes exchange the two of each pair in one step, again and again, meanwhile."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-ISc", _SWAP, first, second], stdout=subprocess.PIPE, text=True
        )
        for first, second in pairs
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "swapping\n"
        yield
        assert all(racer.poll() is None for racer in racers)
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
            if racer.stdout is not None:
                racer.stdout.close()


def plant(path: Path, kind: str, outside: Path) -> None:
    """Put an odd thing of that kind at ``path``; links lead to ``outside`` on the host."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    makers: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(path),
        "socket": lambda: _bind(path),
        "device": lambda: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
        "directory": lambda: path.mkdir(exist_ok=True),
        "absolute": lambda: path.symlink_to(outside),
        "upwards": lambda: path.symlink_to("../" * 40 + str(outside).lstrip("/")),
        "magic": lambda: path.symlink_to(f"/proc/1/root{outside}"),
        "chain": lambda: _chain(path, outside),
        "loop": lambda: path.symlink_to(path.name),
    }
    makers[kind]()


def _bind(path: Path) -> None:
    # A socket's own path may be short only: bound by its directory.
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(before)
        os.close(before)


def _chain(path: Path, outside: Path) -> None:
    step = path.with_name(f"{path.name}.step")
    step.unlink(missing_ok=True)
    step.symlink_to(outside)
    path.symlink_to(step.name)


def plant_canaries(root: Path, mark: Path, *names: str) -> None:
    """Programs in the image that leave a mark on the host if anything of ours runs them."""
    for name in names:
        program = root / name.lstrip("/")
        program.parent.mkdir(parents=True, exist_ok=True)
        program.unlink(missing_ok=True)
        program.write_text(f"#!/bin/sh\necho {name} >> {mark}\n")
        program.chmod(0o755)


def plant_modules(directory: Path, mark: Path) -> None:
    """Python modules that leave a mark if an interpreter of ours imports them from here."""
    directory.mkdir(parents=True, exist_ok=True)
    text = f"open({str(mark)!r}, 'a').write(__file__ + '\\n')\n"
    for name in ("sitecustomize", "usercustomize", "os", "json", "struct", "errno", "stat", "ctypes",
                 "typing", "encodings", "contextlib", "io", "abc"):  # fmt: skip
        (directory / f"{name}.py").write_text(text)
    package = directory / "sampan"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text(text)
