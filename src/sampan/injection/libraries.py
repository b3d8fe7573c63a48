"""The library part of a plan: which driver libraries, where, under which names, and the cache."""

from collections.abc import Iterator, Sequence

from sampan.errors import SampanError
from sampan.injection.builder import FILE_OPTIONS, PlanBuilder
from sampan.injection.compat import (
    COMPAT_NAMES,
    choose_compat_directory,
    decide_cuda_compat,
    find_compat,
)
from sampan.injection.ldcache import merge_loader_cache, render_loader_cache
from sampan.injection.places import compat32_directory, library_directory, real_directory
from sampan.model.inventory import DriverLibrary, Gpu, Inventory
from sampan.model.ldcache import (
    FLAGS_BY_MACHINE,
    LoaderCache,
    LoaderCacheError,
    LoaderEntry,
    parse_loader_cache,
)
from sampan.model.plan import PlannedFile

LEADERS: dict[str, str] = {"compute": "libcuda.so.1", "utility": "libnvidia-ml.so.1"}
EXTRA_LINKS: dict[str, tuple[str, str, str]] = {
    "libcuda.so.1": ("compute", "libcuda.so", "libcuda.so.1"),
    "libGLX_nvidia.so.0": ("graphics", "libGLX_indirect.so.0", "libGLX_nvidia.so.0"),
    "libnvidia-allocator.so.1": (
        "graphics", "gbm/nvidia-drm_gbm.so", "../libnvidia-allocator.so.1",
    ),
    "libnvidia-opticalflow.so.1": (
        "video", "libnvidia-opticalflow.so", "libnvidia-opticalflow.so.1",
    ),
    "libvdpau_nvidia.so.1": ("video", "vdpau/libvdpau_nvidia.so.1", "../libvdpau_nvidia.so.1"),
}  # fmt: skip
"""Names that programs of a capability use besides the SONAME: path and target in the library
directory."""
NEUTRAL: tuple[tuple[str, str], ...] = (
    ("libGL.so.1", "libgl1"), ("libEGL.so.1", "libegl1"), ("libvulkan.so.1", "libvulkan1"),
)  # fmt: skip


class DriverLibraryMissingError(SampanError):
    """The host lacks a library without which a capability means nothing."""

    id = "driver-library-missing"


def plan_libraries(
    builder: PlanBuilder, inventory: Inventory, wanted: Sequence[str], gpus: Sequence[Gpu]
) -> None:
    """Add the libraries of the wanted capabilities, their links and the loader cache.

    Raises:
        DriverLibraryMissingError: compute is wanted and the host has no libcuda.
    """
    facts = builder.facts
    directories = {64: library_directory(facts)}
    if "compat32" in wanted:
        narrow = compat32_directory(facts, directories[64])
        if narrow is not None:
            directories[32] = narrow
    planned: list[tuple[DriverLibrary, str]] = []
    for library in inventory.libraries:
        asking = [word for word in library.capabilities if word in wanted]
        directory = directories.get(library.bits)
        if library.capabilities and not asking:
            own = f"{real_directory(facts, library.directory)}/" if library.directory else ""
            builder.leave_out(
                own + library.name,
                f"capability {' or '.join(library.capabilities)} is not asked for",
                library.host_path,
            )
        elif directory is None:
            why = (
                "the image has no directory for 32-bit libraries"
                if "compat32" in wanted
                else "capability compat32 is not asked for"
            )
            builder.leave_out(library.name, f"32-bit: {why}", library.host_path)
        else:
            if library.directory:
                directory = real_directory(facts, library.directory)
            planned.append((library, directory))
            _plan_library(builder, library, directory, asking, inventory.driver_version)
    for library, directory in planned:
        _plan_links(builder, library, directory, wanted)
    builder.library_names.update(_loader_names(planned))
    _require_leaders(builder, inventory, wanted, planned)
    _say_masked(builder, planned)
    _plan_cache(builder, inventory, planned, gpus)
    _name_cuda_directories(builder, planned)
    if "graphics" in wanted:
        _check_neutral(builder)


def _plan_library(
    builder: PlanBuilder, library: DriverLibrary, directory: str, asking: list[str], version: str
) -> None:
    path = f"{directory}/{library.name}"
    if path in builder.facts.libraries:
        builder.add_mount_point(path)
    words = f"capability {', '.join(asking)}; " if asking else ""
    driver = f" of driver {version}" if version else ""
    builder.add_mount(library.host_path, path, FILE_OPTIONS, f"{words}{library.soname}{driver}")


def _plan_links(
    builder: PlanBuilder, library: DriverLibrary, directory: str, wanted: Sequence[str]
) -> None:
    if library.soname != library.name:
        builder.add_link(
            f"{directory}/{library.soname}", library.name, "the name programs ask the loader for"
        )
    for link in library.links:
        builder.add_link(f"{directory}/{link}", library.soname, "the host has this name too")
    capability, path, target = EXTRA_LINKS.get(library.soname, ("", "", ""))
    # Where a library lies in a directory of its own, the host's lists name its links.
    if capability in wanted and not library.directory:
        builder.add_link(f"{directory}/{path}", target, "where its loader looks for it")


def _loader_names(planned: Sequence[tuple[DriverLibrary, str]]) -> Iterator[str]:
    for library, _ in planned:
        yield from (library.name, library.soname, *library.links)
        path = EXTRA_LINKS.get(library.soname, ("", "", ""))[1]
        if path and "/" not in path:
            yield path


