"""Driver files inside an image: baked in by a build with the NVIDIA runtime, or left as mount points."""

import re
from collections.abc import Iterator

from sampan.doctor.finding import Finding, ok, warning
from sampan.doctor.subject import Subject

DRIVER = re.compile(
    r"/lib(cuda|cudadebugger|nvcuvid|nvoptix|nvidia-[^/]*|vdpau_nvidia|glxserver_nvidia|GLX_nvidia"
    r"|EGL_nvidia|GLESv2_nvidia|GLESv1_CM_nvidia)\.so[.0-9]*$"
)
EXISTS = "nvidia-container-cli: mount error: file creation failed: /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1: file exists"
MAXIMUM_NAMED = 3
REMOVE = "RUN rm -f /usr/lib/*-linux-gnu/libcuda.so* /usr/lib/*-linux-gnu/libnvidia-*.so*"


def check(subject: Subject) -> Iterator[Finding]:
    """Three kinds by size: empty, full, and links that lead nowhere."""
    image = subject.image
    assert image is not None
    driver = {path: size for path, size in image.facts.libraries.items() if DRIVER.search(path)}
    empty = [path for path, size in driver.items() if size == 0]
    dangling = [path for path, size in driver.items() if size < 0]
    full = [path for path, size in driver.items() if size > 0]
    if empty:
        yield warning(
            "image-empty-libraries",
            f"{image.name} holds {len(empty)} empty driver libraries, left by docker commit or a build",
            _name(empty),
            symptom="libcuda.so.1: file too short",
            remedy=f"{REMOVE} (and do not commit containers that had GPUs); sampan run covers them",
        )
    if full:
        yield warning(
            "image-own-driver",
            f"{image.name} holds driver libraries of its own: they may win against the host's",
            _name(full),
            symptom=EXISTS,
            remedy=f"{REMOVE}; do not build with nvidia as docker's default runtime",
        )
    if dangling:
        yield warning(
            "image-stale-links",
            f"{image.name} holds links to driver libraries that it lacks",
            _name(dangling),
            symptom="libcuda.so.1: cannot open shared object file: No such file or directory",
            remedy=f"{REMOVE}; sampan run and current hooks replace them",
        )
    if not driver:
        yield ok("image-driver-files", f"{image.name} holds no file of a driver")


def _name(paths: list[str]) -> str:
    more = len(paths) - MAXIMUM_NAMED
    return ", ".join(paths[:MAXIMUM_NAMED]) + (f" and {more} more" if more > 0 else "")
