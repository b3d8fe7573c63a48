"""Makes the container's dynamic loader find the driver's libraries: links, loader cache, CUDA compat.

The cache is written by our own codec; no program, the image's or the host's ldconfig, is run.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Sequence

from sampan.injection.compat import COMPAT_NAMES, decide_cuda_compat
from sampan.injection.ldcache import merge_loader_cache, render_loader_cache
from sampan.kernel.cover import cover_file
from sampan.kernel.libc import RESOLVE_NO_XDEV
from sampan.kernel.root_handle import ONE_STEP, RootHandle, open_regular
from sampan.model.elf_note import read_note
from sampan.model.facts import COMPAT_DIRECTORY, CudaCompat
from sampan.model.hook import HookLibrary, HookRequest
from sampan.model.ldcache import (
    FLAGS_BY_MACHINE,
    MAXIMUM_BYTES,
    LoaderCache,
    LoaderCacheError,
    LoaderEntry,
    parse_loader_cache,
)

CACHE = "/etc/ld.so.cache"
LOADERS: dict[str, str] = {
    "x86_64": "/lib64/ld-linux-x86-64.so.2",
    "aarch64": "/lib/ld-linux-aarch64.so.1",
    "i386": "/lib/ld-linux.so.2",
}
COMPAT_SECTION, COMPAT_OWNER = b".note.cuda.fwd_compatibility", b"NVIDIA Corporation"
MAXIMUM_NAMES = 4096
_CANNOT_WRITE = (errno.EROFS, errno.EXDEV, errno.EBUSY, errno.EACCES, errno.EPERM)

Say = Callable[[str], None]


def tell_failure(error: OSError) -> str:
    """Why something could not be written, in words."""
    if error.errno == errno.EXDEV:
        return "it lies on a mount, which is not ours to change"
    return os.strerror(error.errno) if error.errno else str(error)


def give_libraries(root: RootHandle, request: HookRequest, say: Say) -> None:
    """Make the libraries' links, and enter all their names into the loader cache.

    What cannot be done is said, and costs only itself: a library whose links cannot be made is
    entered by its file.
    """
    if not request.libraries:
        return
    entries: list[LoaderEntry] = []
    failures: list[str] = []
    for library in request.libraries:
        flags = FLAGS_BY_MACHINE.get(library.machine)
        for name, path in _link(root, library, failures):
            if flags is not None:
                entries.append(LoaderEntry(os.fsencode(name), os.fsencode(path), flags))
    if failures:
        more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
        say(f"the link {failures[0]} cannot be made{more}")
    machine = next(
        (one.machine for one in request.libraries if one.machine != "i386"),
        request.libraries[0].machine,
    )
    if not root.is_file(LOADERS.get(machine, LOADERS["x86_64"])):
        musl = root.is_file(f"/lib/ld-musl-{machine}.so.1")
        has = (
            "its C library is musl" if musl else f"it has no {LOADERS.get(machine, 'such loader')}"
        )
        say(f"the driver's libraries need glibc, which the image lacks: {has}")
        return
    try:
        write_cache(root, [*choose_compat(root, request, machine), *entries], machine, say)
    except OSError as error:
        say(
            f"{CACHE} cannot be written: {tell_failure(error)}; programs find no driver library by name"
        )


def write_cache(
    root: RootHandle, entries: Sequence[LoaderEntry], machine: str, say: Say = lambda _: None
) -> None:
    """Put ``entries`` before those of the same names in the container's loader cache.

    Raises:
        OSError: it can neither be written nor covered.
    """
    image = LoaderCache(())
    try:
        content = root.read_file(CACHE, MAXIMUM_BYTES)
        image = parse_loader_cache(content) if content else image
    except (OSError, LoaderCacheError) as error:
        why = tell_failure(error) if isinstance(error, OSError) else error
        say(f"the image's {CACHE} is unusable ({why}); the new one lists the driver alone")
    merged = merge_loader_cache(image, entries, signed_characters=machine in ("x86_64", "i386"))
    rendered = render_loader_cache(merged)
    try:
        root.write_file(CACHE, rendered, 0o644)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        # A read-only root: the file can still be covered where the image has one.
        with contextlib.suppress(OSError):
            cover_file(root, CACHE, rendered, 0o644, resolve=RESOLVE_NO_XDEV)
            return
        raise


def choose_compat(root: RootHandle, request: HookRequest, machine: str) -> list[LoaderEntry]:
    """Entries of the image's forward-compatibility libraries, if they are to be used."""
    if not request.driver_version and not request.cuda_version:
        return []
    compat = find_compat(root, request.compat_directory or COMPAT_DIRECTORY)
    if compat is None:
        return []
    decision = decide_cuda_compat(
        compat,
        driver_version=request.driver_version,
        cuda_version=request.cuda_version,
        gpus=(),
        # A document says CUDA's version alone for Tegra boards, whose packages all have the note.
        tegra=not request.driver_version,
    )
    if not decision.use or machine not in FLAGS_BY_MACHINE:
        return []
    return [
        LoaderEntry(name.encode(), f"{compat.directory}/{name}".encode(), FLAGS_BY_MACHINE[machine])
        for name in COMPAT_NAMES
        if name in compat.names
    ]


def find_compat(root: RootHandle, place: str) -> CudaCompat | None:
    """The image's forward-compatibility libcuda in a directory; None unless there is exactly one."""
    try:
        directory = root.open(place, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        names = _list(directory)
        found = [name for name in names if _is_candidate(directory, name)]
        if len(found) != 1:
            return None
        note = _read_note(directory, found[0])
    except OSError:
        return None
    finally:
        os.close(directory)
    version = found[0].removeprefix("libcuda.so.")
    return CudaCompat(place, version, note, tuple(names))


def _link(root: RootHandle, library: HookLibrary, failures: list[str]) -> list[tuple[str, str]]:
    """Make a library's links; every name with the path under which it can be opened."""
    file = f"{library.directory}/{library.file}"
    places = [(library.file, file)]
    target = library.file
    for name in library.names:
        path = f"{library.directory}/{name}"
        try:
            root.write_link(path, target)
        except OSError as error:
            failures.append(f"{path} ({tell_failure(error)})")
            path = file
        else:
            target = library.names[0]
        places.append((name, path))
    return places


def _list(directory: int) -> list[str]:
    names = []
    with os.scandir(directory) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > MAXIMUM_NAMES:
                raise OSError(errno.EFBIG, f"more than {MAXIMUM_NAMES} names")
    return sorted(names)


def _is_candidate(directory: int, name: str) -> bool:
    # NVIDIA's own pattern is libcuda.so.*.*
    version = name.removeprefix("libcuda.so.")
    if version == name or "." not in version[1:-1]:
        return False
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def _read_note(directory: int, name: str) -> str:
    descriptor = open_regular(directory, name, ONE_STEP)
    try:

        def read(offset: int, limit: int) -> bytes:
            # Offsets of 2**63 and more, which a hostile file may hold, are none.
            return os.pread(descriptor, limit, offset) if offset < 1 << 62 else b""

        return (read_note(read, COMPAT_SECTION, COMPAT_OWNER) or b"").decode("utf-8", "replace")
    finally:
        os.close(descriptor)
