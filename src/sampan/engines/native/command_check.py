"""Whether the container's program and working directory exist, looked up before the runtime does.

The runtime finds out too, but prints a line of its own into the container's standard error. Nothing
is decided here about paths that a mount may provide: those are left to the runtime.
"""

import stat

from sampan.engines.native.runtime import ContainerStartError
from sampan.errors import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND
from sampan.kernel.inroot import resolve_in_root


def check_command(
    rootfs: str, command: str, search: str, directory: str, mounted: tuple[str, ...]
) -> None:
    """Look for the program in the container's root directory.

    Args:
        rootfs: the mounted root directory.
        command: the program's word.
        search: the container's PATH.
        directory: the container's working directory.
        mounted: container paths on which something will be mounted.

    Raises:
        ContainerStartError: it is nowhere (127), or cannot be executed (126); or what the working
            directory names is none (125).
    """
    place, there = resolve_in_root(rootfs, directory)
    covered = any(place == target or place.startswith(f"{target}/") for target in mounted)
    if there is not None and not stat.S_ISDIR(there.st_mode) and not covered:
        raise ContainerStartError(
            f"the working directory {directory} is no directory",
            evidence=f"{place} has mode {stat.filemode(there.st_mode)}",
            remedy="choose another with -w DIR",
        )
    if "/" in command:
        candidates = [command if command.startswith("/") else f"{directory}/{command}"]
    else:
        candidates = [f"{entry or directory}/{command}" for entry in search.split(":")]
    refused = ""
    for candidate in candidates:
        path, found = resolve_in_root(rootfs, candidate)
        if any(path == target or path.startswith(f"{target}/") for target in mounted):
            return
        if found is None:
            continue
        if stat.S_ISREG(found.st_mode) and found.st_mode & 0o111:
            return
        refused = refused or f"{path} has mode {stat.filemode(found.st_mode)}"
    if refused and "/" in command:
        error = ContainerStartError(
            f"{command!r} cannot be executed",
            evidence=refused,
            remedy="name a program; a script needs its interpreter in front: sh FILE",
        )
        error.exit_code = EXIT_NOT_EXECUTABLE
        raise error
    error = ContainerStartError(
        f"the image has no program {command!r}",
        evidence=f"not in {search}" if "/" not in command else f"no file {candidates[0]}",
        remedy="name one that is in the image's PATH, or by its absolute path",
    )
    error.exit_code = EXIT_NOT_FOUND
    raise error
