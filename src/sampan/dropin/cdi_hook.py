"""``nvidia-cdi-hook``: the hooks of documents that NVIDIA's generator made, done by our hook's code.

Subcommands and flags are NVIDIA's (field note nvidia-container-toolkit, section 1.3), the state comes
on standard input or with ``--container-spec``. Each becomes a request to ``dropin.hook``, so the same
rules hold: everything in the container is hostile, nothing is executed. A name that is not known is
warned of and passed over, so that an older program accepts a newer document.
"""

import itertools
import os
import sys
from collections.abc import Sequence

from sampan.driver.elf import read_elf
from sampan.dropin.hook import HookError, run_hook
from sampan.dropin.loader import choose_compat
from sampan.dropin.state import MAXIMUM_STATE_BYTES, StateError, read_state
from sampan.injection.cdi_hook_jobs import NVIDIA_HOOK, HookJobs, read_hooks
from sampan.kernel.libc import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from sampan.kernel.root_handle import RootHandle, open_regular, read_stream, write_descriptor
from sampan.model.cdi import CdiHook
from sampan.model.facts import COMPAT_DIRECTORY
from sampan.model.hook import (
    STAGE,
    HookArgumentsError,
    HookFile,
    HookLibrary,
    HookRequest,
    render_hook_arguments,
)
from sampan.model.ldcache import FLAGS_BY_MACHINE

COMPAT_LIST = "/etc/ld.so.conf.d/00-sampan-compat.conf"
"""Written by ``enable-cuda-compat``, read by ``update-ldcache``, which comes after it."""
MAXIMUM_NAMES = 4096
NAME_ALONE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
"""Mounts may be crossed: that is what the driver's files are."""
_MARK = "# host: "
_USAGE = """\
usage: nvidia-cdi-hook create-symlinks --link TARGET::LINK ... | update-ldcache --folder DIR ...
       | enable-cuda-compat --host-driver-version V | disable-device-node-modification
       | update-application-profile | chmod | noop       (the container's state on standard input)
This is Sampan's program of that name."""


def program() -> None:
    """Be the hook: exit status 0 or 1."""
    words = [word for word in sys.argv[1:] if word not in ("--debug", "-d", "--quiet", "-q")]
    if not words or words[0] in ("--help", "-h", "help", "--version", "-v"):
        print(_USAGE)  # noqa: T201 - it was asked for
        return
    if words[0] == "hook":
        # nvidia-ctk has the same hooks one word further down.
        words = words[1:]
    os.environ.clear()
    os.chdir("/")
    os.umask(0o022)
    try:
        state, words = _open_state(words)
        run_words(words, state)
    except (HookError, HookArgumentsError, StateError) as error:
        _print(str(error))
        os._exit(1)
    except OSError as error:
        _print(f"{error.strerror}: {error.filename}")
        os._exit(1)
    os._exit(0)


def run_words(words: Sequence[str], state: int) -> None:
    """Do what NVIDIA's words say to the container whose state can be read from a descriptor.

    Raises:
        StateError: the state names no container.
        HookError, HookArgumentsError, OSError: as ``dropin.hook.run_hook``.
    """
    jobs = read_hooks([CdiHook(STAGE, NVIDIA_HOOK, (NVIDIA_HOOK, *words))])
    for note in jobs.notes:
        _print(note)
    kept = os.memfd_create("state", os.MFD_CLOEXEC)
    write_descriptor(kept, read_stream(state, MAXIMUM_STATE_BYTES + 1))
    os.lseek(kept, 0, os.SEEK_SET)
    with RootHandle(read_state(kept).root) as root:
        request = make_request(root, jobs)
    os.lseek(kept, 0, os.SEEK_SET)
    if request != HookRequest():
        run_hook(render_hook_arguments(request), kept, _print)


