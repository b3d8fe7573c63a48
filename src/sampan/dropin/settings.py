"""The site's settings: ``/etc/nvidia-container-runtime/config.toml``, which NVIDIA's runtime reads too.

Keys and defaults are NVIDIA's (field note nvidia-container-toolkit, section 2), so that a site moves
without touching the file. The table ``[sampan]`` is ours: roots of a host that is not at ``/``. What
was read is kept beside the plans, since TOML costs more to read than all else. Values are plain
dictionaries: this stands on the start path.
"""

from __future__ import annotations

import os
import stat
import zlib

from sampan.dropin.places import in_user_namespace
from sampan.dropin.quick_json import decode, encode
from sampan.kernel.freshness import IDENTITY, take_marks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CONFIG = "/etc/nvidia-container-runtime/config.toml"
NAME = "nvidia-container-runtime/config.toml"
MAXIMUM_BYTES = 1 << 20
CAPABILITIES = ("compute", "compat32", "display", "graphics", "ngx", "utility", "video")

KEYS: dict[str, tuple[str, Any]] = {
    "disable-require": ("disable_require", False),
    "supported-driver-capabilities": ("supported", list(CAPABILITIES)),
    "swarm-resource": ("swarm", []),
    "accept-nvidia-visible-devices-envvar-when-unprivileged": ("accept_unprivileged", True),
    "accept-nvidia-visible-devices-as-volume-mounts": ("accept_mounts", False),
    "nvidia-container-cli.root": ("driver_root", "/"),
    "nvidia-container-cli.environment": ("environment", []),
    "nvidia-container-cli.no-cgroups": ("no_cgroups", False),
    "nvidia-container-runtime.runtimes": ("runtimes", ["runc", "crun"]),
    "nvidia-container-runtime.modes.cdi.annotation-prefixes": (
        "annotation_prefixes",
        ["cdi.k8s.io/"],
    ),
    "nvidia-container-runtime.modes.cdi.spec-dirs": ("spec_dirs", []),
    "nvidia-container-runtime.modes.jit-cdi.nvcdi-disable-hooks": ("disabled_hooks", []),
    "features.disable-cuda-compat-lib-hook": ("no_compat", False),
    "features.ignore-imex-channel-requests": ("ignore_imex", False),
    "features.no-additional-gids-for-device-nodes": ("no_gids", False),
    "sampan.dev-root": ("dev_root", ""),
    "sampan.proc-root": ("proc_root", "/proc"),
    "sampan.sys-root": ("sys_root", "/sys"),
}
"""What is read: the key's place in the file, its name here, its default."""

WITHOUT_EFFECT: frozenset[str] = frozenset(
    {
        "nvidia-container-cli.path", "nvidia-container-cli.debug", "nvidia-container-cli.ldcache",
        "nvidia-container-cli.load-kmods", "nvidia-container-cli.no-pivot",
        "nvidia-container-cli.user", "nvidia-container-cli.ldconfig",
        "nvidia-container-runtime.debug", "nvidia-container-runtime.log-level",
        "nvidia-container-runtime.mode", "nvidia-container-runtime.modes.csv.mount-spec-path",
        "nvidia-container-runtime.modes.csv.compat-container-root",
        "nvidia-container-runtime.modes.cdi.default-kind",
        "nvidia-container-runtime.modes.jit-cdi.nvcdi-feature-flags",
        "nvidia-container-runtime.modes.legacy.cuda-compat-mode",
        "nvidia-container-runtime-hook.path", "nvidia-container-runtime-hook.skip-mode-detection",
        "nvidia-ctk.path", "features.allow-cuda-compat-libs-from-container",
        "features.allow-ldconfig-from-container", "features.allow-unknown-oci-spec-fields",
        "features.disable-imex-channel-creation",
    }
)  # fmt: skip
"""NVIDIA's keys about programs and ways of working that are not here."""


class SettingsError(Exception):
    """The settings cannot be used: one line says why."""


def locate_config(environment: Mapping[str, str]) -> str:
    """Where the file would be: the variables that NVIDIA's tools obey, else the usual place."""
    named = environment.get("NVIDIA_CTK_CONFIG_FILE_PATH", "")
    if named:
        return named
    home = environment.get("XDG_CONFIG_HOME", "")
    if home.startswith("/") and os.path.exists(f"{home}/{NAME}"):
        return f"{home}/{NAME}"
    return CONFIG


def load_settings(environment: Mapping[str, str], directory: str = "") -> dict[str, Any]:
    """The settings; without a file the defaults.

    Args:
        environment: of the engine that started us.
        directory: where what was read is kept; empty = nowhere.

    Raises:
        SettingsError: the file is no TOML, a value is of the wrong kind, or others may change it.
    """
    path = locate_config(environment)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return read_settings({})[0]
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) or not _is_roots_or_own(status.st_uid):
        raise SettingsError(f"{path} is no file of root's, so it is not believed")
    if status.st_mode & 0o002:
        raise SettingsError(f"{path} may be written by everybody, so it is not believed")
    marks = take_marks([[IDENTITY, path], [IDENTITY, os.path.realpath(path)]])
    cache = f"{directory}/settings-{zlib.crc32(path.encode()):08x}.json" if directory else ""
    kept = _read_kept(cache)
    if kept.get("path") == path and kept.get("marks") == marks:
        settings: dict[str, Any] = kept["settings"]
        return settings
    settings = read_settings(read_document(path))[0]
    if cache:
        _keep(cache, encode({"path": path, "marks": marks, "settings": settings}))
    return settings


def _is_roots_or_own(owner: int) -> bool:
    if owner in (0, os.geteuid()):
        return True
    # Below a rootless engine the system's root is one of those without a number here. Others are so
    # too, but they own nothing in /etc, and nobody else names another place.
    try:
        with open("/proc/sys/kernel/overflowuid") as stream:
            return owner == int(stream.read()) and in_user_namespace()
    except (OSError, ValueError):
        return False


def read_document(path: str) -> dict[str, Any]:
    """The file as TOML.

    Raises:
        SettingsError: it is none, or cannot be read.
    """
    import tomllib

    try:
        with open(path, "rb") as stream:
            return tomllib.loads(stream.read(MAXIMUM_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is no TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error


def read_settings(document: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Settings from the file's tables, and the keys that mean nothing to anybody.

    Raises:
        SettingsError: a value is of the wrong kind.
    """
    settings = dict(KEYS.values())
    unknown = []
    for key, value in _flatten(document, ""):
        if key not in KEYS:
            if key not in WITHOUT_EFFECT:
                unknown.append(key)
            continue
        name, default = KEYS[key]
        settings[name] = _convert(key, value, default)
    return settings, unknown


def _flatten(table: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            pairs += _flatten(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs


def _convert(key: str, value: Any, default: Any) -> Any:
    if isinstance(default, bool) and isinstance(value, bool):
        return value
    if isinstance(default, str) and isinstance(value, str):
        return value or default
    if isinstance(default, list):
        words = value.split(",") if isinstance(value, str) else value
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return [word.strip() for word in words if word.strip()]
    raise SettingsError(f"the value of {key} in the configuration is not of the right kind")


def _read_kept(path: str) -> dict[str, Any]:
    if path:
        try:
            with open(path, "rb") as stream:
                kept: dict[str, Any] = decode(stream.read(MAXIMUM_BYTES))
            return kept
        except (OSError, ValueError):
            pass
    return {}


def _keep(path: str, content: bytes) -> None:
    temporary = f"{path}.{os.getpid()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError:
        # Reading it again costs milliseconds, nothing else.
        return
