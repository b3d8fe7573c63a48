"""A slow link: a TCP relay with a rate that all its connections share, and a delay.

    python benchmarks/pull/link.py HOST:PORT BITS_PER_SECOND ROUND_TRIP_SECONDS

prints the address that it listens on and serves until its standard input ends. Each direction is a
line of its own: bytes leave one after another at the rate, and arrive half a round trip later. A new
connection's first bytes wait one round trip more, as for a handshake. What is not modelled: losses,
and a window that opens slowly. It runs in user space because not every kernel has netem.
"""

import asyncio
import collections
import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

# As much as Linux lets a receiver's window grow by default.
_WINDOW = 6 << 20
# A line that was idle makes up for no more than that: timers are late by a millisecond or two.
_SLACK_S = 0.005


class Link(NamedTuple):
    """What a link is called, and what it gives."""

    name: str
    bits_per_second: int
    round_trip_s: float = 0.03

    def transfer_s(self, size: int) -> float:
        """Seconds that bytes take, request and handshake included."""
        return size * 8 / self.bits_per_second + 2 * self.round_trip_s


LINKS = {link.name: link for link in (Link("1gbit", 10**9), Link("100mbit", 10**8))}


@contextlib.contextmanager
def open_link(target: str, link: Link) -> Iterator[str]:
    """Relay to a host and port; gives where."""
    command = [sys.executable, __file__, target, str(link.bits_per_second), str(link.round_trip_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
        process.stdin.close()


class Line:
    """One direction, shared by all connections."""

    def __init__(self, bits_per_second: float, delay_s: float) -> None:
        self._seconds_per_byte = 8 / bits_per_second
        self._free_at = 0.0
        self.delay = delay_s
        # Two milliseconds' worth: connections take turns, and arrivals are not lumps.
        self.chunk = max(16 << 10, min(256 << 10, int(bits_per_second / 8 * 0.002)))

    def send(self, size: int, now: float) -> float:
        """When the last of these bytes will have left."""
        self._free_at = max(self._free_at, now - _SLACK_S) + size * self._seconds_per_byte
        return self._free_at

    def wait(self, now: float) -> float:
        """How long until whoever handed over bytes may do so again."""
        return max(0, self._free_at - now - _SLACK_S)


class Flow:
    """One connection's bytes in one direction."""

    def __init__(self, source: socket.socket, target: socket.socket, line: Line) -> None:
        self._source = source
        self._target = target
        self._line = line
        self._queue: collections.deque[tuple[float, bytes]] = collections.deque()
        self._queued = 0
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def run(self, handshake_s: float) -> None:
        """Carry bytes until the source ends, then end the target."""
        arriving = asyncio.create_task(self._deliver())
        try:
            await self._take(handshake_s)
        finally:
            self._put(self._loop.time() + self._line.delay, b"")
            await arriving

    async def _take(self, late_s: float) -> None:
        while data := await self._loop.sock_recv(self._source, self._line.chunk):
            left_at = self._line.send(len(data), self._loop.time())
            self._put(left_at + self._line.delay + late_s, data)
            late_s = 0
            await asyncio.sleep(self._line.wait(self._loop.time()))
            while self._queued > _WINDOW:
                self._changed.clear()
                await self._changed.wait()

    def _put(self, arrives_at: float, data: bytes) -> None:
        # In order: a later byte never overtakes.
        if self._queue:
            arrives_at = max(arrives_at, self._queue[-1][0])
        self._queue.append((arrives_at, data))
        self._queued += len(data)
        self._changed.set()

    async def _deliver(self) -> None:
        while True:
            while not self._queue:
                self._changed.clear()
                await self._changed.wait()
            arrives_at, data = self._queue[0]
            if (wait := arrives_at - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            if not data:
                break
            await self._loop.sock_sendall(self._target, data)
            self._queue.popleft()
            self._queued -= len(data)
            self._changed.set()
        with contextlib.suppress(OSError):
            self._target.shutdown(socket.SHUT_WR)


async def relay(target: tuple[str, int], bits_per_second: float, round_trip_s: float) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    there, back = (Line(bits_per_second, round_trip_s / 2) for _ in range(2))

    async def carry(near: socket.socket) -> None:
        with near, socket.socket() as far, contextlib.suppress(OSError):
            far.setblocking(False)
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(far, target)
            await asyncio.gather(
                Flow(near, far, there).run(round_trip_s),
                Flow(far, near, back).run(0),
                return_exceptions=True,
            )

    async def accept(listener: socket.socket) -> None:
        tasks = set()
        while True:
            near, _ = await loop.sock_accept(listener)
            task = asyncio.create_task(carry(near))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.setblocking(False)
        print(f"127.0.0.1:{listener.getsockname()[1]}", flush=True)
        accepting = asyncio.create_task(accept(listener))
        await loop.run_in_executor(None, sys.stdin.read)
        accepting.cancel()


def main() -> int:
    host, _, port = sys.argv[1].rpartition(":")
    asyncio.run(relay((host, int(port)), float(sys.argv[2]), float(sys.argv[3])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
