"""Where things go inside the image: real directories, by its facts, so that no path holds a link."""

from sampan.errors import SampanError
from sampan.model.facts import MACHINES, ImageFacts, architecture_word

MULTIARCH: dict[str, str] = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}


class LibcUnsupportedError(SampanError):
    """The image has no glibc, which the driver's libraries are built for."""

    id = "libc-unsupported"


class ImageArchitectureError(SampanError):
    """The image's programs are for another machine than the host's driver."""

    id = "image-architecture"


def require_suitable_image(facts: ImageFacts, machine: str) -> None:
    """Return when the driver's libraries of ``machine`` can be loaded in the image.

    Raises:
        ImageArchitectureError: they are for another machine.
        LibcUnsupportedError: the image's C library is musl, or it has none.
    """
    if MACHINES.get(facts.architecture) != machine:
        raise ImageArchitectureError(
            "the host's driver does not fit the image",
            evidence=f"image architecture {facts.architecture}; driver libraries for {machine}",
            remedy=f"choose the image for this machine: --platform linux/{architecture_word(machine)}",
        )
    if facts.libc == "glibc":
        return
    what = "musl" if facts.libc == "musl" else "no dynamic loader"
    raise LibcUnsupportedError(
        "NVIDIA's driver libraries need glibc, which the image does not have",
        evidence=f"the image has {what}"
        + (f" ({facts.interpreter})" if facts.interpreter else "")
        + "; no libc.so.6 for it",
        remedy="use an image with glibc (Debian, Ubuntu, Red Hat UBI, Wolfi, ...), or leave --gpus"
        " away",
    )


def real_directory(facts: ImageFacts, directory: str) -> str:
    """The real path of a container directory: its longest resolved ancestor, the rest as written."""
    head, tail = directory, ""
    while head:
        known = facts.resolved.get(head)
        if known is not None:
            return known.rstrip("/") + tail if tail else known
        head, _, last = head.rpartition("/")
        tail = f"/{last}{tail}"
    return tail or "/"


def library_directory(facts: ImageFacts) -> str:
    """Where the image's loader looks for 64-bit libraries first, without being told."""
    if facts.library_directories:
        return facts.library_directories[0]
    return real_directory(facts, "/usr/lib64")


def compat32_directory(facts: ImageFacts, wide: str) -> str | None:
    """Where the image's loader looks for 32-bit libraries; None when it has no such place.

    Debian has a directory of the triplet, Arch and old Debian ``lib32``; on Red Hat's and SUSE's
    kind of system, where the 64-bit ones lie in ``lib64``, it is ``/usr/lib`` itself.

    Args:
        facts: of the image.
        wide: where its 64-bit libraries go.
    """
    candidates = ["/usr/lib/i386-linux-gnu", "/usr/lib32"]
    if wide.endswith("/lib64"):
        candidates.append("/usr/lib")
    for candidate in candidates:
        real = real_directory(facts, candidate)
        if real in facts.directories and real != wide:
            return real
    return None
