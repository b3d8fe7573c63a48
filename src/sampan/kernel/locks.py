"""Advisory locks between processes and, where the file system supports it, between nodes.

``fcntl`` record locks rather than ``flock``: they work on NFS and Lustre too. The lock belongs to
the process, so it is released when the process dies in whatever way. On the container start path:
no ``pathlib``.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], *, shared: bool = False) -> Iterator[None]:
    """Hold a lock on ``path`` (created when absent, never deleted), waiting for it if needed.

    Raises:
        OSError: the file cannot be opened, or the file system has no locks (ENOLCK).
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
