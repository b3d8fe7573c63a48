"""Whether an image can draw: the capability that it asks for, and the loaders that it must hold."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, ok, warning
from sampan.doctor.subject import Subject
from sampan.gpus.variables import DRIVER_CAPABILITIES

LOADERS = (
    ("libvulkan.so.1", "Vulkan", "libvulkan1"),
    ("libEGL.so.1", "EGL", "libegl1"),
    ("libGL.so.1", "OpenGL", "libgl1"),
)
SYMPTOM = "ERROR_INCOMPATIBLE_DRIVER; eglInitialize failed; libGL error: failed to load driver"


def check(subject: Subject) -> Iterator[Finding]:
    """Loaders without the capability, the capability without loaders."""
    image = subject.image
    assert image is not None
    words = {word.strip() for word in image.environment.get(DRIVER_CAPABILITIES, "").split(",")}
    asked = bool(words & {"all", "graphics", "display"})
    names = {path.rpartition("/")[2] for path in image.facts.libraries}
    present = [what for name, what, _ in LOADERS if name in names]
    said = f"{DRIVER_CAPABILITIES}={image.environment.get(DRIVER_CAPABILITIES, '(not set)')}"
    if present and not asked:
        yield warning(
            "image-graphics-not-asked",
            f"{image.name} has the loaders of {', '.join(present)}, but does not ask for the"
            " capability graphics: the driver's part stays away",
            said,
            symptom=SYMPTOM,
            remedy=f"sampan run -e {DRIVER_CAPABILITIES}=all ..., or ENV {DRIVER_CAPABILITIES}=all"
            " in the image",
        )
    elif asked and not present and words != {"all"}:
        packages = " ".join(package for _, _, package in LOADERS)
        yield warning(
            "image-graphics-no-loader",
            f"{image.name} asks for graphics but holds no loader of Vulkan, EGL or OpenGL",
            said,
            symptom=SYMPTOM,
            remedy=f"RUN apt-get update && apt-get install -y {packages} libxext6",
        )
    else:
        yield ok("image-graphics", f"loaders: {', '.join(present) or 'none'}", said)
