"""Connecting to a host with several addresses: the next one is tried while the last still hangs.

RFC 8305 in short: families alternate in the order of the resolver, a new attempt begins every
quarter of a second, the first that connects wins. One dead address (IPv6 where it is not routed) then
costs a quarter of a second, not the whole timeout.
"""

import contextlib
import errno
import os
import selectors
import socket
import time
from itertools import chain, zip_longest
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

_STAGGER_S = 0.25
_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


def connect_any(host: str, port: int, timeout_s: float | None) -> socket.socket:
    """A connected socket, blocking.

    Raises:
        socket.gaierror: no such name.
        TimeoutError: nobody answered in time.
        OSError: every address refused or has no route; the last one's reason.
    """
    # An IDNA error of a hostile redirect is no crash.
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, "no valid host name") from error
    return _race(_alternate(found), timeout_s)


def _alternate(found: list[_Address]) -> list[_Address]:
    first = [one for one in found if one[0] == found[0][0]]
    others = [one for one in found if one[0] != found[0][0]]
    return [one for one in chain.from_iterable(zip_longest(first, others)) if one is not None]


def _race(waiting: list[_Address], timeout_s: float | None) -> socket.socket:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    failure: OSError = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    with contextlib.ExitStack() as losers, selectors.DefaultSelector() as selector:
        next_start = time.monotonic()
        while waiting or selector.get_map():
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise TimeoutError("timed out")
            if waiting and (now >= next_start or not selector.get_map()):
                next_start = now + _STAGGER_S
                try:
                    started = _start(waiting.pop(0))
                except OSError as error:
                    failure = error
                    continue
                losers.callback(started.close)
                selector.register(started, selectors.EVENT_WRITE)
            ends = [*([next_start] if waiting else []), *([deadline] if deadline else [])]
            for key, _ in selector.select(max(0.0, min(ends) - now) if ends else None):
                candidate = key.fileobj
                assert isinstance(candidate, socket.socket)
                selector.unregister(candidate)
                code = candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    winner = socket.socket(fileno=candidate.detach())
                    winner.setblocking(True)
                    return winner
                failure = OSError(code, os.strerror(code))
                # Nobody waits for a quarter of a second after a plain no.
                next_start = 0.0
    raise failure


def _start(address: _Address) -> socket.socket:
    family, kind, protocol, _, where = address
    started = socket.socket(family, kind, protocol)
    try:
        started.setblocking(False)
        started.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = started.connect_ex(where)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
    except BaseException:
        started.close()
        raise
    return started


class _Racing(HTTPConnection):
    """urllib3's connection with our way of connecting, and its own words for what goes wrong."""

    def _new_conn(self) -> socket.socket:
        seconds = self.timeout if isinstance(self.timeout, int | float) else None
        try:
            return connect_any(self._dns_host, self.port or self.default_port, seconds)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"no answer in {seconds} s") from error
        except OSError as error:
            raise NewConnectionError(self, f"{error.strerror}") from error


class RacingHttp(_Racing):
    """Plain http."""


class RacingHttps(_Racing, HTTPSConnection):
    """https."""


class RacingHttpPool(HTTPConnectionPool):
    """A pool of plain connections."""

    ConnectionCls = RacingHttp


class RacingHttpsPool(HTTPSConnectionPool):
    """A pool of TLS connections."""

    ConnectionCls = RacingHttps
