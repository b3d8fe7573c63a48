"""Who makes the container's control groups on this host: the runtime, we, or nobody.

- v2 and real root: the runtime, whose device rules are an eBPF program.
- v1 and hybrid, real root: we. crun refuses hybrid hosts; in pid 1's mount namespace it sees the
  v2 tree alone (``shadow``), while our v1 groups carry device rules and limits.
- v2 and an ordinary user: we, below a delegated group if there is one; no device rules are needed,
  since a user namespace gives no rights over devices.
- where limits cannot be set: a warning, as docker gives.
"""

import resource
from typing import Any, NamedTuple

from sampan.engines.native.devices import legacy_lines
from sampan.engines.native.host import Host
from sampan.engines.native.runtime import Runtime
from sampan.kernel.cgroups import (
    CgroupPlan,
    Limits,
    plan_legacy,
    plan_unified,
    runtime_directories,
)
from sampan.model.container import ContainerSpec


class CgroupChoice(NamedTuple):
    """The decision; ``plan`` completes it once the device rules are known.

    Attributes:
        layout: see ``cgroups.find_layout``.
        runtime_path: ``linux.cgroupsPath``, when the runtime makes the group; else empty.
        view: how the container sees cgroups, see ``filesystems.plan_mounts``.
        shadow: the v2 tree is bound over /sys/fs/cgroup for the runtime.
        legacy_name: name of our v1 groups; empty = none.
        membership: see ``Host``.
    """

    layout: str
    runtime_path: str
    view: str
    shadow: bool
    legacy_name: str
    limits: Limits
    membership: dict[str, str]
    unified: CgroupPlan
    warnings: tuple[str, ...]

    @property
    def guards_devices(self) -> bool:
        """Whether device rules will hold in the container."""
        return bool(self.runtime_path or self.legacy_name)

    def plan(self, device_rules: list[dict[str, Any]]) -> CgroupPlan:
        """What to make, given ``linux.resources.devices``."""
        if self.runtime_path:
            return CgroupPlan(
                directories=runtime_directories(self.runtime_path, self.layout),
                runtime_path=self.runtime_path,
            )
        if self.legacy_name:
            return plan_legacy(
                self.legacy_name, self.membership, self.limits, legacy_lines(device_rules)
            )
        return self.unified


def choose_cgroups(
    spec: ContainerSpec, host: Host, runtime: Runtime, container_id: str
) -> CgroupChoice:
    """Decide."""
    limits = Limits(spec.memory_bytes, spec.cpus, spec.pids_limit)
    choice = CgroupChoice(
        host.cgroup_layout, "", "none", False, "", limits, host.cgroup_membership, CgroupPlan(), ()
    )
    short = container_id[:32]
    if host.rootful and runtime.kind == "runc":
        return choice._replace(runtime_path=f"/sampan-{short}", view="mount")
    if host.rootful and host.cgroup_layout == "unified" and _can_load_programs(host):
        return choice._replace(runtime_path=f"/sampan-{short}", view="mount")
    if host.rootful and host.cgroup_layout in ("hybrid", "legacy"):
        hybrid = host.cgroup_layout == "hybrid"
        unmet = plan_legacy(short, host.cgroup_membership, limits, ()).unmet
        return choice._replace(
            view="bind" if hybrid else "none",
            shadow=hybrid,
            legacy_name=short,
            warnings=_warn(unmet, "this host's v1 hierarchies lack the controllers"),
        )
    shadow = host.cgroup_layout == "hybrid" and runtime.kind == "crun"
    if host.cgroup_layout != "unified":
        why = (
            "this host has no cgroup hierarchy for it"
            if host.rootful
            else "an ordinary user needs cgroup v2 for that"
        )
        return choice._replace(shadow=shadow, warnings=_warn(limits.controllers, why))
    plan = plan_unified(short, host.cgroup_membership, limits)
    why = "no cgroup above us is delegated to this user; try: systemd-run --user --scope sampan run"
    return choice._replace(unified=plan, warnings=_warn(plan.unmet, why))


def _can_load_programs(host: Host) -> bool:
    # crun raises the memlock limit before it loads its device filter, and gives up if it cannot.
    return host.may_raise_limits or resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] < 0


def _warn(controllers: tuple[str, ...], why: str) -> tuple[str, ...]:
    options = {"memory": "--memory", "cpu": "--cpus", "pids": "--pids-limit"}
    names = [options.get(name, f"the {name} controller") for name in controllers]
    return (f"{', '.join(names)} cannot be applied: {why}",) if names else ()
