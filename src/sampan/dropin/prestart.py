"""``nvidia-container-runtime-hook``: what docker adds to a container for ``--gpus`` (before 29).

A ``prestart`` hook (runtime-spec, config.md) comes when the container's ``config.json`` is already being
carried out, so the edits are made to the container itself: its mount namespace is entered, the driver
is mounted and nodes are made through descriptors, the device cgroup of v1 is opened, and our hook
does the rest. On cgroup v2 the device filter belongs to the OCI runtime and would be lost with each
change of the container's limits: there it is refused, with what to type instead. A container that
``sampan-runtime`` has edited is left alone.
"""

import errno
import json
import os
import sys
from typing import Any

from sampan.dropin.bundle import load_records
from sampan.dropin.editing import ask_planner, find_plan
from sampan.dropin.edits import read_mark
from sampan.dropin.hook import HookError, run_hook
from sampan.dropin.places import in_user_namespace, locate_directory
from sampan.dropin.refusal import Refusal, printable
from sampan.dropin.settings import SettingsError, load_settings
from sampan.dropin.state import MAXIMUM_STATE_BYTES, StateError, read_state
from sampan.dropin.wish import read_wish
from sampan.kernel.enter import join
from sampan.kernel.libc import CLONE_NEWNS
from sampan.kernel.live_container import allow_devices, bind_file, make_node, mount_tmpfs
from sampan.kernel.root_handle import RootHandle, read_stream, write_descriptor
from sampan.model.hook import PROGRAM, HookArgumentsError

NAME = "nvidia-container-runtime-hook"
REMEDY = "sudo sampan configure docker --set-as-default    or name the GPUs with --device nvidia.com/gpu=all"


def program(home: str) -> None:
    """Be the hook: exit status 0 or 1.

    Args:
        home: the directory that ``sampan install`` has made.
    """
    words = [word.lstrip("-") for word in sys.argv[1:]]
    if "version" in words:
        print("Sampan's hook of NVIDIA's name")  # noqa: T201 - it was asked for
        return
    if "prestart" not in words:
        # poststart and poststop do nothing, as the original's.
        return
    environment = dict(os.environ)
    named = [word.partition("=")[2] for word in words if word.startswith("config=")]
    if "config" in words[:-1]:
        named.append(words[words.index("config") + 1])
    if named:
        environment["NVIDIA_CTK_CONFIG_FILE_PATH"] = named[-1]
    os.chdir("/")
    os.umask(0)
    try:
        give_driver(home, environment, 0)
    except Refusal as refusal:
        _print("; ".join(line.strip() for line in refusal.lines()))
        os._exit(1)
    except (SettingsError, StateError, HookError, HookArgumentsError) as error:
        _print(str(error))
        os._exit(1)
    except OSError as error:
        _print(f"{error.strerror}: {error.filename}")
        os._exit(1)
    os._exit(0)


def give_driver(home: str, environment: dict[str, str], state: int) -> None:
    """Give the container whose state can be read from a descriptor what its configuration asks for.

    Raises:
        Refusal: it cannot be given.
        StateError, HookError, SettingsError, OSError: as their sources say.
    """
    kept = os.memfd_create("state", os.MFD_CLOEXEC)
    write_descriptor(kept, read_stream(state, MAXIMUM_STATE_BYTES + 1))
    os.lseek(kept, 0, os.SEEK_SET)
    container = read_state(kept)
    os.lseek(kept, 0, os.SEEK_SET)
    pid, bundle = _read_place(kept)
    config = container.config
    if read_mark(config) in load_records(f"{bundle}/config.json"):
        return
    system = os.geteuid() == 0 and not in_user_namespace()
    cache = locate_directory(environment, system=system)
    settings = load_settings(environment, cache)
    settings["hook"] = f"{home}/{PROGRAM}"
    settings["rootless"] = not system
    wish = read_wish(config, settings)
    if wish is None:
        return
    if wish["user_namespace"] or not system:
        raise Refusal(
            "prestart",
            "docker's --gpus cannot be met by a hook in a user namespace",
            "no device node can be made there",
            REMEDY,
        )
    plan = find_plan(wish, settings, cache, ask_planner(f"{home}/sampan-planner"))
    for text in plan.get("warnings", ()):
        _print(text)
    fragment = plan.get("fragment")
    if fragment:
        _open_cgroup(pid, config, fragment, settings)
        join(pid, CLONE_NEWNS)
        try:
            _lay(container.root, fragment)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # A link of the image may lead into a volume, from where a mount could reach the host.
            raise Refusal(
                "prestart",
                "the driver cannot be laid below a mount of the container",
                f"{error.filename} is, or leads, below one",
                REMEDY,
            ) from error
        for entry in (fragment.get("hooks") or {}).get("createContainer", ()):
            if entry["path"].rpartition("/")[2] == PROGRAM:
                os.lseek(kept, 0, os.SEEK_SET)
                os.umask(0o022)
                run_hook(entry["args"], kept, _print)


def _lay(path: str, fragment: dict[str, Any]) -> None:
    with RootHandle(path) as root:
        if os.path.samestat(os.fstat(root.descriptor), os.stat("/")):
            raise HookError("the container's root is this system's own: nothing is changed in it")
        shelf: RootHandle | None = None
        below = "/"
        for one in fragment.get("mounts") or ():
            place, words = one["destination"], one["options"]
            if one["type"] == "tmpfs":
                shelf, below = mount_tmpfs(root, place, words), f"{place}/"
            elif shelf is not None and place.startswith(below):
                # A file system that nobody but us has written to, with a root of its own.
                bind_file(shelf, place[len(below) - 1 :], one["source"], words)
            else:
                bind_file(root, place, one["source"], words)
        for node in (fragment.get("linux") or {}).get("devices") or ():
            make_node(root, node["path"], node["major"], node["minor"], node["fileMode"] & 0o777)


def _open_cgroup(
    pid: int, config: dict[str, Any], fragment: dict[str, Any], settings: dict[str, Any]
) -> None:
    resources = (fragment.get("linux") or {}).get("resources") or {}
    rules = [
        f"{rule['type']} {rule['major']}:{rule['minor']} {rule['access']}"
        for rule in resources.get("devices") or ()
    ]
    if not rules or settings["no_cgroups"] or _allows_everything(config):
        return
    try:
        allow_devices(pid, rules)
    except OSError as error:
        raise Refusal(
            "prestart",
            "the container's device filter cannot be opened for the GPUs",
            f"{error.strerror}: {error.filename}; on cgroup v2 it belongs to the OCI runtime",
            REMEDY,
        ) from error


def _allows_everything(config: dict[str, Any]) -> bool:
    """Whether the container is one with ``--privileged``."""
    resources = (config.get("linux") or {}).get("resources") or {}
    last = (resources.get("devices") or [{"allow": True}])[-1]
    return bool(last.get("allow")) and not any(
        last.get(name) not in (None, "a", -1) for name in ("type", "major", "minor")
    )


def _read_place(descriptor: int) -> tuple[int, str]:
    state = json.loads(read_stream(descriptor, MAXIMUM_STATE_BYTES))
    pid = state.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        raise StateError("the container's state names no process")
    return pid, state["bundle"]


def _print(text: str) -> None:
    os.write(2, f"{NAME}: {printable(text)}\n".encode("utf-8", "backslashreplace"))
