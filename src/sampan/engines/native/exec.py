"""Another process in a running container: into its outer namespaces, then the runtime's ``exec``.

The container's own config.json is the pattern for the process (environment, limits, capabilities,
security); the user's words change it. Rules: docker exec(1), runtime-spec config.md (process).
"""

import contextlib
import json
import os
import stat
from typing import Any, NamedTuple

from sampan.engines.native import runtime as runtimes
from sampan.engines.native.command_check import check_command
from sampan.engines.native.state import ContainerRecord
from sampan.engines.native.users import resolve_user
from sampan.engines.native.window import copy_window_size
from sampan.errors import SampanError
from sampan.kernel import libc
from sampan.kernel.enter import join, reset_signals
from sampan.kernel.forwarding import wait_forwarding
from sampan.kernel.inroot import resolve_in_root

_LARGEST_LISTING = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class ExecError(SampanError):
    """The container cannot be entered."""

    id = "exec"


class ExecRequest(NamedTuple):
    """What to run; empty = as the container's own process."""

    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    user: str = ""
    working_directory: str = ""
    terminal: bool = False
    interactive: bool = False
    detach: bool = False
    removed_variables: tuple[str, ...] = ()


def exec_in_container(record: ContainerRecord, request: ExecRequest) -> int:
    """Run a process in the container; return its exit code (0 at once when detached).

    This process ends up in the container's namespaces, so nothing else is to be done in it.

    Raises:
        SampanError: the container has ended, or the command cannot be started (126, 127).
    """
    runtime = runtimes.locate_runtime()
    _enter_cgroups(record.pid)
    kinds = libc.CLONE_NEWUSER | libc.CLONE_NEWNS | libc.CLONE_NEWPID
    if record.network != "host":
        kinds |= libc.CLONE_NEWNET
    uid_map = _read_lines(f"/proc/{record.pid}/uid_map")
    # Ours, for the container's /proc does not know the numbers of our children.
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        join(record.pid, kinds)
    except OSError as error:
        raise ExecError(
            f"cannot enter container {record.name}",
            evidence=f"{error.strerror} (process {record.pid})",
            remedy="sampan ps shows whether it still runs",
        ) from error
    config = _read_config(record.bundle)
    process = plan_exec(config["process"], request, *_read_listings(record.bundle))
    _verify_mapped(process["user"]["uid"], config["linux"].get("uidMappings"), uid_map, record.name)
    # A tree that changes under us, or that we may not look at, is the runtime's to judge.
    with contextlib.suppress(OSError):
        _verify_program(process, config, record)
    log = os.memfd_create("runtime-log", 0)
    document = os.memfd_create("process", 0)
    os.write(document, json.dumps(process).encode())
    managed = bool(config["linux"].get("cgroupsPath"))
    options = runtimes.runtime_options(runtime, record.crun_root, manages_cgroups=managed)
    words = [runtime.path, *options, "--log", f"/proc/self/fd/{log}", "exec"]
    words += ["--process", f"/proc/self/fd/{document}"]
    words += ["--detach"] if request.detach else []
    child = os.fork()
    if child == 0:
        _become([*words, record.id], request)
    code = wait_forwarding(child, resize=lambda: copy_window_size(child, proc))
    if code:
        text = os.pread(log, 1 << 16, 0).decode(errors="replace")
        failure = runtimes.explain_failure(runtime, text, request.arguments[0])
        if failure is not None:
            raise failure
    return code


def plan_exec(
    process: dict[str, Any], request: ExecRequest, passwd: str, group: str
) -> dict[str, Any]:
    """``process`` for the runtime: the container's, changed by the request. Pure.

    Raises:
        SampanError: the container has no such user.
    """
    planned = {**process, "args": list(request.arguments), "terminal": request.terminal}
    planned.pop("consoleSize", None)
    environment = dict(line.partition("=")[::2] for line in process.get("env", ()))
    if request.terminal:
        environment.setdefault("TERM", "xterm")
    if request.user:
        user = resolve_user(request.user, passwd, group)
        own = process.get("user", {})
        extra = [user.gid, *user.additional_gids] if own.get("additionalGids") else []
        planned["user"] = {**own, "uid": user.uid, "gid": user.gid, "additionalGids": extra}
        sets = process.get("capabilities", {})
        held = sets.get("bounding", []) if user.uid == 0 else []
        planned["capabilities"] = {**sets, "effective": held, "permitted": held}
        environment["HOME"] = user.home
    environment.update(request.environment)
    for name in request.removed_variables:
        environment.pop(name, None)
    planned["env"] = [f"{name}={value}" for name, value in environment.items()]
    if request.working_directory:
        planned["cwd"] = request.working_directory
    return planned


