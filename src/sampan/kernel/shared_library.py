"""Loading a shared library of the host by its path (dlopen)."""

import ctypes


def load_shared_library(path: str) -> None:
    """Load the library at ``path`` into this process.

    The loader then gives this one to everybody who asks for its SONAME, whatever LD_LIBRARY_PATH
    and the loader cache say: it compares with what is loaded before it searches.

    Raises:
        OSError: it cannot be loaded.
    """
    ctypes.CDLL(path)
