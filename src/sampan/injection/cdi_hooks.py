"""What a plan asks for beyond mounts and nodes, as hook entries of a document, or without hooks.

With ``sampan-hook`` one entry says everything (``model.hook``). With NVIDIA's ``nvidia-cdi-hook``
the entries are its own (field note, section 1.3). Without a hook every further name of a library is
one more mount of the same file: enough wherever the image's loader looks into that directory.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sampan.errors import UsageError
from sampan.injection.builder import FILE_OPTIONS
from sampan.injection.cdi_devices import resolve_target
from sampan.injection.cdi_jobs import (
    CACHE,
    COMPAT,
    JOBS,
    LINKS,
    PARAMS,
    PROFILE,
    HookChoice,
)
from sampan.injection.cdi_nvidia_hook import nvidia_hooks
from sampan.injection.compat import choose_compat_directory, is_data_centre
from sampan.model.cdi import CdiHook, CdiMount
from sampan.model.facts import COMPAT_DIRECTORY
from sampan.model.hook import (
    ENVIRONMENT,
    STAGE,
    HookArgumentsError,
    HookFile,
    HookLibrary,
    HookLink,
    HookRequest,
    render_hook_arguments,
)
from sampan.model.inventory import Inventory
from sampan.model.plan import ImportPlan, PlannedFile, PlannedLink

OTHER_DIRECTORY = "/usr/lib64"
LOADER_CACHE = "/etc/ld.so.cache"
PARAMS_FILE = "/proc/driver/nvidia/params"
PROFILE_FILE = "10-container.conf"
NO_HOOK = (
    "no hook program: libraries are mounted under each of their names where loaders look by"
    " themselves; forward compatibility and programs with an own library path need --hook-path"
)


class Rendered(NamedTuple):
    """What replaces links and files of a plan in a document; ``notes`` says what is missing."""

    mounts: tuple[CdiMount, ...]
    hooks: tuple[CdiHook, ...]
    notes: tuple[str, ...]


def render_rest(plan: ImportPlan, inventory: Inventory, choice: HookChoice) -> Rendered:
    """Links, files, the loader cache and the rest of a plan as hooks, or as mounts without them."""
    wanted = {job for job in JOBS if choice.program and job not in choice.disabled}
    files = _small_files(plan)
    tegra = inventory.platform == "tegra"
    compatible = _may_be_compatible(inventory)
    try:
        profile = any(file.path.endswith(PROFILE_FILE) for file in plan.files)
        request = HookRequest(
            libraries=_libraries(plan, inventory),
            links=_other_links(plan, inventory),
            files=() if choice.nvidia else files,
            driver_version=inventory.driver_version if compatible and not tegra else "",
            cuda_version=inventory.cuda_version if compatible else "",
            compat_directory=_compat_root(inventory, choice) if compatible else "",
            params=any(file.path == PARAMS_FILE for file in plan.files),
            application_profile=profile and not choice.nvidia,
        )
        mounts: tuple[CdiMount, ...] = ()
        notes: list[str] = []
        if LINKS not in wanted:
            mounts, notes = _mounted_links(plan)
            request = request._replace(links=(), libraries=_by_soname(request.libraries))
        hooks = nvidia_hooks if choice.nvidia else _our_hooks
        return Rendered(
            mounts,
            hooks(request, choice, wanted) if wanted else (),
            (*notes, *_missing(request, files, choice, wanted)),
        )
    except HookArgumentsError as error:
        raise UsageError(
            "a driver file has a name that no hook can be told", evidence=str(error)
        ) from error


def _our_hooks(request: HookRequest, choice: HookChoice, wanted: set[str]) -> tuple[CdiHook, ...]:
    if CACHE not in wanted:
        links = [
            HookLink(f"{library.directory}/{name}", target)
            for library in request.libraries
            for name, target in library.links()
        ]
        request = request._replace(libraries=(), links=(*links, *request.links))
    if COMPAT not in wanted or CACHE not in wanted:
        request = request._replace(driver_version="", cuda_version="", compat_directory="")
    request = request._replace(
        params=request.params and PARAMS in wanted,
        application_profile=request.application_profile and PROFILE in wanted,
    )
    if request == HookRequest():
        return ()
    return (CdiHook(STAGE, choice.program, render_hook_arguments(request), ENVIRONMENT),)


def _libraries(plan: ImportPlan, inventory: Inventory) -> tuple[HookLibrary, ...]:
    known = {library.host_path: library for library in inventory.libraries}
    links = {link.path for link in plan.links}
    libraries = []
    for mount in plan.mounts:
        library = known.get(mount.host_path)
        directory, _, file = mount.container_path.rpartition("/")
        if library is None or file != library.name:
            continue
        names = [library.soname] if library.soname != file else []
        names += [link for link in library.links if link not in names]
        present = tuple(name for name in names if f"{directory}/{name}" in links)
        libraries.append(HookLibrary(library.machine, directory, file, present))
    libraries.sort(
        key=lambda library: (library.machine != "x86_64", library.machine, library.directory)
    )
    return tuple(libraries)


def _other_links(plan: ImportPlan, inventory: Inventory) -> tuple[HookLink, ...]:
    told = {
        f"{library.directory}/{name}"
        for library in _libraries(plan, inventory)
        for name in library.names
    }
    return tuple(
        HookLink(link.path, link.target)
        for link in plan.links
        if link.path not in told and not link.path.startswith("/dev/")
    )


def _by_soname(libraries: Sequence[HookLibrary]) -> tuple[HookLibrary, ...]:
    """Every name as a file of its own, for a hook that makes no links."""
    return tuple(
        library._replace(file=name, names=())
        for library in libraries
        for name in (library.file, *library.names)
    )


def _mounted_links(plan: ImportPlan) -> tuple[tuple[CdiMount, ...], list[str]]:
    """Each link as a mount of what it leads to."""
    sources = {mount.container_path: mount.host_path for mount in plan.mounts}
    links = {link.path: link for link in plan.links}
    mounts = []
    lost = []
    for link in plan.links:
        if link.path.startswith("/dev/"):
            continue
        source = _follow(link, links, sources)
        if source:
            mounts.append(CdiMount(source, link.path, FILE_OPTIONS))
        else:
            lost.append(link.path)
    notes = [f"without the hook there is no link {path}" for path in lost]
    return tuple(mounts), notes


def spread_libraries(
    mounts: Sequence[CdiMount], inventory: Inventory, directory: str
) -> tuple[CdiMount, ...]:
    """The mounts, and those of 64-bit libraries once more where Red Hat's kind of image looks.

    Without a loader cache a library is found in the loader's own directories alone, and no
    directory is one in every image.

    Args:
        mounts: of the document.
        inventory: whose libraries they may be.
        directory: where the plan has put the 64-bit libraries.
    """
    wide = {library.host_path for library in inventory.libraries if library.bits == 64}
    again = tuple(
        mount._replace(container_path=OTHER_DIRECTORY + mount.container_path[len(directory) :])
        for mount in mounts
        if mount.host_path in wide and mount.container_path.startswith(f"{directory}/")
    )
    return (*mounts, *again) if directory != OTHER_DIRECTORY else tuple(mounts)


def _follow(link: PlannedLink, links: Mapping[str, PlannedLink], sources: Mapping[str, str]) -> str:
    for _ in range(8):
        path = resolve_target(link.path, link.target)
        if path in sources:
            return sources[path]
        if path not in links:
            break
        link = links[path]
    return ""


def _small_files(plan: ImportPlan) -> tuple[HookFile, ...]:
    """Texts that the plan writes, apart from what the hook computes in the container."""
    return tuple(
        HookFile(file.path, file.content.decode(errors="replace"))
        for file in plan.files
        if _is_small(file)
    )


def _is_small(file: PlannedFile) -> bool:
    return bool(file.content) and not (
        file.mount
        or file.path.startswith("/proc/")
        or file.path == LOADER_CACHE
        or file.path.endswith(PROFILE_FILE)
    )


def _compat_root(inventory: Inventory, choice: HookChoice) -> str:
    """Empty for the usual directory, which every hook knows."""
    tegra = inventory.platform == "tegra"
    directory = choose_compat_directory(inventory.gpus, tegra=tegra)
    return "" if directory == COMPAT_DIRECTORY else choice.compat_root or directory


def _may_be_compatible(inventory: Inventory) -> bool:
    """Whether forward compatibility may be decided: only data-centre GPUs support it."""
    some = bool(inventory.gpus) or inventory.platform == "tegra"
    return some and all(map(is_data_centre, inventory.gpus))


def _missing(
    request: HookRequest, files: Sequence[HookFile], choice: HookChoice, wanted: set[str]
) -> list[str]:
    notes = [] if choice.program else [NO_HOOK]
    if files and (choice.nvidia or not wanted):
        notes.append(
            f"left out, for only sampan-hook writes files: {', '.join(f.path for f in files)}"
        )
    if request.params and PARAMS not in wanted:
        notes.append(
            "the driver may make nodes of other GPUs in containers with CAP_MKNOD:"
            f" nothing sets ModifyDeviceFiles to 0 (hook {PARAMS})"
        )
    return notes
