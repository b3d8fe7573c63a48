"""Edits of CDI documents as an import plan, for the engine that carries them out itself.

The rules are CDI's (``pkg/cdi``, container-edits; field note nvidia-container-toolkit, 5.3): what has
the path of something that is there already takes its place, variables add up. What NVIDIA's hooks
and ours would do in the container is planned here instead, from the image's facts.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from sampan.injection.cdi_devices import resolve_target
from sampan.injection.cdi_edits import planned_device, planned_mount
from sampan.injection.cdi_hook_jobs import HookJobs, read_hooks
from sampan.injection.compat import COMPAT_NAMES, decide_cuda_compat, find_compat
from sampan.injection.container_texts import (
    PARAMS,
    PROFILE_DIRECTORY,
    PROFILE_NAME,
    forbid_device_files,
    mask_minors,
    render_profile,
)
from sampan.injection.ldcache import merge_loader_cache, render_loader_cache
from sampan.injection.places import real_directory
from sampan.model.cdi import CdiDeviceNode, CdiEdits, CdiHook, CdiMount
from sampan.model.facts import MACHINES, ImageFacts
from sampan.model.hook import ENVIRONMENT
from sampan.model.ldcache import (
    FLAGS_BY_MACHINE,
    LoaderCache,
    LoaderCacheError,
    LoaderEntry,
    parse_loader_cache,
)
from sampan.model.plan import (
    ImportPlan,
    PlannedFile,
    PlannedHook,
    PlannedLink,
    Reason,
)

VISIBLE = "NVIDIA_VISIBLE_DEVICES"
LONGEST_PATH, LONGEST_NAME = 4096, 255
"""What the kernel takes (PATH_MAX, NAME_MAX)."""


class HostFacts(NamedTuple):
    """What a plan of edits must know of the host.

    Attributes:
        libraries: machine and SONAME (may be empty) of each shared library, by its host path.
        params: content of ``/proc/driver/nvidia/params``; empty without the module.
        owner: uid and gid that nodes get where a document names none.
    """

    libraries: Mapping[str, tuple[str, str]] = {}
    params: str = ""
    owner: tuple[int, int] = (0, 0)


def plan_edits(
    edits: CdiEdits,
    facts: ImageFacts,
    *,
    names: str,
    host: HostFacts = HostFacts(),  # noqa: B008 - immutable
    base: ImportPlan = ImportPlan(),  # noqa: B008 - immutable
) -> ImportPlan:
    """The plan ``base`` with the edits applied.

    Args:
        edits: resolved, their device nodes complete (``driver.cdi_nodes``).
        facts: of the image.
        names: the qualified names that they stand for, for the reasons.
        host: see there.
        base: what the container gets besides.

    Raises:
        CdiHookError: the arguments of ``sampan-hook`` cannot be understood.
    """
    plan = _Merge(base, facts, f"CDI {names}")
    for mount in edits.mounts:
        plan.add_mount(mount)
    for node in edits.device_nodes:
        plan.add_device(node, host.owner)
    for word in edits.env:
        plan.set_variable(word)
    for gid in edits.additional_gids:
        if gid:
            plan.add_group(gid)
    jobs = read_hooks(edits.hooks)
    for hook in jobs.foreign:
        plan.add_hook(hook)
    plan.warnings.update(dict.fromkeys(jobs.notes))
    for link in jobs.links:
        plan.add_link(link.path, link.target)
    for file in jobs.files:
        if not plan.refuses(file.path):
            plan.add_file(PlannedFile(plan.place(file.path), file.text.encode(), 0o644), "hook")
    _plan_loader(plan, jobs, host)
    if jobs.params and (text := forbid_device_files(host.params)):
        plan.add_file(PlannedFile(PARAMS, text.encode(), 0o444, mount=True), PARAMS)
    if jobs.application_profile and (mask := mask_minors(_minors(plan))):
        path = plan.place(f"{PROFILE_DIRECTORY}/{PROFILE_NAME}")
        plan.add_file(PlannedFile(path, render_profile(mask).encode(), 0o644), "hook")
    return plan.finish()


class _Merge:
    """A plan while edits are laid over it; what comes later replaces what has the same path."""

    def __init__(self, base: ImportPlan, facts: ImageFacts, why: str) -> None:
        self.facts = facts
        self._base = base
        self._why = why
        self.mounts = {mount.container_path: mount for mount in base.mounts}
        self.devices = {device.path: device for device in base.devices}
        self.links = {link.path: link for link in base.links}
        self.files = {file.path: file for file in base.files}
        self._environment = dict(base.environment)
        self._gids = dict.fromkeys(base.additional_gids)
        self._hooks = list(base.hooks)
        self.reasons = list(base.reasons)
        self.warnings = dict.fromkeys(base.warnings)

    def place(self, path: str) -> str:
        """A container path after the image's own links in its directories."""
        directory, _, name = path.rstrip("/").rpartition("/")
        return f"{real_directory(self.facts, directory)}/{name}" if directory else f"/{name}"

    def refuses(self, path: str) -> bool:
        """Whether a path is none that something of ours can lie at; then it is left out, and said."""
        names = [name for name in path.split("/") if name]
        fits = len(path) < LONGEST_PATH and all(len(os.fsencode(n)) <= LONGEST_NAME for n in names)
        if fits and path.startswith("/") and names and not {".", ".."} & set(names):
            return False
        self.warnings[f"{path[:200]!r} of {self._why} is left out: it is no plain path"] = None
        return True

    def add_mount(self, mount: CdiMount) -> None:
        if self.refuses(mount.container_path):
            return
        path = self.place(mount.container_path)
        self.mounts.pop(path, None)
        self.mounts[path] = planned_mount(mount, path)
        self.links.pop(path, None)
        if path in self.facts.libraries:
            # What the image has there may be a link, and mounting would follow it.
            self.files.setdefault(path, PlannedFile(path, b"", 0o444))
        self._say(path, mount.host_path)

    def add_device(self, node: CdiDeviceNode, owner: tuple[int, int]) -> None:
        self.devices.pop(node.path, None)
        self.devices[node.path] = planned_device(node, owner)
        self._say(node.path, f"{node.host_path} {node.major}:{node.minor}")

    def set_variable(self, word: str) -> None:
        name, _, value = word.partition("=")
        # ``void`` keeps a second NVIDIA layer away; what --gpus gave is said by its own value.
        if name == VISIBLE and name in self._environment:
            return
        self._environment[name] = value
        self._say(f"env {name}", value)

    def add_group(self, gid: int) -> None:
        self._gids[gid] = None
        self._say(f"group {gid}", "additionalGids")

    def add_link(self, path: str, target: str) -> None:
        if self.refuses(path):
            return
        path = self.place(path)
        if path not in self.mounts:
            self.links[path] = PlannedLink(path, target)
            self._say(path, f"link to {target}")

    def add_file(self, file: PlannedFile, source: str) -> None:
        self.files[file.path] = file
        self._say(file.path, source)

    def add_hook(self, hook: CdiHook) -> None:
        self._hooks.append(
            PlannedHook(
                hook.name,
                hook.path,
                hook.args or (hook.path,),
                hook.env or ENVIRONMENT,
                hook.timeout,
            )
        )
        self._say(f"hook {hook.name}", f"{hook.path}, run by the OCI runtime")

    def finish(self) -> ImportPlan:
        return self._base._replace(
            mounts=tuple(self.mounts.values()),
            devices=tuple(self.devices.values()),
            links=tuple(self.links.values()),
            files=tuple(self.files.values()),
            environment=tuple(self._environment.items()),
            additional_gids=tuple(self._gids),
            hooks=tuple(self._hooks),
            reasons=tuple(self.reasons),
            warnings=tuple(self.warnings),
        )

    def _say(self, item: str, source: str) -> None:
        self.reasons.append(Reason(item, True, self._why, source))


