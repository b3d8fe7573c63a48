"""Connecting where a name has several addresses: a dead one costs a moment, not the timeout."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from sampan.registry import addresses
from sampan.registry.addresses import connect_any


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def full() -> Iterator[tuple[str, int]]:
    """An address that never answers: its queue of one is full, further greetings are dropped."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()


def resolving(monkeypatch: pytest.MonkeyPatch, *places: tuple[str, int]) -> None:
    def answer(*_: Any, **__: Any) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
            for host, port in places
        ]  # fmt: skip

    monkeypatch.setattr(addresses.socket, "getaddrinfo", answer)


def test_an_address_that_never_answers_is_overtaken(
    monkeypatch: pytest.MonkeyPatch, full: tuple[str, int], listener: socket.socket
) -> None:
    resolving(monkeypatch, full, listener.getsockname())
    # Waiting for the first to time out would take the whole 60 seconds.
    with connect_any("r.example", 443, 60.0) as connected:
        assert connected.getpeername() == listener.getsockname()
        assert connected.getblocking()


def test_an_address_that_refuses_or_has_no_route_is_passed_over_at_once(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()
    resolving(monkeypatch, ("100::1", 443), dead, listener.getsockname())
    with connect_any("r.example", 443, 5.0) as connected:
        assert connected.getpeername() == listener.getsockname()


def test_when_all_refuse_the_reason_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()
    resolving(monkeypatch, dead, dead)
    with pytest.raises(ConnectionRefusedError):
        connect_any("r.example", 443, 5.0)


def test_when_nobody_answers_the_time_is_up(
    monkeypatch: pytest.MonkeyPatch, full: tuple[str, int]
) -> None:
    resolving(monkeypatch, full)
    with pytest.raises(TimeoutError):
        connect_any("r.example", 443, 0.2)


@pytest.mark.parametrize(
    "name", ["no-such-host.invalid", "a" * 70 + ".example", "..", "\u00e9" * 80]
)
def test_a_name_that_is_none_is_no_crash(name: str) -> None:
    with pytest.raises(socket.gaierror):
        connect_any(name, 443, 1.0)


def test_an_ipv6_address_is_taken_with_or_without_brackets() -> None:
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with listening:
        port = listening.getsockname()[1]
        for host in ("::1", "[::1]"):
            connect_any(host, port, 5.0).close()
