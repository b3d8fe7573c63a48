"""User namespaces: which ids a container of an ordinary user gets, and why there may be none.

Rules: user_namespaces(7), subuid(5), newuidmap(1). Planning (pure) is apart from writing the maps.
On the start path.
"""

import os
from typing import NamedTuple

from sampan.errors import SampanError

WANTED_IDS = 65536
"""Fewer subordinate ids than these would leave ids of common images unmapped."""

_INITIAL_MAP = (0, 0, 4294967295)


class UserNamespaceError(SampanError):
    """The kernel gives this user no user namespace, or one without rights."""

    id = "user-namespace"


class IdMap(NamedTuple):
    """``length`` ids from ``inside`` on stand for the host's from ``outside`` on."""

    inside: int
    outside: int
    length: int


class IdMaps(NamedTuple):
    """The id maps of a container; ``single``: one uid and one gid, our own, and no others."""

    uids: tuple[IdMap, ...]
    gids: tuple[IdMap, ...]
    single: bool


def is_initial_namespace(uid_map: str) -> bool:
    """Whether the text of /proc/self/uid_map is that of the host's own user namespace."""
    return tuple(int(word) for word in uid_map.split()) == _INITIAL_MAP


def plan_id_maps(
    uid: int, gid: int, login: str, subuid: str, subgid: str, *, helpers: bool
) -> IdMaps:
    """Give the container's root our own ids, and where the system lent us a range, the rest too.

    Args:
        uid: our effective user id.
        gid: our effective group id.
        login: our login name, for /etc/subuid lists by either.
        subuid: content of /etc/subuid.
        subgid: content of /etc/subgid.
        helpers: newuidmap and newgidmap are installed.
    """
    own = (IdMap(0, uid, 1),), (IdMap(0, gid, 1),)
    uids = find_subordinate(subuid, uid, login)
    gids = find_subordinate(subgid, uid, login)
    if uids is None or gids is None or not helpers:
        return IdMaps(*own, single=True)
    return IdMaps(
        (*own[0], IdMap(1, uids[0], WANTED_IDS)), (*own[1], IdMap(1, gids[0], WANTED_IDS)), False
    )


def single_id_maps() -> IdMaps:
    """Only our own ids, as the container's root."""
    return IdMaps((IdMap(0, os.geteuid(), 1),), (IdMap(0, os.getegid(), 1),), single=True)


def find_subordinate(text: str, uid: int, login: str) -> tuple[int, int] | None:
    """Our first range (start, length) in /etc/subuid or /etc/subgid that is large enough."""
    for line in text.splitlines():
        owner, _, numbers = line.partition(":")
        if owner != str(uid) and not (login and owner == login):
            continue
        start, _, length = numbers.partition(":")
        if start.isdigit() and length.isdigit() and int(length) >= WANTED_IDS:
            return int(start), int(length)
    return None


def write_id_maps(pid: int, maps: IdMaps, newuidmap: str, newgidmap: str) -> None:
    """Give the new user namespace of process ``pid`` its ids, from outside it.

    Raises:
        UserNamespaceError: the kernel or newuidmap refuses.
    """
    if not maps.single:
        _run_helper(newuidmap, pid, maps.uids)
        _run_helper(newgidmap, pid, maps.gids)
        return
    try:
        # Without CAP_SETGID outside, the kernel wants setgroups(2) given up first.
        _write(f"/proc/{pid}/setgroups", "deny")
        _write(f"/proc/{pid}/gid_map", _lines(maps.gids))
        _write(f"/proc/{pid}/uid_map", _lines(maps.uids))
    except OSError as error:
        raise UserNamespaceError(
            "cannot map our user id into the container's user namespace",
            evidence=f"{error.strerror}: {error.filename}",
            remedy=explain_refusal() or "run as root, or on a host with user namespaces",
        ) from error


def explain_refusal(root: str = "/") -> str:
    """What on this host forbids user namespaces, as the command that allows them; empty unknown.

    Args:
        root: the directory that stands for the host.
    """
    if _setting(root, "kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
            "    or add an AppArmor profile with `userns,` for this Python"
        )
    if _setting(root, "kernel/unprivileged_userns_clone") == "0":
        return "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if _setting(root, "user/max_user_namespaces") == "0":
        return "sudo sysctl -w user.max_user_namespaces=15000"
    if _setting(root, "user/max_mnt_namespaces") == "0":
        return "sudo sysctl -w user.max_mnt_namespaces=15000"
    return ""


def describe_settings(root: str = "/") -> str:
    """The host's settings that bear on user namespaces, as evidence."""
    names = (
        "user/max_user_namespaces",
        "kernel/unprivileged_userns_clone",
        "kernel/apparmor_restrict_unprivileged_userns",
    )
    found = [(name.replace("/", "."), _setting(root, name)) for name in names]
    return ", ".join(f"{name}={value}" for name, value in found if value) or "no setting forbids it"


def refuse(error: OSError) -> UserNamespaceError:
    """The refusal for a failed clone or a first mount without rights."""
    return UserNamespaceError(
        "this host gives ordinary users no user namespace with the rights to mount",
        evidence=f"{error.strerror} ({describe_settings()})",
        remedy=explain_refusal()
        or "run as root, or allow user namespaces (inside another container: its seccomp profile)",
    )


def _setting(root: str, name: str) -> str:
    try:
        with open(f"{root.rstrip('/')}/proc/sys/{name}", encoding="utf-8") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def _lines(maps: tuple[IdMap, ...]) -> str:
    return "\n".join(f"{one.inside} {one.outside} {one.length}" for one in maps)


def _write(path: str, text: str) -> None:
    # One write(2): the kernel takes a map in a single call only.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(descriptor)


def _run_helper(program: str, pid: int, maps: tuple[IdMap, ...]) -> None:
    words = [program, str(pid)]
    for one in maps:
        words += [str(one.inside), str(one.outside), str(one.length)]
    reader, writer = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_DUP2, writer, 2)]
        child = os.posix_spawn(program, words, {"PATH": "/usr/bin:/bin"}, file_actions=actions)
        os.close(writer)
        writer = -1
        said = os.read(reader, 1000).decode(errors="replace").strip()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if code != 0:
        raise UserNamespaceError(
            f"{program} could not map the subordinate ids of this user",
            evidence=said or f"exit code {code}",
            remedy="check this user's lines in /etc/subuid and /etc/subgid, and that newuidmap "
            "and newgidmap are setuid root or carry cap_setuid, cap_setgid",
        )