def _minors(plan: _Merge) -> list[int]:
    found = []
    for device in plan.devices.values():
        number = device.path.removeprefix("/dev/nvidia")
        if number.isascii() and number.isdecimal() and len(number) < 5:
            found.append(device.minor)
    return found


def _plan_loader(plan: _Merge, jobs: HookJobs, host: HostFacts) -> None:
    """The container's loader cache with the libraries of the jobs, the image's compat ones first."""
    if not jobs.libraries and not jobs.folders:
        return
    facts = plan.facts
    if facts.libc != "glibc":
        what = (
            "its C library is musl" if facts.libc == "musl" else "it has no dynamic loader of glibc"
        )
        plan.warnings[f"the libraries of a CDI device cannot be loaded in the image: {what}"] = None
        return
    entries = [*_compat_entries(plan, jobs), *_told_entries(plan, jobs)]
    for folder in dict.fromkeys(jobs.folders):
        entries += _folder_entries(plan, real_directory(facts, folder.rstrip("/") or "/"), host)
    path = plan.place("/etc/ld.so.cache")
    before = plan.files[path].content if path in plan.files else facts.loader_cache
    try:
        image = parse_loader_cache(before) if before else LoaderCache(())
    except LoaderCacheError as error:
        image = LoaderCache(())
        plan.warnings[f"the image's /etc/ld.so.cache cannot be read ({error}): it is replaced"] = (
            None
        )
    merged = merge_loader_cache(
        image, entries, signed_characters=facts.architecture not in ("arm64", "arm")
    )
    plan.add_file(
        PlannedFile(path, render_loader_cache(merged), 0o644),
        f"{len(image.entries)} entries before, {len(merged.entries)} now",
    )


