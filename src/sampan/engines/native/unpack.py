"""Unpacking an image into the user's cache, where neither the kernel nor FUSE can mount it.

Once per image: later starts find the tree. As an ordinary user every file becomes the user's, and
device nodes are left out; that is what a single-id container sees in any case. The tree appears
whole or not at all, and its modification time tells a later clean-up when it was made.
"""

import contextlib
import os

from sampan.engines.native.cache import cache_directory
from sampan.errors import SampanError
from sampan.images.store import StoredImage
from sampan.kernel.locks import locked
from sampan.kernel.programs import find_executable


class UnpackError(SampanError):
    """The image can be neither mounted nor unpacked."""

    id = "unpack"


def unpack_image(stored: StoredImage, offset: int, *, has_program: bool) -> str:
    """Directory with the unpacked image, made now if it is not there.

    Args:
        stored: the image.
        offset: where the squashfs begins in its file.
        has_program: squashfuse_ll is installed, so that only /dev/fuse stands in the way.

    Raises:
        UnpackError: unsquashfs is not installed, or failed.
    """
    cache = cache_directory("unpacked")
    target = f"{cache}/{stored.digest.removeprefix('sha256:')}"
    if os.path.isdir(target):
        return target
    remedy = (
        "sudo chmod 0666 /dev/fuse    (or: sudo modprobe fuse)"
        if has_program
        else "sudo apt-get install squashfuse    (or squashfs-tools, to unpack)"
    )
    program = find_executable("unsquashfs")
    if not program:
        raise UnpackError(
            f"cannot mount {stored.sif_path}",
            evidence=f"{_why_not_fuse(has_program)}; unsquashfs, to unpack it, is not installed",
            remedy=remedy,
        )
    os.makedirs(cache, 0o700, exist_ok=True)
    with locked(f"{cache}/lock"):
        if not os.path.isdir(target):
            _unpack(program, stored.sif_path, offset, target, remedy)
    return target


def _unpack(program: str, image: str, offset: int, target: str, remedy: str) -> None:
    from sampan.kernel.process import run_program
    from sampan.kernel.trees import remove_tree

    temporary = f"{target}.partial"
    with contextlib.suppress(FileNotFoundError):
        remove_tree(temporary)
    words = [program, "-no-progress", "-quiet", "-offset", str(offset), "-dest", temporary, image]
    done = run_program(words, check=False)
    # 2: all was unpacked but what an ordinary user may not make: owners, device nodes, xattrs.
    if done.returncode not in ((0,) if os.geteuid() == 0 else (0, 2)):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        remove_tree(temporary)
        raise UnpackError(
            f"cannot unpack {image}",
            evidence="; ".join(said[-2:]) or f"unsquashfs ended with {done.returncode}",
            remedy=remedy,
        )
    os.rename(temporary, target)


def _why_not_fuse(has_program: bool) -> str:
    if not has_program:
        return "squashfuse_ll is not installed"
    return "/dev/fuse cannot be opened" if os.path.exists("/dev/fuse") else "there is no /dev/fuse"