def _become(words: list[str], request: ExecRequest) -> None:
    try:
        if request.terminal and not request.interactive:
            # crun wants a terminal as its input; this one stays silent, as its other end, which
            # crun inherits, is never written to.
            master, silent = os.openpty()
            os.set_inheritable(master, True)
            os.dup2(silent, 0)
        elif request.detach or not request.interactive:
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        # crun makes one for a container, but none for what joins it.
        libc.join_new_keyring()
        reset_signals()
        os.execv(words[0], words)  # noqa: S606 - an argument list
    finally:
        os._exit(127)


def _enter_cgroups(pid: int) -> None:
    """Move into the groups of the container's pid 1, so that its limits hold for us too."""
    own = set(_read_lines("/proc/self/cgroup"))
    for line in _read_lines(f"/proc/{pid}/cgroup"):
        if line in own:
            continue
        _, controllers, path = line.split(":", 2)
        tree = controllers.removeprefix("name=") if controllers else ""
        for root in (
            ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
            if not tree
            else (f"/sys/fs/cgroup/{tree}",)
        ):
            # An ordinary user may lack the right; the container's limits then bind it alone.
            with contextlib.suppress(OSError), open(f"{root}{path}/cgroup.procs", "w") as stream:
                stream.write("0")


def _verify_mapped(
    uid: int, mappings: list[dict[str, int]] | None, uid_map: list[str], name: str
) -> None:
    """Refuse a user that the container's user namespace does not have."""
    if mappings is not None:
        ranges = [(one["containerID"], one["size"]) for one in mappings]
    else:
        ranges = [(int(line.split()[0]), int(line.split()[2])) for line in uid_map]
    if ranges and not any(first <= uid < first + length for first, length in ranges):
        raise ExecError(
            f"container {name} has no user id {uid}",
            evidence=f"its user namespace has {ranges[0][0]} alone, as this login has no range of "
            "subordinate ids",
            remedy=f"start the container with -u {uid}    or "
            "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER",
        )


def _verify_program(
    process: dict[str, Any], config: dict[str, Any], record: ContainerRecord
) -> None:
    """Refuse a directory or a program that the container lacks, before the runtime does."""
    rootfs = f"{record.bundle}/rootfs"
    mounted = tuple(mount["destination"] for mount in config.get("mounts", ()))
    directory: str = process["cwd"]
    path, found = resolve_in_root(rootfs, directory)
    covered = any(path == target or path.startswith(f"{target}/") for target in mounted)
    if not covered and (found is None or not stat.S_ISDIR(found.st_mode)):
        raise ExecError(
            f"container {record.name} has no directory {directory}",
            evidence="no such file or directory" if found is None else "not a directory",
            remedy="choose another with -w DIR",
        )
    command: str = process["args"][0]
    variables = dict(line.partition("=")[::2] for line in process["env"])
    # Without a PATH the runtime has one of its own, which we do not know.
    if "PATH" in variables or "/" in command:
        check_command(rootfs, command, variables.get("PATH", ""), directory, mounted)


def _read_config(bundle: str) -> dict[str, Any]:
    try:
        with open(f"{bundle}/config.json", encoding="utf-8") as stream:
            config: dict[str, Any] = json.load(stream)
    except OSError as error:
        raise ExecError(
            "cannot read the container's config.json", evidence=f"{error.strerror}: {bundle}"
        ) from error
    return config


def _read_listings(bundle: str) -> tuple[str, str]:
    """Passwd and group of the container as they are now; no link of its tree is followed."""
    try:
        etc = os.open(f"{bundle}/rootfs/etc", _DIRECTORY)
    except OSError:
        return "", ""
    try:
        return _read_listing(etc, "passwd"), _read_listing(etc, "group")
    finally:
        os.close(etc)


def _read_listing(directory: int, name: str) -> str:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return ""
        return stream.read(_LARGEST_LISTING).decode(errors="surrogateescape")


def _read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().splitlines()
    except OSError:
        return []
