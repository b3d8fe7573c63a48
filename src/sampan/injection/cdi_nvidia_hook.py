"""Hook entries in the words of NVIDIA's own program, nvidia-cdi-hook (field note, section 1.3)."""

from sampan.injection.cdi_jobs import CACHE, COMPAT, LINKS, PARAMS, HookChoice
from sampan.model.cdi import CdiHook
from sampan.model.hook import STAGE, HookRequest

NVIDIA_ENVIRONMENT: tuple[str, ...] = ("NVIDIA_CTK_DEBUG=false",)


def nvidia_hooks(request: HookRequest, choice: HookChoice, wanted: set[str]) -> tuple[CdiHook, ...]:
    """The entries of the wanted jobs, in the order in which NVIDIA's generator has them."""
    program = choice.program
    name = program.rpartition("/")[2]
    # nvidia-ctk has the same hooks one word further down, for documents of its older versions.
    lead = (name, "hook") if name == "nvidia-ctk" else (name,)
    pairs = [
        f"{target}::{library.directory}/{link}"
        for library in request.libraries
        for link, target in library.links()
    ]
    pairs += [f"{link.target}::{link.path}" for link in request.links]
    folders = dict.fromkeys(library.directory for library in request.libraries)
    ldconfig = [f"--ldconfig-path={choice.ldconfig}"] if choice.ldconfig and folders else []
    calls: tuple[tuple[str, list[str]], ...] = (
        (LINKS, [word for pair in pairs for word in ("--link", pair)]),
        (COMPAT, _nvidia_versions(request)),
        (CACHE, [word for folder in folders for word in ("--folder", folder)] + ldconfig),
    )
    hooks = [
        CdiHook(STAGE, program, (*lead, job, *words), NVIDIA_ENVIRONMENT)
        for job, words in calls
        if words and job in wanted
    ]
    if request.params and PARAMS in wanted:
        hooks.append(CdiHook(STAGE, program, (*lead, PARAMS), NVIDIA_ENVIRONMENT))
    return tuple(hooks)


def _nvidia_versions(request: HookRequest) -> list[str]:
    """As NVIDIA's generators call it: the driver's version, or on Tegra CUDA's."""
    if request.driver_version:
        return [f"--host-driver-version={request.driver_version}"]
    if not request.cuda_version:
        return []
    root = request.compat_directory
    further = [f"--cuda-compat-container-root={root}"] if root else []
    return [f"--host-cuda-version={request.cuda_version}", *further]
