"""config.json: the runtime-spec document of a container, from the user's words and the image's.

Rules: runtime-spec config.md and config-linux.md. Nothing is looked up here but device numbers
and our own limits; what the host can do comes in as ``HostAbilities``.
"""

import os
from typing import Any, NamedTuple

from sampan.engines.native.devices import add_devices, default_rules
from sampan.engines.native.filesystems import MASKED_PATHS, READ_ONLY_PATHS, plan_mounts
from sampan.engines.native.process import Process
from sampan.engines.native.rlimits import plan_rlimits
from sampan.engines.native.security import SecurityOptions
from sampan.engines.native.users import User
from sampan.errors import SampanError
from sampan.injection.oci import apply_plan
from sampan.kernel.userns import IdMaps
from sampan.model.container import ContainerSpec
from sampan.model.image import ImageConfig
from sampan.model.plan import ImportPlan

INIT_PATH = "/dev/init"


class HostAbilities(NamedTuple):
    """What this host and our rights in it allow.

    Attributes:
        id_maps: None = real root.
        may_raise_limits: CAP_SYS_RESOURCE.
        cgroup_view: see ``filesystems.plan_mounts``.
        runtime_manages_cgroups: limits and device rules go into config.json.
        deep_read_only: see ``filesystems.plan_mounts``.
    """

    id_maps: IdMaps | None
    may_raise_limits: bool
    cgroup_view: str
    runtime_manages_cgroups: bool
    deep_read_only: bool = False


class UserNotMappedError(SampanError):
    """The user namespace lacks the id of the container's user."""

    id = "user-not-mapped"


class Bundle(NamedTuple):
    """The document, the device rules it means, and what the user must hear."""

    config: dict[str, Any]
    device_rules: list[dict[str, Any]]
    warnings: tuple[str, ...]


def build_config(
    spec: ContainerSpec,
    image: ImageConfig,
    process: Process,
    user: User,
    plan: ImportPlan,
    host: HostAbilities,
    security: SecurityOptions,
    capabilities: tuple[str, ...],
    *,
    hostname: str,
    cgroup_path: str,
    file_sources: dict[str, str],
    init: str,
) -> Bundle:
    """Write the document.

    Args:
        spec: the user's words.
        image: the image's configuration.
        process: what runs.
        user: who runs it.
        plan: the driver import.
        host: what can be done here.
        security: --security-opt and the system call filter.
        capabilities: of the container, without ``CAP_``.
        hostname: the container's.
        cgroup_path: ``linux.cgroupsPath``; empty when the runtime manages no cgroup.
        file_sources: where the plan's mounted files lie, by container path.
        init: host path of the init program of --init; empty = none.
    """
    rootless = host.id_maps is not None
    rlimits, warnings = plan_rlimits(spec.ulimits, may_raise=host.may_raise_limits)
    arguments = list(process.arguments)
    mounts = plan_mounts(
        spec,
        image.volumes,
        rootless=rootless,
        tty_group=host.id_maps is None or not host.id_maps.single,
        cgroup=host.cgroup_view,
        deep_read_only=host.deep_read_only,
    )
    if init:
        arguments = [INIT_PATH, "--", *arguments]
        mounts.append(
            {"destination": INIT_PATH, "type": "bind", "source": init, "options": ["bind", "ro"]}
        )
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": spec.terminal,
            # The first group is among the others too, as with docker: setting the group id of a
            # program must not be a way out of what a file denies to its group.
            "user": {
                "uid": user.uid,
                "gid": user.gid,
                "umask": 0o022,
                "additionalGids": [user.gid, *user.additional_gids],
            },
            "args": arguments,
            "env": list(process.environment),
            "cwd": process.working_directory,
            "capabilities": _capability_sets(capabilities, is_root=user.uid == 0),
            "rlimits": rlimits,
            "noNewPrivileges": security.no_new_privileges,
        },
        "root": {"path": "rootfs", "readonly": spec.read_only},
        "hostname": hostname,
        "mounts": mounts,
        "linux": {
            "namespaces": _namespaces(spec, rootless=rootless),
            "resources": {"devices": default_rules()},
            "maskedPaths": list(MASKED_PATHS) if security.masks else [],
            "readonlyPaths": list(READ_ONLY_PATHS) if security.masks else [],
        },
    }
    if spec.terminal:
        rows, columns = terminal_size()
        if rows and columns:
            config["process"]["consoleSize"] = {"height": rows, "width": columns}
    if security.apparmor_profile:
        config["process"]["apparmorProfile"] = security.apparmor_profile
    if security.seccomp is not None:
        config["linux"]["seccomp"] = security.seccomp
    if security.annotations:
        config["annotations"] = dict(security.annotations)
    add_devices(config, spec.devices, bind=rootless)
    config = apply_plan(config, plan, file_sources=file_sources, bind_devices=rootless)
    if host.id_maps is not None:
        _verify_mapped(user, host.id_maps)
        _fit_groups(config, user, plan, host.id_maps)
        if host.id_maps.single and (user.uid, user.gid) != (0, 0):
            _nest_user(config, user)
    rules: list[dict[str, Any]] = config["linux"]["resources"]["devices"]
    if host.runtime_manages_cgroups:
        config["linux"]["cgroupsPath"] = cgroup_path
        _add_limits(config["linux"]["resources"], spec)
    else:
        del config["linux"]["resources"]
    return Bundle(config, rules, warnings)


