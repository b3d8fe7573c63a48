"""Forward compatibility: where CUDA's own libcuda in the image leads to error 803 or 804."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, info, ok, warning
from sampan.doctor.subject import Subject
from sampan.injection.compat import decide_cuda_compat

SYMPTOM = (
    "CUDA error 803: system has unsupported display driver / cuda driver combination;"
    " 804: forward compatibility was attempted on non supported HW"
)


def check(subject: Subject) -> Iterator[Finding]:
    """NVIDIA's rule, then the class of the GPUs, then LD_LIBRARY_PATH, which overrides both."""
    image, inventory = subject.image, subject.host.inventory
    assert image is not None
    compat = image.facts.cuda_compat
    if compat is None:
        yield ok("image-compat", f"{image.name} has no forward-compatibility libraries")
        return
    if inventory.platform == "none":
        yield info(
            "image-compat-unknown", "there is no driver to decide with", f"{compat.directory} {compat.version}"
        )  # fmt: skip
        return

    def decide(*, with_gpus: bool) -> tuple[bool, str]:
        return decide_cuda_compat(
            compat,
            driver_version=inventory.driver_version,
            cuda_version=inventory.cuda_version,
            gpus=inventory.gpus if with_gpus else (),
            tegra=inventory.platform == "tegra",
        )

    use, why = decide(with_gpus=True)
    searched = image.environment.get("LD_LIBRARY_PATH", "").split(":")
    forced = any(
        path.rstrip("/") in (compat.directory, "/usr/local/cuda/compat") for path in searched
    )
    if forced and not use:
        yield warning(
            "image-compat-forced",
            f"LD_LIBRARY_PATH of {image.name} names {compat.directory}, although it does not fit here",
            f"{compat.version}: {why}",
            symptom=SYMPTOM,
            remedy="sampan run -e LD_LIBRARY_PATH= ..., or docker run -e LD_LIBRARY_PATH= ...",
        )
    elif not use and decide(with_gpus=False)[0]:
        yield warning(
            "image-compat-gpu-class",
            "NVIDIA's toolkit would put forward-compatibility libraries in use, which these GPUs refuse",
            f"{compat.version}: {why}",
            symptom=SYMPTOM,
            remedy="sampan run leaves them out; elsewhere: sudo nvidia-ctk config --set"
            " features.disable-cuda-compat-lib-hook=true --in-place",
        )
    else:
        yield ok("image-compat", f"{compat.version} {'is' if use else 'is not'} used: {why}")
