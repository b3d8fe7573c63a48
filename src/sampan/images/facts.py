"""ImageFacts from the merged tree, while the image is linked.

All paths are followed inside the tree, as a process chrooted into the image would (``tree.resolve``).
Contents are read from the packs, each with a bound, and only parsed: nothing of the image runs.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sampan.images.tree import Node, resolve
from sampan.model.elf_note import read_note
from sampan.model.facts import (
    COMPAT_DIRECTORY,
    ORIN_COMPAT_DIRECTORY,
    RESOLVED_DIRECTORIES,
    CudaCompat,
    ImageFacts,
)
from sampan.model.image import ImageConfig
from sampan.model.layer import EntryKind

_FILE = int(EntryKind.FILE)
_MAX_TEXT = 1 << 20
_MAX_CACHE = 16 << 20
_MAX_LIBC = 8 << 20

_COMPAT_NOTE = b".note.cuda.fwd_compatibility"
_COMPAT_OWNER = b"NVIDIA Corporation"
_COMPAT_NAME = re.compile(rb"libcuda\.so\.([^/]{1,64}\.[^/]{1,64})\Z")
"""NVIDIA's own pattern: what stands for the version need not be one."""

_LIBC_NAME = re.compile(rb"libc-(\d+\.\d+(?:\.\d+)?)\.so\Z")
_LIBC_BANNER = re.compile(rb"GNU C Library [^\n]{0,200}release version (\d+\.\d+(?:\.\d+)?)")

_DRIVER_LIBRARY = re.compile(
    rb"lib(?:cuda|cudadebugger|nvcuvid|nvoptix|nvidia-(?!container)[^/]*|vdpau_nvidia|glxserver_nvidia"
    rb"|GL|GLX|GLX_[^/]*|GLdispatch|GLESv1_CM|GLESv1_CM_nvidia|GLESv2|GLESv2_nvidia|OpenGL"
    rb"|EGL|EGL_[^/]*|vulkan|OpenCL)\.so(?:\.[0-9.]+)?\Z"
)
"""The driver's own libraries and the vendor-neutral ones that load them."""

_EXTRA_LIBRARY_DIRECTORIES = ("/usr/local/nvidia/lib64", "/usr/local/nvidia/lib")
"""Where images made for NVIDIA's first container tools expect, and sometimes keep, the driver."""

_SHELLS = ("/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/bash", "/bin/ash", "/busybox/sh")


class _Abi(NamedTuple):
    """Names that depend on the architecture (glibc's and musl's loaders, Debian's triplet)."""

    glibc_loader: str
    musl_loader: str
    triplet: str


_ABIS = {
    "amd64": _Abi("/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1", "x86_64-linux-gnu"),
    "arm64": _Abi("/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1", "aarch64-linux-gnu"),
    "386": _Abi("/lib/ld-linux.so.2", "/lib/ld-musl-i386.so.1", "i386-linux-gnu"),
    "arm": _Abi("/lib/ld-linux-armhf.so.3", "/lib/ld-musl-armhf.so.1", "arm-linux-gnueabihf"),
    "ppc64le": _Abi("/lib64/ld64.so.2", "/lib/ld-musl-powerpc64le.so.1", "powerpc64le-linux-gnu"),
    "riscv64": _Abi(
        "/lib/ld-linux-riscv64-lp64d.so.1", "/lib/ld-musl-riscv64.so.1", "riscv64-linux-gnu"
    ),
    "s390x": _Abi("/lib/ld64.so.1", "/lib/ld-musl-s390x.so.1", "s390x-linux-gnu"),
}

ReadContent = Callable[[Node, int, int], bytes]
"""Reads at most so many bytes of a file's content from an offset."""
ContentSize = Callable[[Node], int]


def collect_facts(
    root: Node, config: ImageConfig, read: ReadContent, size: ContentSize, *, digest: str
) -> ImageFacts:
    """Everything a run must know of the image.

    Args:
        root: the merged tree.
        config: of the image, for the architecture.
        read: gives the content of a file node.
        size: gives its length.
        digest: the image's identity, ``sha256:<hex>``.
    """
    architecture = config.platform.architecture
    abi = _ABIS.get(architecture, _ABIS["amd64"])
    resolved = {}
    existing = set()
    for path in RESOLVED_DIRECTORIES:
        found = resolve(root, path.encode())
        resolved[path] = _text(found.path)
        if found.node is not None and found.node.children is not None:
            existing.add(_text(found.path))
    library_directories = _find_directories(root, abi)
    libc, version, interpreter = _find_libc(root, abi, library_directories, read)
    return ImageFacts(
        digest=digest,
        architecture=architecture,
        libc=libc,
        libc_version=version,
        interpreter=interpreter,
        resolved=resolved,
        directories=tuple(sorted(existing)),
        library_directories=tuple(_text(path) for path, _ in library_directories),
        loader_cache=_read_path(root, "/etc/ld.so.cache", read, _MAX_CACHE),
        libraries=_find_libraries(root, library_directories, size),
        cuda_compat=_find_cuda_compat(root, COMPAT_DIRECTORY, read, size),
        cuda_compat_orin=_find_cuda_compat(root, ORIN_COMPAT_DIRECTORY, read, size),
        passwd=_text(_read_path(root, "/etc/passwd", read, _MAX_TEXT)),
        group=_text(_read_path(root, "/etc/group", read, _MAX_TEXT)),
        shell=next((path for path in _SHELLS if _is_program(root, path)), ""),
    )


