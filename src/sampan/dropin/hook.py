"""``sampan-hook``: what a CDI document has done in a container that another engine makes.

One ``createContainer`` process (runtime-spec, config.md, POSIX-platform hooks): the runtime has made
the container's mounts in its mount namespace and has not yet entered its root. Everything that lies
in the container is taken as hostile (``kernel.root_handle``); no program is started; nothing is
taken from the environment or the working directory.

What makes a container convenient is left out with a word on standard error when it cannot be done.
What keeps it in its bounds fails the start: ``params``, without which the driver's libraries make
nodes of GPUs that the container was not given. What is asked for is in the arguments
(``model.hook``); an option of a newer document is warned of.
"""

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence

from sampan.dropin.loader import Say, give_libraries, tell_failure
from sampan.dropin.state import ContainerState, StateError, gpu_minors, read_state
from sampan.injection.container_texts import (
    PARAMS,
    PROFILE_DIRECTORY,
    PROFILE_NAME,
    forbid_device_files,
    mask_minors,
    render_profile,
)
from sampan.kernel.cover import cover_file
from sampan.kernel.libc import RESOLVE_NO_SYMLINKS, openat2
from sampan.kernel.root_handle import ONE_STEP, RootHandle
from sampan.model.hook import PROGRAM, HookArgumentsError, gather_names, parse_hook_arguments

NODE_DIRECTORIES: tuple[str, ...] = ("dri", "nvidia-caps", "nvidia-caps-imex-channels")
"""Below /dev; some runtimes make the directories of nodes for root alone."""
MAXIMUM_PARAMS = 1 << 16
_FULL_RANGE = ["0", "0", "4294967295"]


class HookError(Exception):
    """The container must not start: one line says why."""


def program() -> None:
    """Be the hook: arguments, state on standard input, exit status 0 or 1."""
    os.environ.clear()
    os.chdir("/")
    os.umask(0o022)
    try:
        run_hook(sys.argv, 0, _print)
    except (HookError, HookArgumentsError, StateError) as error:
        _print(str(error))
        os._exit(1)
    except OSError as error:
        _print(f"{error.strerror}: {error.filename}")
        os._exit(1)
    # What is left to do at an interpreter's end takes milliseconds and changes nothing.
    os._exit(0)


def run_hook(words: Sequence[str], state: int, say: Say) -> None:
    """Do what the argument vector says to the container whose state is read from a descriptor.

    Raises:
        HookArgumentsError: the vector is not of the contract's form.
        StateError: the state names no container.
        HookError: the container could reach GPUs that were not given to it.
        OSError: its root cannot be opened.
    """
    request = gather_names(parse_hook_arguments(words))
    for option, value in zip(request.unknown[::2], request.unknown[1::2], strict=True):
        say(f"{option} {value[:60]} is passed over: the CDI document is newer than this hook")
    container = read_state(state)
    with RootHandle(container.root) as root:
        if os.path.samestat(os.fstat(root.descriptor), os.stat("/")):
            raise HookError("the container's root is this system's own: nothing is changed in it")
        _require_openat2(root)
        if request.params:
            _forbid_device_files(root, say)
        for path, target in request.links:
            with _said(path, say):
                root.write_link(path, target)
        for path, text in request.files:
            with _said(path, say):
                root.write_file(path, text.encode("utf-8", "surrogateescape"), 0o644)
        give_libraries(root, request, say)
        if request.application_profile:
            _name_gpus(root, container, say)
        _open_node_directories(root)


def _require_openat2(root: RootHandle) -> None:
    try:
        os.close(root.open("/", os.O_PATH))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            raise HookError("this kernel lacks openat2(2), which needs Linux 5.6") from error
        raise


def _forbid_device_files(root: RootHandle, say: Say) -> None:
    try:
        content = root.read_file(PARAMS, MAXIMUM_PARAMS)
        if content is None:
            return
        text = forbid_device_files(content.decode("utf-8", "replace"))
        if text:
            cover_file(root, PARAMS, text.encode(), 0o444)
    except OSError as error:
        said = f"{PARAMS} cannot be covered: {tell_failure(error)}"
        if not _in_user_namespace():
            raise HookError(f"{said}; the container could make nodes of other GPUs") from error
        say(f"{said}; in a user namespace no node can be made anyway")


def _in_user_namespace() -> bool:
    try:
        with open("/proc/self/uid_map") as stream:
            return stream.readline().split() != _FULL_RANGE
    except OSError:
        return False


def _name_gpus(root: RootHandle, container: ContainerState, say: Say) -> None:
    mask = mask_minors(gpu_minors(container.config))
    if mask:
        path = f"{PROFILE_DIRECTORY}/{PROFILE_NAME}"
        with _said(path, say):
            root.write_file(path, render_profile(mask).encode(), 0o644)


def _open_node_directories(root: RootHandle) -> None:
    """Let others than root into the directories of nodes, which a runtime may have closed."""
    try:
        # A link of the image at /dev could lead into a volume.
        devices = root.open("/dev", os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_NO_SYMLINKS)
    except OSError:
        return
    try:
        if os.fstat(devices).st_dev == os.stat("/dev").st_dev:
            # The host's own /dev was mounted whole: not ours to change.
            return
        for name in NODE_DIRECTORIES:
            with contextlib.suppress(OSError):
                _open_to_others(openat2(devices, name, os.O_DIRECTORY, resolve=ONE_STEP))
    finally:
        os.close(devices)


def _open_to_others(directory: int) -> None:
    try:
        mode = stat.S_IMODE(os.fstat(directory).st_mode)
        if mode & 0o055 != 0o055:
            os.fchmod(directory, mode | 0o755)
    finally:
        os.close(directory)


@contextlib.contextmanager
def _said(path: str, say: Say) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        say(f"{path} is left out: {tell_failure(error)}")


def _print(text: str) -> None:
    # One write, in bytes: no encoding of a container's environment decides how it looks.
    os.write(2, f"{PROGRAM}: {text}\n".encode("utf-8", "backslashreplace"))
