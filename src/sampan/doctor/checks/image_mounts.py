"""In which way this user's images are mounted: by the kernel, by FUSE, or unpacked once."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, broken, ok, warning
from sampan.doctor.subject import Subject

INSTALL = "sudo apt-get install squashfuse"


def check(subject: Subject) -> Iterator[Finding]:
    """/dev/loop-control for root, /dev/fuse and squashfuse_ll for everybody, unsquashfs at last."""
    host = subject.host
    squashfuse = host.find_program("squashfuse_ll")
    if host.uid == 0 and host.exists("/dev/loop-control"):
        yield ok("image-mounts", "root mounts images through loop devices", "/dev/loop-control")
        return
    node = host.exists("/dev/fuse")
    if squashfuse and node and host.node_usable(host.path("/dev/fuse")):
        yield ok("image-mounts", "images are mounted by FUSE", f"/dev/fuse, {squashfuse}")
        return
    if not node:
        lacks, remedy = "there is no /dev/fuse", "sudo modprobe fuse"
    elif not squashfuse:
        lacks, remedy = "squashfuse_ll is not installed", INSTALL
    else:
        lacks, remedy = "this user may not open /dev/fuse", "sudo chmod 0666 /dev/fuse"
    if host.find_program("unsquashfs"):
        yield warning(
            "image-mounts-unpacked", "images must be unpacked before their first run: slow, and more room",
            lacks, remedy=remedy,
        )  # fmt: skip
    else:
        yield broken(
            "image-mounts-none", "images can be neither mounted nor unpacked", f"{lacks}; no unsquashfs",
            symptom="error[unpack]", remedy=f"{remedy}; sudo apt-get install squashfs-tools",
        )  # fmt: skip
