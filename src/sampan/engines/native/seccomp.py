"""The system call filter of the container: --security-opt seccomp, and docker's default profile.

The default is the profile that containers-common installs for podman (docker's own). It is written
for every architecture and capability set; what applies here is chosen as docker does (containers/
common, pkg/seccomp: includes and excludes), giving the runtime-spec's ``linux.seccomp``.

crun takes 50 to 80 ms to compile that at each start, so we hand it the compiled program (annotation
``run.oci.seccomp_bpf_data``) and keep that in the user's cache, under a name that changes with the
profile's file, the capabilities and the kernel.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from sampan.engines.native.cache import cache_directory, keep, read_kept
from sampan.engines.native.capabilities import number_of
from sampan.engines.native.security import SecurityOptions, SecurityWords
from sampan.errors import UsageError

DEFAULT_PROFILES = ("/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json")

_ANNOTATION = "run.oci.seccomp_bpf_data"
_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "amd64"),
    "aarch64": ("SCMP_ARCH_AARCH64", "arm64"),
}


class SeccompProfileError(UsageError):
    """The profile cannot be read."""

    id = "seccomp-profile"


def load_security(
    words: SecurityWords, capabilities: tuple[str, ...], linux: tuple[int, int], *, compiled: bool
) -> SecurityOptions:
    """Complete the security options with the filter.

    Args:
        words: of --security-opt.
        capabilities: that the container gets, without ``CAP_``.
        linux: (major, minor) of the kernel.
        compiled: the runtime takes a compiled program (crun).

    Raises:
        SeccompProfileError: a profile cannot be read.
    """
    options = SecurityOptions(words.no_new_privileges, words.apparmor_profile, words.masks)
    if words.seccomp == "unconfined":
        return options
    path = words.seccomp
    if path == "default":
        path = next((one for one in DEFAULT_PROFILES if os.path.exists(one)), "")
        if not path:
            return options
    try:
        if compiled:
            text = _compiled(path, capabilities, linux)
            return options._replace(annotations=((_ANNOTATION, text),))
        return options._replace(seccomp=_load(path, capabilities, linux))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SeccompProfileError(
            f"cannot use the seccomp profile {path}",
            evidence=f"{type(error).__name__}: {error}",
            remedy="give a profile in docker's JSON form, or seccomp=unconfined",
        ) from error


def _compiled(path: str, capabilities: tuple[str, ...], linux: tuple[int, int]) -> str:
    """The program in base64, from the cache where it is there."""
    found = os.stat(path)
    held = sum(1 << number_of(name) for name in capabilities)
    name = (
        f"{found.st_dev:x}-{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
        f"-{held:x}-{linux[0]}.{linux[1]}-{os.uname().machine}"
    )
    directory = cache_directory("seccomp")
    kept = read_kept(f"{directory}/{name}")
    if kept:
        return kept.decode("ascii")
    import binascii

    from sampan.kernel.seccomp import compile_filter

    program = compile_filter(_load(path, capabilities, linux))
    text = binascii.b2a_base64(program, newline=False)
    keep(directory, name, text)
    return text.decode("ascii")


def _load(path: str, capabilities: tuple[str, ...], linux: tuple[int, int]) -> dict[str, Any]:
    with open(path, "rb") as stream:
        profile = json.load(stream)
    return render_filter(profile, capabilities, os.uname().machine, linux)


def render_filter(
    profile: Mapping[str, Any],
    capabilities: tuple[str, ...],
    machine: str,
    linux: tuple[int, int],
) -> dict[str, Any]:
    """``linux.seccomp`` from docker's profile form.

    Args:
        profile: the document.
        capabilities: without ``CAP_``.
        machine: as uname(2) names it.
        linux: (major, minor) of the kernel, for ``minKernel``.
    """
    architecture, go_word = _ARCHITECTURES.get(machine, ("", machine))
    held = {f"CAP_{name}" for name in capabilities}
    rules = []
    for rule in profile.get("syscalls") or ():
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if not _includes(includes, held, go_word, linux) or _excludes(
            excludes, held, go_word, linux
        ):
            continue
        rendered = {"names": rule.get("names") or [rule["name"]], "action": rule["action"]}
        if rule.get("args"):
            rendered["args"] = rule["args"]
        if rule.get("errnoRet") is not None and rule["action"] == "SCMP_ACT_ERRNO":
            rendered["errnoRet"] = rule["errnoRet"]
        rules.append(rendered)
    architectures = list(profile.get("architectures") or ())
    for entry in profile.get("archMap") or ():
        if entry["architecture"] == architecture:
            architectures = [architecture, *(entry.get("subArchitectures") or ())]
    filtered = {"defaultAction": profile["defaultAction"], "syscalls": rules}
    if architectures:
        filtered["architectures"] = architectures
    if profile.get("defaultErrnoRet") is not None:
        filtered["defaultErrnoRet"] = profile["defaultErrnoRet"]
    return filtered


def _includes(
    conditions: Mapping[str, Any], held: set[str], architecture: str, linux: tuple[int, int]
) -> bool:
    if conditions.get("arches") and architecture not in conditions["arches"]:
        return False
    if conditions.get("caps") and not held.issuperset(conditions["caps"]):
        return False
    return not conditions.get("minKernel") or linux >= _version(conditions["minKernel"])


def _excludes(
    conditions: Mapping[str, Any], held: set[str], architecture: str, linux: tuple[int, int]
) -> bool:
    if architecture in (conditions.get("arches") or ()):
        return True
    if held.intersection(conditions.get("caps") or ()):
        return True
    return bool(conditions.get("minKernel")) and linux >= _version(conditions["minKernel"])


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)
