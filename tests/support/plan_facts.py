"""Facts of images as a plan sees them: a Debian-like one, and variations; what a plan leaves out."""

from sampan.model.facts import RESOLVED_DIRECTORIES, ImageFacts
from sampan.model.plan import ImportPlan

USR_MERGED = {"/bin": "/usr/bin", "/sbin": "/usr/sbin", "/lib": "/usr/lib", "/lib64": "/usr/lib64"}


def make_facts(**changes: object) -> ImageFacts:
    """A Debian 12 image with merged /usr and nothing of NVIDIA's."""
    resolved = {}
    for path in RESOLVED_DIRECTORIES:
        real = "/run" + path[8:] if path == "/var/run" or path.startswith("/var/run/") else path
        for link, target in USR_MERGED.items():
            if path == link or path.startswith(link + "/"):
                real = target + path[len(link) :]
        resolved[path] = real
    facts = ImageFacts(
        digest="sha256:" + "0" * 64,
        architecture="amd64",
        libc="glibc",
        libc_version="2.36",
        interpreter="/lib64/ld-linux-x86-64.so.2",
        resolved=resolved,
        directories=(
            "/etc", "/usr/bin", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/run", "/tmp",
        ),
        library_directories=("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"),
        loader_cache=b"",
        libraries={},
        cuda_compat=None,
        passwd="root:x:0:0:root:/root:/bin/bash\n",
        group="root:x:0:\n",
        shell="/bin/sh",
    )  # fmt: skip
    return facts._replace(**changes)  # type: ignore[arg-type]


def left_out(made: ImportPlan) -> dict[str, str]:
    """Why each item is not in the plan."""
    return {reason.item: reason.why for reason in made.reasons if not reason.included}
