"""Whether this host meets what the image demands by NVIDIA_REQUIRE_*."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, broken, info, ok
from sampan.doctor.subject import Subject
from sampan.errors import SampanError
from sampan.gpus.requirements import check_requirements, list_requirements

SYMPTOM = "nvidia-container-cli: requirement error: unsatisfied condition: cuda>="


def check(subject: Subject) -> Iterator[Finding]:
    """Each requirement against each GPU, as ``sampan run --gpus all`` would."""
    image, inventory = subject.image, subject.host.inventory
    assert image is not None
    demands = list_requirements(image.environment)
    if not demands:
        yield ok("image-requirements", f"{image.name} demands nothing of driver or GPU")
        return
    said = "; ".join(f"{name}={text}" for name, text in demands)
    if inventory.platform == "none":
        yield info("image-requirements-unknown", "there is no driver to compare with", said)
        return
    try:
        check_requirements(image.environment, inventory, inventory.gpus)
    except SampanError as error:
        yield broken(
            "image-requirement-unmet",
            error.cause,
            error.evidence,
            symptom=SYMPTOM,
            remedy=error.remedy,
        )
        return
    yield ok("image-requirements", f"this host has what {image.name} demands", said)
