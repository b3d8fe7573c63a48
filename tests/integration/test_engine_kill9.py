"""Nothing is left after kill -9 of any process of ours: no process, mount, cgroup, loop, directory."""

import os
import signal
import subprocess
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


class Family:
    """A running container with all the processes that belong to it."""

    def __init__(self, host: EngineHost, user: str, *words: str, **more: object) -> None:
        self.host, self.user = host, user
        self.process = host.start("run", *words, "testimage", "sh", "-c", "echo up; exec sleep 1000", user=user, **more)  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n", self.process.communicate()
        (self.container,) = host.containers(user)
        self.members = wait_until(self._complete, what="the program to begin")

    def _complete(self) -> list[int]:
        members = descendants(self.process.pid)
        return members if any(command_line(pid).startswith("sleep ") for pid in members) else []

    def find(self, word: str) -> int:
        """The process whose command line begins with that program."""
        found = [pid for pid in self.members if word in command_line(pid).partition(" ")[0]]
        assert found, [command_line(pid) for pid in self.members]
        return found[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def reaper(self) -> int:
        """The supervisor's clone: same command line, its direct child."""
        own = command_line(self.process.pid)
        (found,) = [pid for pid in self.members if command_line(pid) == own]
        return found

    def verify_gone(self, *, remembered: bool) -> None:
        wait_until(
            lambda: not [pid for pid in self.members if is_alive(pid)], what="processes to end"
        )
        if not remembered:
            wait_until(lambda: not self.host.containers(self.user), what="the record to go")
        wait_until(lambda: not leftovers(self.container, self.host), what=f"{leftovers(self.container, self.host)} to go")  # fmt: skip
        assert list((self.host.runtime(self.user) / "mnt").iterdir()) == []


def descendants(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            parents[int(name)] = int(text.rpartition(")")[2].split()[1])
    found, pending = [], [root]
    while pending:
        parent = pending.pop()
        children = [pid for pid, one in parents.items() if one == parent]
        found += children
        pending += children
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def leftovers(container: str, host: EngineHost) -> list[str]:
    """Traces of one container on the host."""
    found = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/**/sampan-{container[:32]}")]
    found += [
        line for line in Path("/proc/mounts").read_text().splitlines() if str(host.base) in line
    ]
    loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout
    found += [line for line in loops.splitlines() if str(host.store) in line]
    found += [str(path) for path in (host.base / "layers").glob("*")]
    return found


@pytest.mark.parametrize(
    ("user", "victim"),
    [
        (user, victim)
        for user in USERS
        for victim in ("supervisor", "crun", "squashfuse_ll", "sleep", "reaper")
        # Root's images are mounted by the kernel.
        if (user, victim) != ("root", "squashfuse_ll")
    ],
)
def test_after_kill_9_of_one_process_nothing_is_left(
    host: EngineHost, user: str, victim: str
) -> None:
    with Family(host, user, "--rm") as family:
        if victim == "supervisor":
            target = family.process.pid
        elif victim == "reaper":
            target = family.reaper()
        else:
            target = family.find(victim)
        os.kill(target, signal.SIGKILL)
        if victim == "reaper":
            # The container goes on, watched by a new one; then its supervisor is killed too.
            own = command_line(family.process.pid)
            family.members += wait_until(
                lambda: [
                    pid
                    for pid in descendants(family.process.pid)
                    if pid != target and command_line(pid) == own
                ],
                what="a new reaper",
            )
            os.kill(family.process.pid, signal.SIGKILL)
        family.verify_gone(remembered=False)


@everybody
def test_a_container_without_rm_is_remembered_as_killed(host: EngineHost, user: str) -> None:
    with Family(host, user) as family:
        os.kill(family.process.pid, signal.SIGKILL)
        family.verify_gone(remembered=True)
        exit_file = host.runtime(user) / "containers" / family.container / "exit"
        assert wait_until(exit_file.exists, what="the exit code")
        assert exit_file.read_text() == "137\n"
        assert host.run("rm", family.container, user=user).returncode == 0


def test_a_writable_layer_on_disk_goes_with_its_killed_container(host: EngineHost) -> None:
    layers = host.base / "layers"
    layers.mkdir()
    layers.chmod(0o1777)
    for user in USERS:
        with Family(host, user, "--rm", variables={"SAMPAN_UPPER": str(layers)}) as family:
            assert len(list(layers.iterdir())) == 1
            os.kill(family.process.pid, signal.SIGKILL)
            family.verify_gone(remembered=False)


@everybody
@pytest.mark.parametrize("milliseconds", [20, 30, 40, 50, 60, 80, 100, 130])
def test_kill_9_at_any_moment_of_the_start_leaves_nothing(
    host: EngineHost, user: str, milliseconds: int
) -> None:
    process = host.start("run", "--rm", "testimage", "sleep", "1000", user=user)
    try:
        process.wait(milliseconds / 1000)
    except subprocess.TimeoutExpired:
        process.kill()
    members = descendants(process.pid)
    process.communicate()
    wait_until(lambda: not [pid for pid in members if is_alive(pid)], what="processes to end")
    wait_until(lambda: not leftovers("", host) or not host.containers(user), what="mounts to go")
    for container in host.containers(user):
        # Killed before there was a reaper: the record names no live process.
        assert host.run("rm", "-f", container, user=user).returncode == 0
        assert leftovers(container, host) == []
    wait_until(
        lambda: not [line for line in leftovers("none", host) if "sampan" in line], what="the rest"
    )


def test_the_end_of_the_terminal_ends_the_container(host: EngineHost) -> None:
    import pty

    words = host.command("run", "--rm", "--stop-timeout", "1", "testimage", "sh", "-c", "trap '' HUP; echo up; sleep 1000")  # fmt: skip
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(words[0], words, host.environment())
    seen = b""
    while b"up" not in seen:
        seen += os.read(terminal, 100)
    members = [pid, *descendants(pid)]
    os.close(terminal)
    os.waitpid(pid, 0)
    wait_until(lambda: not [one for one in members if is_alive(one)], what="processes to end")
    assert host.containers("root") == []