def _compat_entries(plan: _Merge, jobs: HookJobs) -> list[LoaderEntry]:
    compat = find_compat(plan.facts, jobs.compat_directory)
    machine = MACHINES.get(plan.facts.architecture, "")
    if compat is None or not jobs.compat or machine not in FLAGS_BY_MACHINE:
        return []
    decision = decide_cuda_compat(
        compat,
        driver_version=jobs.driver_version,
        cuda_version=jobs.cuda_version,
        gpus=(),
        tegra=not jobs.driver_version,
    )
    item = f"{compat.directory}/libcuda.so.{compat.version}"
    plan.reasons.append(
        Reason(item, decision.use, f"forward compatibility: {decision.why}", "image")
    )
    if not decision.use:
        return []
    return [
        LoaderEntry(name.encode(), f"{compat.directory}/{name}".encode(), FLAGS_BY_MACHINE[machine])
        for name in COMPAT_NAMES
        if not compat.names or name in compat.names
    ]


def _told_entries(plan: _Merge, jobs: HookJobs) -> list[LoaderEntry]:
    """What ``sampan-hook`` is told library by library, and their links."""
    entries = []
    for library in jobs.libraries:
        for position, name in enumerate(library.names):
            plan.add_link(
                f"{library.directory}/{name}", library.names[0] if position else library.file
            )
        flags = FLAGS_BY_MACHINE.get(library.machine)
        directory = real_directory(plan.facts, library.directory)
        if flags is not None:
            entries += [
                LoaderEntry(name.encode(), f"{directory}/{name}".encode(), flags)
                for name in (library.file, *library.names)
            ]
    return entries


def _folder_entries(plan: _Merge, folder: str, host: HostFacts) -> list[LoaderEntry]:
    """What ldconfig would find in a folder: mounted libraries by file and SONAME, links to them."""
    machines: dict[str, str] = {}
    for path, mount in plan.mounts.items():
        directory, _, name = path.rpartition("/")
        if directory == folder and mount.host_path in host.libraries:
            machines[name], soname = host.libraries[mount.host_path]
            if soname and soname != name and f"{folder}/{soname}" not in plan.links:
                plan.add_link(f"{folder}/{soname}", name)
    pending = dict(machines)
    # A link may lead to another one.
    while pending:
        found = {}
        for link in plan.links.values():
            directory, _, name = link.path.rpartition("/")
            to, _, target = resolve_target(link.path, link.target).rpartition("/")
            if (directory, to) == (folder, folder) and target in pending and name not in machines:
                found[name] = pending[target]
        machines.update(found)
        pending = found
    return [
        LoaderEntry(name.encode(), f"{folder}/{name}".encode(), FLAGS_BY_MACHINE[machine])
        for name, machine in machines.items()
        if machine in FLAGS_BY_MACHINE and ".so" in name
    ]
