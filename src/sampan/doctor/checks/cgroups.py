"""Whether limits (--memory, --cpus, --pids-limit) can be applied to this user's containers."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, info, ok
from sampan.doctor.subject import Subject
from sampan.kernel.cgroups import Limits, find_layout, parse_membership, plan_unified

WANTED = Limits(memory_bytes=1, cpus=1.0, pids=1)


def check(subject: Subject) -> Iterator[Finding]:
    """The layout of the hierarchies and what is delegated to this user."""
    host = subject.host
    root = host.path("/sys/fs/cgroup")
    layout = find_layout(root)
    if layout == "none":
        yield info(
            "cgroups-none", "there is no cgroup hierarchy here, so limits cannot be applied", root,
            symptom="warning: --memory cannot be applied",
        )  # fmt: skip
        return
    if host.uid == 0:
        yield ok("cgroups", f"root can set limits; the layout is {layout}")
        return
    if layout != "unified":
        yield info(
            "cgroups-not-unified", "an ordinary user needs cgroup v2 for limits", f"the layout is {layout}",
            symptom="warning: --memory cannot be applied",
            remedy="boot with systemd.unified_cgroup_hierarchy=1",
        )  # fmt: skip
        return
    membership = parse_membership(host.read("/proc/self/cgroup"))
    if plan_unified("doctor", membership, WANTED, root).unmet:
        yield info(
            "cgroups-not-delegated", "no cgroup above this shell is delegated to this user",
            f"this process is in {membership.get('', '?')}",
            symptom="warning: --memory cannot be applied",
            remedy="systemd-run --user --scope sampan run ...",
        )  # fmt: skip
        return
    yield ok("cgroups", "this user can set limits", f"below {membership.get('', '?')}")