_Directories = list[tuple[bytes, Node]]


def _find_directories(root: Node, abi: _Abi) -> _Directories:
    """The loader's default directories that exist, by their real paths, best first."""
    return _existing(
        root,
        [
            f"/usr/lib/{abi.triplet}", f"/lib/{abi.triplet}",
            "/usr/lib64", "/lib64", "/usr/lib", "/lib",
        ],
    )  # fmt: skip


def _existing(root: Node, paths: list[str]) -> _Directories:
    found: dict[bytes, Node] = {}
    for path in paths:
        real, node = resolve(root, path.encode())
        if node is not None and node.children is not None:
            found.setdefault(real, node)
    return list(found.items())


def _find_libc(
    root: Node, abi: _Abi, directories: _Directories, read: ReadContent
) -> tuple[str, str, str]:
    """Which C library, its version, its loader.

    Debian's musl package lies beside glibc, and Alpine's gcompat puts a link in the place of
    glibc's loader: glibc is what has its loader and a libc.so.6 that says it is the GNU C Library.
    """
    musl = _is_file(root, abi.musl_loader)
    if _is_file(root, abi.glibc_loader):
        version = _glibc_version(root, directories, read)
        if version or not musl:
            return "glibc", version, abi.glibc_loader
    return ("musl", "", abi.musl_loader) if musl else ("none", "", "")


def _glibc_version(root: Node, directories: _Directories, read: ReadContent) -> str:
    for directory, _ in directories:
        real, node = resolve(root, directory + b"/libc.so.6")
        if node is None or node.kind != _FILE:
            continue
        match = _LIBC_NAME.match(real.rpartition(b"/")[2])
        match = match or _LIBC_BANNER.search(read(node, 0, _MAX_LIBC))
        if match:
            return match[1].decode()
    return ""


def _find_libraries(root: Node, directories: _Directories, size: ContentSize) -> dict[str, int]:
    libraries = {}
    extra = _existing(root, list(_EXTRA_LIBRARY_DIRECTORIES))
    for directory, node in [*directories, *extra]:
        for name in node.children or ():
            if not (name.startswith(b"lib") and _DRIVER_LIBRARY.match(name)):
                continue
            path = (b"" if directory == b"/" else directory) + b"/" + name
            target = resolve(root, path).node
            present = target is not None and target.kind == _FILE
            libraries[_text(path)] = size(target) if target is not None and present else -1
    return dict(sorted(libraries.items()))


def _find_cuda_compat(
    root: Node, place: str, read: ReadContent, size: ContentSize
) -> CudaCompat | None:
    real, directory = resolve(root, place.encode())
    if directory is None or directory.children is None:
        return None
    found = list(_versioned_libcuda(directory, size))
    if len(found) != 1:
        # NVIDIA's own rule: with several candidates none is the right one.
        return None
    version, node = found[0]
    note = read_note(lambda at, limit: read(node, at, limit), _COMPAT_NOTE, _COMPAT_OWNER)
    return CudaCompat(
        _text(real),
        version,
        (note or b"").decode("utf-8", "replace"),
        tuple(_text(name) for name in sorted(directory.children)),
    )


def _versioned_libcuda(directory: Node, size: ContentSize) -> Iterator[tuple[str, Node]]:
    for name, node in (directory.children or {}).items():
        match = _COMPAT_NAME.match(name)
        if match and node.kind == _FILE and size(node):
            yield _text(match[1]), node


def _read_path(root: Node, path: str, read: ReadContent, limit: int) -> bytes:
    node = resolve(root, path.encode()).node
    if node is None or node.kind != _FILE:
        return b""
    return read(node, 0, limit)


def _is_file(root: Node, path: str) -> bool:
    node = resolve(root, path.encode()).node
    return node is not None and node.kind == _FILE


def _is_program(root: Node, path: str) -> bool:
    node = resolve(root, path.encode()).node
    return node is not None and node.kind == _FILE and bool(node.entry.mode & 0o111)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
