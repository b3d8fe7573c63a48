"""``--digestfile`` of push and copy."""

from sampan.errors import UsageError


def write_digest(path: str | None, digest: str) -> None:
    """Write a digest where the user wants it.

    Raises:
        UsageError: the file cannot be written.
    """
    if path is None:
        return
    try:
        with open(path, "w", encoding="ascii") as stream:
            stream.write(digest)
    except OSError as error:
        raise UsageError(
            f"cannot write the digest to {path}", evidence=error.strerror or str(error)
        ) from error
