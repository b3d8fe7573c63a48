"""`sampan run -t` on a real terminal: size, Ctrl-C, typing, and what happens without one."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from support.engine_host import USERS, EngineHost, engine_host, wait_until

pytestmark = pytest.mark.integration
everybody = pytest.mark.parametrize("user", USERS)


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with engine_host() as made:
        yield made


class Terminal:
    """A terminal whose foreground program is `sampan`."""

    def __init__(self, host: EngineHost, user: str, *words: str) -> None:
        line = host.command(*words, user=user)
        environment = host.environment(user)
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execvpe(line[0], line, environment)
        self.shown = b""
        self.code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def expect(self, text: bytes) -> None:
        """Read until the text is on the screen; what came before it is forgotten."""
        deadline = time.monotonic() + 20
        while text not in self.shown:
            assert self._read(deadline), self.shown
        self.shown = self.shown.partition(text)[2]

    def end(self) -> int:
        """The exit code, once the program has ended."""
        deadline = time.monotonic() + 20
        while self._read(deadline):
            pass
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def _read(self, deadline: float) -> bool:
        ready = select.select([self.master], [], [], max(deadline - time.monotonic(), 0))[0]
        assert ready, f"nothing more came after {self.shown!r}"
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
            more = os.read(self.master, 4096)
            self.shown += more
            return bool(more)
        return False


def size_inside(marker: str) -> tuple[int, int]:
    """Rows and columns of the terminal of the container's process with that command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if words[0] == b"sleep" and marker.encode() in words:
                descriptor = os.open(path.parent / "fd/0", os.O_RDONLY | os.O_NOCTTY)
                try:
                    packed = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
                finally:
                    os.close(descriptor)
                return struct.unpack("HHHH", packed)[:2]
    return 0, 0


@everybody
def test_a_shell_on_a_terminal_of_our_size(host: EngineHost, user: str) -> None:
    with Terminal(host, user, "run", "-it", "--rm", "-e", "PS1=ready>", "testimage") as terminal:
        terminal.resize(31, 97)
        terminal.expect(b"ready>")
        terminal.type(b"tty; echo $TERM\n")
        terminal.expect(b"/dev/pts/0")
        terminal.expect(b"xterm")
        marker = f"{1000 + os.getpid() % 1000}.25"
        terminal.type(f"sleep {marker}\n".encode())
        wait_until(lambda: size_inside(marker) == (31, 97), what="the size inside")
        terminal.resize(40, 120)
        wait_until(lambda: size_inside(marker) == (40, 120), what="the new size inside")
        terminal.type(b"\x03")
        terminal.expect(b"ready>")
        terminal.type(b"exit 3\n")
        assert terminal.end() == 3


@everybody
def test_ctrl_c_reaches_a_program_without_a_terminal_of_its_own_once(
    host: EngineHost, user: str
) -> None:
    script = "trap 'echo got; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    with Terminal(host, user, "run", "--rm", "testimage", "sh", "-c", script) as terminal:
        terminal.expect(b"ready")
        terminal.type(b"\x03")
        assert terminal.end() == 9
        assert terminal.shown.count(b"got") == 1


@everybody
def test_a_terminal_without_input_shows_output_and_hears_ctrl_c(
    host: EngineHost, user: str
) -> None:
    script = "trap 'echo got; exit 9' INT; tty; while :; do sleep 0.05; done"
    with Terminal(host, user, "run", "-t", "--rm", "testimage", "sh", "-c", script) as terminal:
        terminal.expect(b"/dev/pts/0")
        terminal.type(b"ignored\n\x03")
        assert terminal.end() == 9


def test_a_terminal_without_input_needs_none_outside(host: EngineHost) -> None:
    done = host.run("run", "-t", "--rm", "testimage", "tty")
    assert done.returncode == 0
    assert done.stdout.strip() == "/dev/pts/0"


def test_an_interactive_terminal_without_one_outside_is_refused(host: EngineHost) -> None:
    done = host.run("run", "-it", "--rm", "testimage", "tty")
    assert done.returncode == 125
    assert "needs a terminal as standard input" in done.stderr


@everybody
def test_the_terminal_is_as_before_afterwards(host: EngineHost, user: str) -> None:
    with Terminal(host, user, "run", "-it", "--rm", "testimage", "sh", "-c", "read x") as terminal:
        before = termios.tcgetattr(terminal.master)
        wait_until(lambda: termios.tcgetattr(terminal.master) != before, what="raw mode")
        terminal.type(b"\r")
        assert terminal.end() == 0
        assert termios.tcgetattr(terminal.master) == before