def make_request(root: RootHandle, jobs: HookJobs) -> HookRequest:
    """The jobs as a request to our hook."""
    request = HookRequest(
        links=jobs.links, params=jobs.params, application_profile=jobs.application_profile
    )
    if jobs.compat:
        asked = HookRequest(
            driver_version=jobs.driver_version,
            cuda_version=jobs.cuda_version,
            compat_directory=jobs.compat_directory,
        )
        if choose_compat(root, asked, os.uname().machine):
            said = f"{_MARK}{jobs.driver_version},{jobs.cuda_version}"
            directory = jobs.compat_directory or COMPAT_DIRECTORY
            file = HookFile(COMPAT_LIST, f"{directory}\n{said}\n")
            request = request._replace(files=(file,))
    if jobs.folders:
        libraries = tuple(one for folder in jobs.folders for one in find_libraries(root, folder))
        request = request._replace(libraries=libraries)
        if libraries:
            directory, driver, cuda = _read_decision(root)
            request = request._replace(
                driver_version=driver, cuda_version=cuda, compat_directory=directory
            )
    return request


def find_libraries(root: RootHandle, folder: str) -> list[HookLibrary]:
    """The shared libraries in a directory of the container, with their SONAMEs and links.

    What lies there may be the image's: only sizes that are bounded are read of it.
    """
    try:
        directory = root.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return []
    libraries = []
    try:
        with os.scandir(directory) as entries:
            found = sorted(entry.name for entry in itertools.islice(entries, MAXIMUM_NAMES))
        links: dict[str, list[str]] = {}
        for name in found:
            if ".so" not in name or "," in name or "=" in name:
                continue
            try:
                links.setdefault(os.readlink(name, dir_fd=directory), []).append(name)
            except OSError:
                library = _identify(directory, folder, name)
                if library is not None:
                    libraries.append(library)
    finally:
        os.close(directory)
    return [_with_links(library, links) for library in libraries]


def _identify(directory: int, folder: str, name: str) -> HookLibrary | None:
    try:
        descriptor = open_regular(directory, name, NAME_ALONE)
    except OSError:
        return None
    try:
        elf = read_elf(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    if elf is None or elf.machine not in FLAGS_BY_MACHINE:
        return None
    odd = any(letter in elf.soname for letter in "/=,")
    names = (elf.soname,) if elf.soname and elf.soname != name and not odd else ()
    return HookLibrary(elf.machine, folder.rstrip("/"), name, names)


def _with_links(library: HookLibrary, links: dict[str, list[str]]) -> HookLibrary:
    names = dict.fromkeys(library.names)
    for target in (library.file, *library.names):
        for name in links.get(target, ()):
            names.setdefault(name)
    return library._replace(names=tuple(names))


def _read_decision(root: RootHandle) -> tuple[str, str, str]:
    """What ``enable-cuda-compat`` has decided on and by: directory, driver's and CUDA's version.

    An image that says it itself hurts itself only.
    """
    try:
        content = root.read_file(COMPAT_LIST, 1024) or b""
    except OSError:
        return "", "", ""
    first, _, second = content.decode("utf-8", "replace").partition("\n")
    mark, _, versions = second.partition("\n")[0].partition(_MARK)
    if mark or not first.startswith("/") or not first.isprintable():
        return "", "", ""
    driver, _, cuda = versions.partition(",")
    return first, driver, cuda


def _open_state(words: Sequence[str]) -> tuple[int, list[str]]:
    """The descriptor of the state, and the words without ``--container-spec``."""
    rest: list[str] = []
    path = ""
    place = 0
    while place < len(words):
        name, equals, value = words[place].partition("=")
        if name == "--container-spec":
            if not equals and place + 1 < len(words):
                place += 1
                value = words[place]
            path = value
        else:
            rest.append(words[place])
        place += 1
    return (os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else 0), rest


def _print(text: str) -> None:
    os.write(2, f"{NVIDIA_HOOK}: {text}\n".encode("utf-8", "backslashreplace"))
