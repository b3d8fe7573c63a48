"""In which ways the image's squashfs can be mounted here, best first; unpacked as the last resort.

Real root: the kernel through a loop device, else FUSE. Ordinary users: FUSE; where there is no
FUSE, the image is unpacked once into the user's cache.
"""

import os
from typing import NamedTuple

from sampan.images.store import StoredImage
from sampan.kernel.programs import find_executable
from sampan.kernel.userns import IdMaps


class ImageWays(NamedTuple):
    """See the fields of the same names in ``rootfs.RootfsPlan``."""

    ways: tuple[str, ...]
    fuse_program: str = ""
    fuse_options: tuple[str, ...] = ()
    unpacked: str = ""


def plan_image_ways(
    stored: StoredImage, offset: int, *, rootful: bool, maps: IdMaps | None
) -> ImageWays:
    """Choose; unpacks the image when nothing else is left.

    Raises:
        SampanError: the image must be unpacked and cannot be.
    """
    ways = ["kernel"] if rootful and os.path.exists("/dev/loop-control") else []
    fuse = find_executable("squashfuse_ll")
    if fuse and os.access("/dev/fuse", os.R_OK | os.W_OK):
        ways.append("fuse")
    if ways:
        options = _squash_options(fuse) if fuse and maps is not None and maps.single else ()
        return ImageWays(tuple(ways), fuse, options)
    from sampan.engines.native.unpack import unpack_image

    return ImageWays(("unpacked",), unpacked=unpack_image(stored, offset, has_program=bool(fuse)))


def _squash_options(program: str) -> tuple[str, ...]:
    """Have every file belong to the one id that is mapped, where squashfuse can do that.

    Directories of mode 0700 of other users would be closed to the container's root otherwise.
    Versions before 0.1.105 lack the options; asking the program costs an exec, its file does not.
    """
    try:
        with open(program, "rb") as stream:
            known = b"uid=%" in stream.read(1 << 20)
    except OSError:
        return ()
    return ("uid=0", "gid=0") if known else ()
