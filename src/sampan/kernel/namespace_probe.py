"""Whether this user gets a user namespace with the right to mount: the act itself, in a child.

AppArmor lets the namespace be made and then forbids everything in it, so settings alone do not tell.
"""

import os

from sampan.errors import SampanError
from sampan.kernel import libc, userns
from sampan.kernel.isolated import IsolatedError, call_isolated

TIMEOUT_S = 5.0


def try_user_namespace() -> SampanError | None:
    """Make namespaces and one mount in a child, which ends at once; None when that works."""
    try:
        answer = call_isolated(_try, timeout_s=TIMEOUT_S).decode()
    except (IsolatedError, OSError) as error:
        return userns.refuse(OSError(0, str(error)))
    if not answer:
        return None
    number = int(answer)
    return userns.refuse(OSError(number, os.strerror(number)))


def _try() -> bytes:
    try:
        libc.unshare(libc.CLONE_NEWUSER | libc.CLONE_NEWNS)
        libc.mount("none", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
        libc.mount("none", "/proc", "tmpfs")
    except OSError as error:
        return str(error.errno).encode()
    return b""
