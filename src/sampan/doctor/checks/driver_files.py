"""Whether the host has one driver's files only: left-over libraries of another, dangling links."""

import os
import shlex
from collections.abc import Iterator

from sampan.doctor.finding import Finding, info, ok, warning
from sampan.doctor.subject import Subject
from sampan.driver.bounded import list_names
from sampan.driver.procfs import is_driver_version
from sampan.driver.unknown import judge_files

MAXIMUM_NAMED = 5


def check(subject: Subject) -> Iterator[Finding]:
    """Look at every libcuda of the searched directories, and at files that no rule explains."""
    inventory = subject.host.inventory
    if not inventory.libraries:
        yield ok("driver-files", "no driver file is here")
        return
    found = [*_other_versions(subject), *_dangling(subject)]
    yield from found
    if inventory.platform == "discrete":
        unknown = [one.path for one in judge_files(inventory) if one.fate == "unknown"]
        if unknown:
            yield info(
                "driver-files-unknown",
                f"{len(unknown)} files of the driver are not known to us and stay on the host",
                ", ".join(unknown[:MAXIMUM_NAMED]),
                remedy="sampan driver --unknown lists them",
            )
    if not found:
        yield ok("driver-files", f"{len(inventory.libraries)} libraries, all of one driver")


def _other_versions(subject: Subject) -> Iterator[Finding]:
    inventory = subject.host.inventory
    others = []
    for directory in inventory.searched:
        for name in list_names(directory):
            stem, found, version = name.partition(".so.")
            wanted = found and stem in ("libcuda", "libnvidia-ml") and is_driver_version(version)
            if wanted and version != inventory.driver_version:
                others.append(f"{directory}/{name}")
    if others:
        yield warning(
            "driver-files-two-versions",
            "libraries of another driver release lie beside those in use; programs may load either",
            f"in use: {inventory.driver_version or '?'}; also: {', '.join(others[:MAXIMUM_NAMED])}",
            symptom="Failed to initialize NVML: Driver/library version mismatch",
            remedy=f"dpkg -S {shlex.quote(others[0])} names the package to remove; without one: sudo rm the files,"
            " then sudo ldconfig",
        )


def _dangling(subject: Subject) -> Iterator[Finding]:
    inventory = subject.host.inventory
    dangling = []
    for directory in inventory.searched:
        for name in list_names(directory):
            path = f"{directory}/{name}"
            if name.startswith(("libcuda.so", "libnvidia-ml.so")) and os.path.islink(path):
                inner = path
                if inventory.driver_root != "/":
                    inner = path.removeprefix(inventory.driver_root)
                if not subject.host.exists(inner):
                    dangling.append(path)
    if dangling:
        yield warning(
            "driver-files-dangling",
            "links of the driver lead nowhere",
            ", ".join(dangling[:MAXIMUM_NAMED]),
            symptom="libcuda.so.1: cannot open shared object file: No such file or directory",
            remedy="sudo ldconfig; if they stay: reinstall the driver's packages",
        )
