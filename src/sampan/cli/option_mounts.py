"""The grammar of ``-v``, ``--mount``, ``--tmpfs`` and ``--device`` of ``docker run``.

Looks at the host only to see that a source exists. On the start path: light imports.
"""

import os
import stat
from collections.abc import Sequence

from sampan.cli.option_values import parse_boolean, parse_size, refuse_value
from sampan.errors import UsageError
from sampan.model.container import VolumeMount

_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_FLAGS = ("ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "bind", "rbind")
_MEANINGLESS = ("z", "Z", "cached", "consistent", "delegated", "nocopy", "volume-nocopy")
"""Options of -v for SELinux, macOS and named volumes; taken and without effect here."""

_TIMES = ("noatime", "relatime", "strictatime", "nodiratime")
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")


class BindSourceError(UsageError):
    """The host path of a bind mount or device does not exist."""

    id = "bind-source-missing"


def parse_volume(text: str) -> VolumeMount:
    """``-v [SOURCE:]TARGET[:OPTIONS]``; without SOURCE a fresh, empty-or-image-content volume."""
    parts = text.split(":")
    if len(parts) == 1:
        return VolumeMount("volume", "", _target("-v", text, parts[0]), ())
    if len(parts) > 3 or not parts[0]:
        refuse_value("-v", text, "SOURCE:TARGET[:OPTIONS]", "-v /data:/data:ro")
    target = _target("-v", text, parts[1])
    options = _bind_options(text, parts[2].split(",") if len(parts) == 3 else [])
    return VolumeMount("bind", _source("-v", parts[0]), target, options)


def parse_mount(text: str) -> VolumeMount:
    """``--mount type=bind|tmpfs|volume,source=…,target=…[,readonly][,…]`` (comma-separated).

    Raises:
        UsageError: a key or value that is not understood, or no target.
        BindSourceError: the source does not exist.
    """
    given = _fields(text)
    kind = given.pop("type", "volume")
    source = given.pop("source", "")
    if "target" not in given:
        refuse_value("--mount", text, "a target=PATH", "--mount type=bind,src=/data,dst=/data")
    target = _target("--mount", text, given.pop("target"))
    read_only = parse_boolean("readonly", given.pop("readonly", "false"))
    given.pop("consistency", "")
    if kind == "bind":
        mount = _bind(text, source, target, given, read_only=read_only)
    elif kind == "tmpfs" and not source:
        mount = _tmpfs(text, target, given, read_only=read_only)
    elif kind == "volume" and not source:
        given.pop("volume-nocopy", "")
        mount = VolumeMount("volume", "", target, ("ro",) if read_only else ())
    elif kind == "volume" and "/" in source:
        raise UsageError(
            f"--mount shows the directory {source} when told type=bind",
            evidence=f"{text}: without a type it is volume, whose source is a name",
            remedy=f"--mount type=bind,src={source},dst={target}",
        )
    elif kind == "volume":
        raise _named_volume(source)
    elif kind == "tmpfs":
        raise UsageError("--mount type=tmpfs has no source", evidence=text, remedy="leave it out")
    else:
        refuse_value("--mount", text, "type bind, tmpfs or volume", "--mount type=tmpfs,dst=/run")
    if given:
        raise UsageError(f"--mount type={kind} has no {', '.join(sorted(given))}", evidence=text)
    return mount


def parse_tmpfs(text: str) -> VolumeMount:
    """``--tmpfs TARGET[:OPTIONS]`` with docker's defaults noexec, nosuid, nodev."""
    target, _, words = text.partition(":")
    options = [word for word in words.split(",") if word]
    for word in options:
        name, equals, value = word.partition("=")
        if name == "size" and equals and not value.endswith("%"):
            parse_size("--tmpfs …:size", value)
        elif name not in ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", *_FLAGS, *_TIMES):
            refuse_value("--tmpfs", text, "mount options of tmpfs", "--tmpfs /run:size=64m,exec")
    implied = [one for one in _TMPFS_DEFAULTS if one.removeprefix("no") not in options]
    mode = [] if any(one.startswith("mode=") for one in options) else ["mode=1777"]
    chosen = (*dict.fromkeys([*implied, *options, *mode]),)
    return VolumeMount("tmpfs", "", _target("--tmpfs", text, target), chosen)


def split_devices(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The nodes, and the qualified CDI names, ``vendor.com/class=name``, among ``--device`` values."""
    named = [text for text in words if "=" in text and "/" in text and not text.startswith("/")]
    return [text for text in words if text not in named], named


def parse_device(text: str) -> list[tuple[str, str, str]]:
    """``--device HOST[:CONTAINER][:rwm]``; a directory stands for the nodes in it.

    Raises:
        BindSourceError: there is no such node.
    """
    parts = text.split(":")
    permissions = "rwm"
    if len(parts) > 1 and parts[-1] and set(parts[-1]) <= set("rwm"):
        permissions = parts.pop()
    if len(parts) > 2 or not parts[0].startswith("/"):
        refuse_value("--device", text, "HOST[:CONTAINER][:rwm]", "--device /dev/fuse")
    host = parts[0]
    container = parts[1] if len(parts) == 2 else host
    _target("--device", text, container)
    try:
        mode = os.stat(host).st_mode
    except OSError as error:
        raise BindSourceError(
            f"--device: no device node {host}",
            evidence=str(error.strerror),
            remedy="ls /dev lists the nodes of this host",
        ) from error
    if stat.S_ISDIR(mode):
        return _nodes_below(host, container, permissions)
    if not stat.S_ISCHR(mode) and not stat.S_ISBLK(mode):
        raise BindSourceError(f"--device: {host} is not a device node", remedy=f"-v {host}:{host}")
    return [(host, container, permissions)]


def verify_targets(mounts: list[VolumeMount]) -> None:
    """Refuse two mounts on one target, as docker does.

    Raises:
        UsageError: there are two.
    """
    seen: set[str] = set()
    for mount in mounts:
        if mount.target in seen:
            raise UsageError(f"two mounts have the target {mount.target}", remedy="drop one")
        seen.add(mount.target)


def _fields(text: str) -> dict[str, str]:
    if '"' in text:
        import csv

        words = next(csv.reader([text]))
    else:
        words = text.split(",")
    names = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
    given = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip().lower()
        given[names.get(name, name)] = value if equals else "true"
    return given


def _bind(
    text: str, source: str, target: str, given: dict[str, str], *, read_only: bool
) -> VolumeMount:
    if not source:
        refuse_value("--mount", text, "source=PATH", "--mount type=bind,src=/data,dst=/data")
    words = [given.pop("bind-propagation", "rprivate")]
    recursive = given.pop("bind-recursive", "enabled")
    if parse_boolean("bind-nonrecursive", given.pop("bind-nonrecursive", "false")):
        recursive = "disabled"
    if recursive not in ("enabled", "disabled", "readonly"):
        example = "--mount type=bind,…,readonly,bind-recursive=readonly"
        refuse_value("bind-recursive", recursive, "enabled, disabled or readonly", example)
    if recursive == "readonly" and not read_only:
        cause = "bind-recursive=readonly goes with readonly"
        raise UsageError(cause, evidence=text, remedy="add ,readonly")
    if recursive == "disabled":
        words.append("bind")
    if read_only:
        words.append("ro")
    given.pop("relabel", "")
    # Relative as with podman: what a bind mount names is never a volume.
    path = os.path.abspath(source)
    return VolumeMount("bind", _source("--mount", path), target, _bind_options(text, words))


def _tmpfs(text: str, target: str, given: dict[str, str], *, read_only: bool) -> VolumeMount:
    options = ["noexec", "nosuid", "nodev"]
    if "tmpfs-size" in given:
        options.append(f"size={parse_size('tmpfs-size', given.pop('tmpfs-size'))}")
    mode = given.pop("tmpfs-mode", "1777")
    if not mode or not set(mode) <= set("01234567"):
        refuse_value("--mount", text, "an octal tmpfs-mode", "--mount type=tmpfs,tmpfs-mode=700,…")
    options.append(f"mode={mode}")
    if read_only:
        options.append("ro")
    return VolumeMount("tmpfs", "", target, tuple(options))


def _bind_options(text: str, words: list[str]) -> tuple[str, ...]:
    chosen = [word for word in words if word and word not in _MEANINGLESS]
    for word in chosen:
        if word not in _PROPAGATIONS + _FLAGS:
            refuse_value("-v", text, f"options that exist; {word!r} is none", "-v /data:/data:ro")
    if not {"bind", "rbind"} & set(chosen):
        chosen.insert(0, "rbind")
    if not set(_PROPAGATIONS) & set(chosen):
        chosen.append("rprivate")
    return tuple(dict.fromkeys(chosen))


def _source(option: str, text: str) -> str:
    if not text.startswith(("/", ".", "~")) and "/" not in text:
        raise _named_volume(text)
    path = os.path.abspath(text)
    if not os.path.lexists(path):
        raise BindSourceError(
            f"{option}: {path} does not exist on this host",
            evidence="a bind mount shows what is there; nothing is created for it",
            remedy=f"mkdir -p {path}",
        )
    return path


def _named_volume(name: str) -> UsageError:
    return UsageError(
        f"there are no named volumes such as {name!r}",
        evidence="volumes are directories that you name",
        remedy=f"mkdir -p ~/volumes/{name} && … -v ~/volumes/{name}:TARGET    or -v ./{name}:TARGET",
    )


def _target(option: str, text: str, path: str) -> str:
    target = os.path.normpath(path) if path else ""
    if not target.startswith("/") or target in ("/", "//"):
        refuse_value(option, text, "an absolute container path other than /", f"{option} …:/data")
    return target


def _nodes_below(host: str, container: str, permissions: str) -> list[tuple[str, str, str]]:
    found = []
    for directory, _, names in os.walk(host):
        for name in sorted(names):
            path = f"{directory}/{name}"
            mode = os.lstat(path).st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                found.append((path, container + path[len(host) :], permissions))
    if not found:
        raise BindSourceError(f"--device: the directory {host} holds no device nodes")
    return found
