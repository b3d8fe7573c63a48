"""One client of an origin in a process: layers, plans and transfers share its connections and tokens."""

import contextlib
import os
from collections.abc import Iterator

from sampan.registry.client import Origin, RegistryClient

_clients: dict[Origin, RegistryClient] = {}
_keeping: list[bool] = []


def shared_client(origin: Origin) -> RegistryClient:
    """The client of an origin, one in a process."""
    # Two threads at once: the second's client is dropped before it has done anything.
    return _clients.setdefault(origin, RegistryClient(origin, os.environ))


@contextlib.contextmanager
def kept_clients() -> Iterator[None]:
    """Keep the shared clients of this process until the end, whoever closes them meanwhile."""
    _keeping.append(True)
    try:
        yield
    finally:
        _keeping.pop()
        for origin in list(_clients):
            close_client(origin)


def close_client(origin: Origin) -> None:
    """Close the shared client's connections and forget its tokens, unless clients are kept."""
    if _keeping:
        return
    client = _clients.pop(origin, None)
    if client is not None:
        client.close()
