"""What the known hooks of CDI documents would do, as data: our engine does it itself.

Known are ``sampan-hook`` (``model.hook``), ``nvidia-cdi-hook`` and its older form ``nvidia-ctk hook``
(field note nvidia-container-toolkit, section 1.3). They are told by the program's file name, are
never run, and need not be installed. Hooks of other vendors are left to the OCI runtime.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sampan.errors import SampanError
from sampan.model.cdi import CdiHook
from sampan.model.hook import (
    PROGRAM,
    HookArgumentsError,
    HookFile,
    HookLibrary,
    HookLink,
    gather_names,
    parse_hook_arguments,
)

NVIDIA_HOOK, NVIDIA_ADMIN = "nvidia-cdi-hook", "nvidia-ctk"
WITHOUT_EFFECT: tuple[str, ...] = ("chmod", "noop")
"""Directories of nodes are open to everybody in our containers."""


class CdiHookError(SampanError):
    """A hook of a CDI document cannot be understood, or must not be run."""

    id = "cdi-hook"


class HookJobs(NamedTuple):
    """What the known hooks of some edits ask for together.

    Attributes:
        libraries: of ``sampan-hook``, each with its names.
        folders: of ``update-ldcache``: whatever library is mounted there is to be found.
        compat: whether forward compatibility is to be decided, against ``driver_version`` and
            ``cuda_version``.
        compat_directory: where its libraries are; empty = the usual place.
        foreign: hooks of other vendors.
        notes: what is passed over, for the user.
    """

    libraries: tuple[HookLibrary, ...] = ()
    folders: tuple[str, ...] = ()
    links: tuple[HookLink, ...] = ()
    files: tuple[HookFile, ...] = ()
    compat: bool = False
    compat_directory: str = ""
    driver_version: str = ""
    cuda_version: str = ""
    params: bool = False
    application_profile: bool = False
    foreign: tuple[CdiHook, ...] = ()
    notes: tuple[str, ...] = ()


def read_hooks(hooks: Sequence[CdiHook]) -> HookJobs:
    """Sort the hooks of some edits.

    Raises:
        CdiHookError: the arguments of ``sampan-hook`` are not of its form.
    """
    jobs = HookJobs()
    for hook in hooks:
        program = hook.path.rpartition("/")[2]
        if program == PROGRAM:
            jobs = _read_ours(hook, jobs)
        elif program == NVIDIA_HOOK:
            jobs = _read_nvidia(hook.args[1:], jobs)
        elif program == NVIDIA_ADMIN and hook.args[1:2] == ("hook",):
            jobs = _read_nvidia(hook.args[2:], jobs)
        else:
            jobs = jobs._replace(foreign=(*jobs.foreign, hook))
    return jobs


def _read_ours(hook: CdiHook, jobs: HookJobs) -> HookJobs:
    try:
        request = gather_names(parse_hook_arguments(hook.args))
    except HookArgumentsError as error:
        raise CdiHookError(
            f"the arguments of {hook.path} in a CDI document cannot be understood",
            evidence=str(error),
            remedy="sudo sampan cdi refresh",
        ) from error
    notes = tuple(f"{option} of {PROGRAM} is passed over" for option in request.unknown[::2])
    return jobs._replace(
        libraries=(*jobs.libraries, *request.libraries),
        links=(*jobs.links, *request.links),
        files=(*jobs.files, *request.files),
        compat=jobs.compat or bool(request.driver_version or request.cuda_version),
        driver_version=request.driver_version or jobs.driver_version,
        cuda_version=request.cuda_version or jobs.cuda_version,
        compat_directory=request.compat_directory or jobs.compat_directory,
        params=jobs.params or request.params,
        application_profile=jobs.application_profile or request.application_profile,
        notes=(*jobs.notes, *notes),
    )


def _read_nvidia(words: Sequence[str], jobs: HookJobs) -> HookJobs:
    name = words[0] if words else ""
    options = _read_options(words[1:])
    if name == "create-symlinks":
        links = tuple(
            HookLink(path, target)
            for target, separator, path in (
                word.partition("::") for word in options.get("link", ())
            )
            if separator and target and path.startswith("/")
        )
        return jobs._replace(links=(*jobs.links, *links))
    if name == "update-ldcache":
        folders = tuple(word for word in options.get("folder", ()) if word.startswith("/"))
        return jobs._replace(folders=(*jobs.folders, *folders))
    if name == "enable-cuda-compat":
        driver = options.get("host-driver-version", ("",))[-1]
        cuda = options.get("host-cuda-version", ("",))[-1]
        # Told neither version, the original does nothing.
        return jobs._replace(
            compat=jobs.compat or bool(driver or cuda),
            compat_directory=options.get("cuda-compat-container-root", ("",))[-1],
            driver_version=driver,
            cuda_version=cuda,
        )
    if name == "disable-device-node-modification":
        return jobs._replace(params=True)
    if name == "update-application-profile":
        return jobs._replace(application_profile=True)
    if name in WITHOUT_EFFECT:
        return jobs
    note = f"the hook {name!r} of {NVIDIA_HOOK} is passed over: it is not known here"
    return jobs._replace(notes=(*jobs.notes, note))


def _read_options(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``--name value`` and ``--name=value``, either with one dash; lists are repeated or have commas."""
    options: dict[str, tuple[str, ...]] = {}
    position = 0
    while position < len(words):
        name, equals, value = words[position].lstrip("-").partition("=")
        is_option = words[position].startswith("-")
        position += 1
        if not is_option:
            continue
        if not equals and position < len(words) and not words[position].startswith("-"):
            value = words[position]
            position += 1
        options[name] = (*options.get(name, ()), *(word for word in value.split(",") if word))
    return options
