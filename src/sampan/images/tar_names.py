"""What the names in a layer may be, and what ``.wh.`` names mean.

Rules: OCI image spec, layer.md (whiteouts, opaque whiteouts); names are bytes, never decoded.
A name is refused here when no file of that name could be made below the image's root.
"""

from sampan.images.limits import Limits
from sampan.images.tar_headers import HeaderError
from sampan.model.layer import EntryKind

MAX_COMPONENT = 255
MAX_SYMLINK = 4095

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."


def normalise(name: bytes, limits: Limits) -> bytes:
    """``name`` without leading, trailing and doubled ``/`` and without ``.`` parts.

    Raises:
        HeaderError: it is empty, too long, holds a NUL, or has a ``..`` part.
    """
    if not name:
        raise HeaderError("it has no name")
    if b"\0" in name:
        raise HeaderError("its name holds a NUL byte")
    if len(name) > limits.max_path_bytes:
        raise HeaderError(f"its name has {len(name)} bytes", limit="max_path_bytes")
    parts = name.split(b"/")
    if b"" in parts or b"." in parts:
        parts = [part for part in parts if part and part != b"."]
    if b".." in parts:
        raise HeaderError("its name leaves the image's tree ('..')")
    path = b"/".join(parts)
    if len(path) > MAX_COMPONENT and max(map(len, parts)) > MAX_COMPONENT:
        raise HeaderError(f"a part of its name is longer than {MAX_COMPONENT} bytes")
    return path


def check_symlink(target: bytes) -> None:
    """Refuse a symlink target that Linux could not hold.

    Raises:
        HeaderError: it is empty, too long, or holds a NUL.
    """
    if not target:
        raise HeaderError("its link target is empty")
    if b"\0" in target:
        raise HeaderError("its link target holds a NUL byte")
    if len(target) > MAX_SYMLINK:
        raise HeaderError(f"its link target is longer than {MAX_SYMLINK} bytes")


def read_whiteout(path: bytes) -> tuple[EntryKind, bytes] | None:
    """What a normalised path with a ``.wh.`` part stands for, or None when the entry is skipped.

    Returns:
        WHITEOUT and the path it removes, or OPAQUE and the directory it empties. None for the
        other names that aufs reserved for itself (``.wh..wh.plnk`` and what lies below it).

    Raises:
        HeaderError: it hides nothing that could exist, or has entries below it.
    """
    parts = path.split(b"/")
    last = parts.pop()
    for part in parts:
        if part.startswith(_AUFS):
            return None
        if part.startswith(_WHITEOUT):
            raise HeaderError("it lies below a whiteout, which is no directory")
    if last == _OPAQUE:
        return EntryKind.OPAQUE, b"/".join(parts)
    if last.startswith(_AUFS):
        return None
    hidden = last[len(_WHITEOUT) :]
    if hidden in (b"", b".", b".."):
        raise HeaderError("it is a whiteout of nothing")
    return EntryKind.WHITEOUT, b"/".join([*parts, hidden])


def holds_whiteout(path: bytes) -> bool:
    """Whether some part of ``path`` begins with ``.wh.``; cheap, asked for every entry."""
    return _WHITEOUT in path and (path.startswith(_WHITEOUT) or b"/.wh." in path)