def _require_leaders(
    builder: PlanBuilder,
    inventory: Inventory,
    wanted: Sequence[str],
    planned: Sequence[tuple[DriverLibrary, str]],
) -> None:
    sonames = {library.soname for library, _ in planned if library.bits == 64}
    places = ", ".join(inventory.searched)
    if "compute" in wanted and LEADERS["compute"] not in sonames:
        raise DriverLibraryMissingError(
            "cannot import libcuda.so.1 (capability: compute)",
            evidence=f"driver {inventory.driver_version or 'of unknown version'}; not in {places}",
            remedy="sudo apt-get install libcuda1    or: -e NVIDIA_DRIVER_CAPABILITIES=utility",
        )
    if "utility" in wanted and LEADERS["utility"] not in sonames:
        builder.warn(
            f"the host has no libnvidia-ml.so.1 in {places}: nvidia-smi will not work in the"
            " container; Debian has it in the package libnvidia-ml1"
        )


def _say_masked(builder: PlanBuilder, planned: Sequence[tuple[DriverLibrary, str]]) -> None:
    """Explain what becomes of driver libraries that somebody left in the image."""
    stems = {library.name.partition(".so")[0] for library, _ in planned}
    for path, size in sorted(builder.facts.libraries.items()):
        name = path.rpartition("/")[2]
        if name.partition(".so")[0] not in stems:
            continue
        kind = "an empty left-over" if size == 0 else "a driver library"
        if builder.has(path):
            builder.leave_out(path, f"{kind} in the image; the host's takes its place", "image")
        else:
            builder.leave_out(
                path, f"{kind} in the image; the host's comes first in the loader cache", "image"
            )


def _plan_cache(
    builder: PlanBuilder,
    inventory: Inventory,
    planned: Sequence[tuple[DriverLibrary, str]],
    gpus: Sequence[Gpu],
) -> None:
    facts = builder.facts
    entries = _plan_compat(builder, inventory, planned, gpus)
    for library, directory in planned:
        flags = FLAGS_BY_MACHINE[library.machine]
        for name in (library.soname, *library.links):
            entries.append(LoaderEntry(name.encode(), f"{directory}/{name}".encode(), flags))
    try:
        image = parse_loader_cache(facts.loader_cache) if facts.loader_cache else LoaderCache(())
    except LoaderCacheError as error:
        image = LoaderCache(())
        builder.warn(
            f"the image's /etc/ld.so.cache cannot be read ({error}); its own loader would not use"
            " it either, so the new one lists the driver's libraries only"
        )
    merged = merge_loader_cache(
        image, entries, signed_characters=facts.architecture not in ("arm64", "arm")
    )
    builder.add_file(
        PlannedFile(
            f"{real_directory(facts, '/etc')}/ld.so.cache", render_loader_cache(merged), 0o644
        ),
        "the loader finds the driver's libraries, before others of the same name",
        f"{len(image.entries)} entries of the image, {len(merged.entries)} now",
    )


def _plan_compat(
    builder: PlanBuilder,
    inventory: Inventory,
    planned: Sequence[tuple[DriverLibrary, str]],
    gpus: Sequence[Gpu],
) -> list[LoaderEntry]:
    tegra = inventory.platform == "tegra"
    compat = find_compat(builder.facts, choose_compat_directory(gpus, tegra=tegra))
    cuda = [library for library, _ in planned if library.soname == "libcuda.so.1"]
    if compat is None or not cuda:
        return []
    decision = decide_cuda_compat(
        compat,
        driver_version=inventory.driver_version,
        cuda_version=inventory.cuda_version,
        gpus=gpus,
        tegra=tegra,
    )
    item = f"{compat.directory}/libcuda.so.{compat.version}"
    if not decision.use:
        builder.leave_out(item, f"forward compatibility: {decision.why}", "image")
        return []
    builder.say(item, f"forward compatibility: {decision.why}", "image, first in the loader cache")
    names = [name for name in COMPAT_NAMES if not compat.names or name in compat.names]
    flags = FLAGS_BY_MACHINE[cuda[0].machine]
    return [
        LoaderEntry(name.encode(), f"{compat.directory}/{name}".encode(), flags) for name in names
    ]


def _name_cuda_directories(
    builder: PlanBuilder, planned: Sequence[tuple[DriverLibrary, str]]
) -> None:
    cuda = [pair for pair in planned if pair[0].soname == "libcuda.so.1"]
    found = [directory for _, directory in sorted(cuda, key=lambda pair: -pair[0].bits)]
    if found:
        builder.set_environment(
            "NVIDIA_CTK_LIBCUDA_DIR",
            ":".join(dict.fromkeys(found)),
            "where libcuda.so.1 is, for programs that look for it themselves",
        )


def _check_neutral(builder: PlanBuilder) -> None:
    present = {path.rpartition("/")[2] for path in builder.facts.libraries}
    missing = [(name, package) for name, package in NEUTRAL if name not in present]
    for name, package in missing:
        builder.leave_out(
            name, f"vendor-neutral loader: the image's own is used (package {package})", "rule"
        )
    if missing:
        names = ", ".join(name for name, _ in missing)
        packages = " ".join(package for _, package in missing)
        builder.warn(
            f"the image has no {names}; programs that draw through them need, in the image:"
            f" apt-get install {packages}"
        )
