"""A configuration for a root file system that has none, and ``--change`` (docker import's).

The configuration holds nothing of the machine and no time, so that equal trees make equal images.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sampan.errors import UsageError
from sampan.model.image import Platform
from sampan.model.layer import Entry

_LOADERS = {
    b"ld-linux-x86-64.so.2": "amd64",
    b"ld-musl-x86_64.so.1": "amd64",
    b"ld-linux-aarch64.so.1": "arm64",
    b"ld-musl-aarch64.so.1": "arm64",
    b"ld64.so.2": "ppc64le",
    b"ld64.so.1": "s390x",
    b"ld-linux-riscv64-lp64d.so.1": "riscv64",
    b"ld-linux-armhf.so.3": "arm",
    b"ld-musl-armhf.so.1": "arm",
    b"ld-linux.so.2": "386",
}
"""Dynamic loaders by file name: the ABI fixes it, so no file need be opened."""

_LOADER_DIRECTORIES = (b"lib", b"lib64", b"usr/lib", b"usr/lib64")


def make_config(
    platform: Platform,
    diff_ids: Sequence[str],
    changes: Sequence[str] = (),
    run: Mapping[str, Any] | None = None,
) -> bytes:
    """An OCI configuration for layers that came without one.

    Args:
        platform: of the image.
        diff_ids: of the layers.
        changes: as of ``change_config``.
        run: its ``config`` member, where that is known.

    Raises:
        UsageError: one of ``changes`` is not understood.
    """
    document: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        document["variant"] = platform.variant
    document["config"] = dict(run or {})
    document["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}
    return change_config(json.dumps(document).encode(), changes)


def change_config(config: bytes, changes: Sequence[str]) -> bytes:
    """Apply instructions of a Dockerfile to a configuration.

    Args:
        config: as it came; it stays byte by byte the same when there is no change.
        changes: e.g. ``CMD ["x"]``, ``ENV A=1 B="2 3"``, ``USER 1000``.

    Raises:
        UsageError: an instruction is not understood.
    """
    if not changes:
        return config
    document = json.loads(config)
    run = document.get("config") or {}
    document["config"] = run
    for change in changes:
        _apply(run, change)
    return json.dumps(document, sort_keys=True).encode()


def detect_architecture(entries: Iterable[Entry], host: str) -> str:
    """The architecture whose dynamic loader a tree has; the host's when it has several or none."""
    found = {
        architecture
        for entry in entries
        if (architecture := _LOADERS.get(entry.path.rpartition(b"/")[2]))
        and _is_loader_directory(entry.path.rpartition(b"/")[0])
    }
    if host in found or not found:
        return host
    return min(found - {"386"} or found)


def _is_loader_directory(directory: bytes) -> bool:
    parent, _, name = directory.rpartition(b"/")
    return directory in _LOADER_DIRECTORIES or (
        parent in _LOADER_DIRECTORIES and name.count(b"-linux-") == 1
    )


def _apply(run: dict[str, Any], change: str) -> None:
    word, _, rest = change.strip().partition(" ")
    rest = rest.strip()
    match word.upper():
        case "CMD":
            run["Cmd"] = _command(change, rest)
        case "ENTRYPOINT":
            run["Entrypoint"] = _command(change, rest)
        case "ENV":
            for name, value in _pairs(change, rest):
                kept = [e for e in run.get("Env") or [] if e.partition("=")[0] != name]
                run["Env"] = [*kept, f"{name}={value}"]
        case "LABEL":
            run["Labels"] = {**(run.get("Labels") or {}), **dict(_pairs(change, rest))}
        case "WORKDIR":
            run["WorkingDir"] = _one(change, rest)
        case "USER":
            run["User"] = _one(change, rest)
        case "STOPSIGNAL":
            run["StopSignal"] = _one(change, rest)
        case "VOLUME":
            found = _json_words(rest) or rest.split()
            run["Volumes"] = {**(run.get("Volumes") or {}), **{name: {} for name in found}}
        case "EXPOSE":
            ports: dict[str, Any] = {
                port if "/" in port else f"{port}/tcp": {} for port in rest.split()
            }
            run["ExposedPorts"] = {**(run.get("ExposedPorts") or {}), **ports}
        case _:
            raise _refusal(change, f"{word} cannot be changed")


def _command(change: str, rest: str) -> list[str]:
    if not rest:
        raise _refusal(change, "the command is missing")
    return _json_words(rest) or ["/bin/sh", "-c", rest]


def _json_words(rest: str) -> list[str] | None:
    if not rest.startswith("["):
        return None
    try:
        words = json.loads(rest)
    except (ValueError, RecursionError):
        return None
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return words
    return None


def _pairs(change: str, rest: str) -> list[tuple[str, str]]:
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise _refusal(change, str(error)) from error
    if not words:
        raise _refusal(change, "a name is missing")
    if "=" not in words[0]:
        # The old form: one name, and all the rest is its value.
        name, _, value = rest.partition(" ")
        return [(name, value.strip())]
    pairs = [(name, value) for name, _, value in (word.partition("=") for word in words)]
    if any(not name for name, _ in pairs):
        raise _refusal(change, "a name is empty")
    return pairs


def _one(change: str, rest: str) -> str:
    if not rest:
        raise _refusal(change, "its value is missing")
    return rest


def _refusal(change: str, evidence: str) -> UsageError:
    return UsageError(
        f"cannot apply --change {change!r}",
        evidence=evidence,
        remedy="CMD, ENTRYPOINT, ENV, LABEL, WORKDIR, USER, STOPSIGNAL, VOLUME, EXPOSE are known",
    )