def terminal_size() -> tuple[int, int]:
    """Rows and columns of our terminal; zeros when we have none."""
    for descriptor in (0, 1, 2):
        try:
            columns, rows = os.get_terminal_size(descriptor)
        except OSError:
            continue
        return rows, columns
    return 0, 0


def _namespaces(spec: ContainerSpec, *, rootless: bool) -> list[dict[str, str]]:
    # The network namespace is pid 1's: it exists before the runtime starts.
    kinds = ["pid", "mount", "uts"]
    if spec.ipc != "host":
        kinds.append("ipc")
    if not rootless:
        kinds.append("cgroup")
    return [{"type": kind} for kind in kinds]


def _capability_sets(names: tuple[str, ...], *, is_root: bool) -> dict[str, list[str]]:
    words = [f"CAP_{name}" for name in names]
    held = words if is_root else []
    return {
        "bounding": words,
        "effective": held,
        "permitted": held,
        "inheritable": [],
        "ambient": [],
    }


def _verify_mapped(user: User, maps: IdMaps) -> None:
    """Refuse a user or group beyond the login's range, on which the runtime fails without a word.

    With a single id any user will do: it is shown by a namespace of its own.
    """
    for kind, number, ranges in (("user", user.uid, maps.uids), ("group", user.gid, maps.gids)):
        if maps.single or any(0 <= number - one.inside < one.length for one in ranges):
            continue
        raise UserNotMappedError(
            f"this login cannot give a container the {kind} id {number}",
            evidence=f"its range of subordinate ids ends at "
            f"{max(one.inside + one.length for one in ranges) - 1} in the container",
            remedy=f"sudo usermod --add-sub{kind[0]}ids FIRST-LAST $USER, with more than {number} ids"
            "    or choose another -u",
        )


def _fit_groups(config: dict[str, Any], user: User, plan: ImportPlan, maps: IdMaps) -> None:
    """Leave out groups that the id map lacks; the login's own groups stay instead.

    They are what opens a GPU's node on a host that restricts it to a group. With a single id
    setgroups(2) is forbidden anyway, so the process keeps them without being asked.
    """
    additional = [] if maps.single else [user.gid, *user.additional_gids]
    config["process"]["user"]["additionalGids"] = additional
    if plan.additional_gids and not maps.single:
        config.setdefault("annotations", {})["run.oci.keep_original_groups"] = "1"


def _nest_user(config: dict[str, Any], user: User) -> None:
    """Show our one id under the number that the image's USER has: a user namespace of its own."""
    linux = config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = [{"containerID": user.uid, "hostID": 0, "size": 1}]
    linux["gidMappings"] = [{"containerID": user.gid, "hostID": 0, "size": 1}]


def _add_limits(resources: dict[str, Any], spec: ContainerSpec) -> None:
    if spec.memory_bytes is not None:
        resources["memory"] = {"limit": spec.memory_bytes, "swap": 2 * spec.memory_bytes}
    if spec.cpus is not None:
        resources["cpu"] = {"period": 100_000, "quota": int(spec.cpus * 100_000)}
    if spec.pids_limit is not None:
        resources["pids"] = {"limit": spec.pids_limit}
