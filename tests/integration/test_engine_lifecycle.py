"""Detached containers: started, listed, read, signalled, awaited, removed, killed; nothing stays."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.engine_host import USERS, EngineHost, engine_host, wait_until

pytestmark = pytest.mark.integration
everybody = pytest.mark.parametrize("user", USERS)

TRAP = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
DEAF = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture(scope="module")
def made() -> Iterator[EngineHost]:
    with engine_host() as host:
        yield host


@pytest.fixture
def host(made: EngineHost) -> Iterator[EngineHost]:
    yield made
    for user in USERS:
        left = made.containers(user)
        if left:
            made.run("rm", "-f", *left, user=user)


def say(host: EngineHost, *words: str, user: str = "root", code: int = 0, **more: Any) -> str:
    """Run a command that is to end with that code; its standard output."""
    done = host.run(*words, user=user, **more)
    assert done.returncode == code, done.stderr
    return done.stdout


def start(host: EngineHost, script: str, *options: str, user: str = "root") -> str:
    """Start a detached container and wait until it has said `ready`; its id."""
    words = ("run", "-d", "--name", "box", *options, "testimage", "sh", "-c", script)
    identity = say(host, *words, user=user).strip()
    wait_until(lambda: "ready" in say(host, "logs", "box", user=user), what="the word ready")
    return identity


def inspect(host: EngineHost, name: str = "box", user: str = "root") -> dict[str, Any]:
    document: dict[str, Any] = json.loads(say(host, "inspect", name, user=user))[0]
    return document


def processes_of(host: EngineHost, identity: str) -> list[str]:
    """Processes that are the container's: whose words name it, or its image's file."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if identity in line or (str(host.store) in line and "squashfuse" in line):
            found.append(line)
    return found


@everybody
def test_a_container_lives_in_the_background_until_it_is_stopped(
    host: EngineHost, user: str
) -> None:
    identity = start(host, TRAP, "-l", "job=test", user=user)
    assert len(identity) == 64
    listed = say(host, "ps", user=user).splitlines()
    assert listed[0].split()[:2] == ["CONTAINER", "ID"]
    assert listed[1].startswith(identity[:12])
    assert "Up" in listed[1]
    assert listed[1].endswith("box")
    assert say(host, "stop", "box", user=user) == "box\n"
    assert say(host, "ps", "-q", user=user) == ""
    assert "Exited (5)" in say(host, "ps", "-a", user=user)
    assert say(host, "logs", "box", user=user) == "ready\nbye\n"
    assert say(host, "wait", "box", user=user) == "5\n"
    assert say(host, "rm", "box", user=user) == "box\n"
    assert say(host, "ps", "-aq", user=user) == ""
    assert host.containers(user) == []
    assert processes_of(host, identity) == []


@everybody
def test_one_that_does_not_listen_is_killed_after_its_time(host: EngineHost, user: str) -> None:
    start(host, DEAF, "--stop-timeout", "1", user=user)
    before = time.monotonic()
    say(host, "stop", "box", user=user)
    assert time.monotonic() - before >= 1
    assert inspect(host, user=user)["State"]["ExitCode"] == 137


def test_the_time_to_listen_can_be_given_when_stopping(host: EngineHost) -> None:
    start(host, DEAF, "--stop-timeout", "600")
    say(host, "stop", "-t", "0", "box")
    assert inspect(host)["State"]["Status"] == "exited"


def test_the_stop_signal_is_the_containers_own(host: EngineHost) -> None:
    start(host, "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done", "--stop-signal", "USR1")  # fmt: skip
    say(host, "stop", "box")
    assert inspect(host)["State"]["ExitCode"] == 9


def test_stopping_what_has_ended_is_no_failure(host: EngineHost) -> None:
    say(host, "run", "--name", "box", "testimage", "true")
    assert say(host, "stop", "box") == "box\n"


@everybody
def test_any_signal_reaches_the_first_process(host: EngineHost, user: str) -> None:
    script = "trap 'echo hup' HUP; trap 'exit 3' USR2; echo ready; while :; do sleep 0.05; done"
    start(host, script, user=user)
    say(host, "kill", "-s", "HUP", "box", user=user)
    wait_until(lambda: "hup" in say(host, "logs", "box", user=user), what="the word hup")
    say(host, "kill", "--signal", "SIGUSR2", "box", user=user)
    assert say(host, "wait", "box", user=user) == "3\n"


def test_kill_kills(host: EngineHost) -> None:
    start(host, DEAF)
    say(host, "kill", "box")
    assert say(host, "wait", "box") == "137\n"


@everybody
def test_a_foreground_container_is_reached_from_elsewhere(host: EngineHost, user: str) -> None:
    with host.start("run", "--name", "box", "testimage", "sh", "-c", TRAP, user=user) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        assert "box" in say(host, "ps", user=user)
        assert say(host, "exec", "box", "echo", "inside", user=user) == "inside\n"
        say(host, "stop", "box", user=user)
        assert running.wait(timeout=20) == 5
    assert "Exited (5)" in say(host, "ps", "-a", user=user)


def test_a_signal_that_does_not_exist_is_refused(host: EngineHost) -> None:
    done = host.run("kill", "-s", "WHAT", "box")
    assert done.returncode == 125
    assert "no signal 'WHAT'" in done.stderr


@pytest.mark.parametrize("command", ["kill", "exec"])
def test_what_does_not_run_cannot_be_reached(host: EngineHost, command: str) -> None:
    say(host, "run", "--name", "box", "testimage", "sh", "-c", "exit 3", code=3)
    words = ("exec", "box", "true") if command == "exec" else ("kill", "box")
    done = host.run(*words)
    assert done.returncode == 1
    assert "error[container-not-running]" in done.stderr
    assert "exit code 3" in done.stderr


@pytest.mark.parametrize(
    "words",
    [("stop", "no"), ("kill", "no"), ("wait", "no"), ("rm", "no"), ("logs", "no"), ("exec", "no", "x")],
)  # fmt: skip
def test_an_unknown_name_is_said(host: EngineHost, words: tuple[str, ...]) -> None:
    done = host.run(*words)
    assert done.returncode == 1
    assert "no container 'no'" in done.stderr


def test_one_unknown_name_does_not_keep_the_others(host: EngineHost) -> None:
    say(host, "run", "--name", "box", "testimage", "true")
    done = host.run("rm", "no", "box")
    assert done.returncode == 1
    assert done.stdout == "box\n"


def test_waiters_get_the_code_of_a_container_that_is_forgotten(host: EngineHost) -> None:
    start(host, TRAP, "--rm")
    with host.start("wait", "box") as waiter:
        wait_until(lambda: _is_waiting(waiter.pid), what="the waiter to wait")
        say(host, "stop", "box")
        assert waiter.communicate(timeout=20)[0] == "5\n"
    assert host.containers("root") == []


def _is_waiting(pid: int) -> bool:
    """It sleeps on the descriptors of processes."""
    links = (os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir())
    try:
        return "anon_inode:[pidfd]" in list(links)
    except OSError:
        return False


def test_a_running_container_is_removed_only_by_force(host: EngineHost) -> None:
    identity = start(host, DEAF)
    done = host.run("rm", "box")
    assert done.returncode == 1
    assert "error[container-running]" in done.stderr
    assert say(host, "rm", "-f", "box") == "box\n"
    assert processes_of(host, identity) == []
    assert host.containers("root") == []


def test_force_does_not_mind_what_is_gone(host: EngineHost) -> None:
    assert say(host, "rm", "-f", "no") == ""


def test_a_name_is_given_once_and_the_second_start_leaves_nothing(host: EngineHost) -> None:
    identity = start(host, TRAP)
    done = host.run("run", "--name", "box", "testimage", "true")
    assert done.returncode == 125
    assert "error[name-in-use]" in done.stderr
    assert host.containers("root") == [identity]


@everybody
def test_a_missing_program_is_said_at_once_and_leaves_nothing(host: EngineHost, user: str) -> None:
    done = host.run("run", "-d", "testimage", "no-such-program", user=user)
    assert done.returncode == 127
    assert "no-such-program" in done.stderr
    assert done.stdout == ""
    assert host.containers(user) == []


def test_a_program_that_cannot_be_executed_is_said_at_once(host: EngineHost) -> None:
    assert host.run("run", "-d", "testimage", "/etc/passwd").returncode == 126


def test_without_conmon_there_is_no_background(host: EngineHost, tmp_path: Path) -> None:
    # It is found in the system's directories whatever PATH says: hide it.
    cover = tmp_path / "cover"
    cover.touch(mode=0o644)
    script = 'mount --bind "$0" "$(readlink -f "$(command -v conmon)")" && exec "$@"'
    line = ["unshare", "--mount", "sh", "-c", script, str(cover)]
    done = subprocess.run(
        [*line, *host.command("run", "-d", "testimage", "true")],
        env=host.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 125
    assert "error[conmon-missing]" in done.stderr
    assert "apt-get install conmon" in done.stderr
    assert host.containers("root") == []


class TestLogs:
    def test_both_streams_come_back_on_their_own(self, host: EngineHost) -> None:
        say(host, "run", "-d", "--name", "box", "testimage", "sh", "-c", "echo out; echo err >&2; printf rest")  # fmt: skip
        say(host, "wait", "box")
        done = host.run("logs", "box")
        assert (done.stdout, done.stderr) == ("out\nrest", "err\n")

    def test_times_and_tails(self, host: EngineHost) -> None:
        say(host, "run", "-d", "--name", "box", "testimage", "seq", "1", "5")
        say(host, "wait", "box")
        assert say(host, "logs", "--tail", "2", "box") == "4\n5\n"
        assert say(host, "logs", "--tail", "-1", "box") == say(host, "logs", "box")
        assert say(host, "logs", "-n", "0", "box") == ""
        stamp, _, text = say(host, "logs", "-t", "-n1", "box").partition(" ")
        assert text == "5\n"
        assert stamp[:2] == "20"
        assert say(host, "logs", "--since", stamp, "box").splitlines()[-1] == "5"
        assert say(host, "logs", "--until", "1h", "box") == ""

    @everybody
    def test_following_ends_with_the_container(self, host: EngineHost, user: str) -> None:
        start(host, TRAP, "--rm", user=user)
        with host.start("logs", "-f", "box", user=user) as follower:
            assert follower.stdout is not None
            assert follower.stdout.readline() == "ready\n"
            say(host, "stop", "box", user=user)
            assert follower.stdout.readline() == "bye\n"
            assert follower.wait(timeout=20) == 0

    def test_a_long_line_is_one_line(self, host: EngineHost) -> None:
        script = "head -c 30000 /dev/zero | tr '\\0' x; echo; echo end"
        say(host, "run", "-d", "--name", "box", "testimage", "sh", "-c", script)
        say(host, "wait", "box")
        assert say(host, "logs", "box") == "x" * 30000 + "\nend\n"

    def test_a_foreground_container_has_none(self, host: EngineHost) -> None:
        say(host, "run", "--name", "box", "testimage", "true")
        done = host.run("logs", "box")
        assert done.returncode == 1
        assert "error[no-log]" in done.stderr

    @everybody
    def test_a_terminal_in_the_background(self, host: EngineHost, user: str) -> None:
        say(host, "run", "-dt", "--name", "box", "testimage", "tty", user=user)
        say(host, "wait", "box", user=user)
        assert say(host, "logs", "box", user=user).strip() == "/dev/pts/0"

    def test_input_that_nobody_gives_is_waited_for(self, host: EngineHost) -> None:
        start(host, "echo ready; cat; echo ended", "-i")
        assert say(host, "ps", "-q") != ""


class TestLists:
    def test_filters(self, host: EngineHost) -> None:
        say(host, "run", "--name", "one", "-l", "a=1", "testimage", "true")
        say(host, "run", "--name", "two", "-l", "a=2", "testimage", "sh", "-c", "exit 4", code=4)

        def names(*words: str) -> list[str]:
            return [
                entry["Names"] for entry in json.loads(say(host, "ps", "--format", "json", *words))
            ]

        assert names() == []
        assert names("-a") == ["two", "one"]
        assert names("-l") == ["two"]
        assert names("-n", "5") == ["two", "one"]
        assert names("-a", "--filter", "label=a") == ["two", "one"]
        assert names("-a", "--filter", "label=a=1") == ["one"]
        assert names("--filter", "exited=4") == ["two"]
        assert names("--filter", "status=exited", "--filter", "name=on") == ["one"]
        assert names("-a", "-f", "ancestor=testimage", "-f", "id=nothing") == []
        assert host.run("ps", "--filter", "colour=red").returncode == 125

    def test_ps_prints_dockers_templates(self, host: EngineHost) -> None:
        identity = start(host, TRAP, "-l", "a=b", "-l", "c")

        def shown(template: str, *words: str) -> list[str]:
            return say(host, "ps", "--format", template, *words).splitlines()

        assert shown("{{.ID}} {{.Names}} {{.State}}") == [f"{identity[:12]} box running"]
        assert shown("{{.ID}}", "--no-trunc") == [identity]
        assert shown('{{.Labels}} {{.Label "a"}}{{.Label "none"}}') == ["a=b,c= b"]
        heading, row = shown('table {{.Names}}\\t{{.Image}}\\t{{.Label "a"}}')
        assert heading.split() == ["NAMES", "IMAGE", "a"]
        assert row.split() == ["box", "testimage", "b"]
        assert heading.index("IMAGE") == row.index("testimage")
        assert json.loads(shown("{{json .}}")[0])["Names"] == "box"

    def test_ps_refuses_a_template_of_something_else_also_when_nothing_runs(
        self, host: EngineHost
    ) -> None:
        done = host.run("ps", "--format", "{{.Colour}}")
        assert done.returncode == 125
        assert "there is no Colour" in done.stderr
        assert say(host, "ps", "-a", "-f", "status=paused", "-q") == ""

    def test_inspect_knows_docker_keys(self, host: EngineHost) -> None:
        identity = start(host, TRAP, "--hostname", "inner", "-l", "a=b")
        document = inspect(host)
        assert document["Id"] == identity
        assert document["Name"] == "/box"
        assert document["State"]["Running"] is True
        assert document["State"]["Pid"] > 1
        assert document["Config"]["Hostname"] == "inner"
        assert document["Config"]["Labels"]["a"] == "b"
        assert document["Path"] == "sh"
        assert inspect(host, identity[:8])["Id"] == identity

    def test_inspect_still_knows_variables_directory_and_mounts_when_all_is_over(
        self, host: EngineHost
    ) -> None:
        words = ["-e", "A=1", "-w", "/work", "-v", f"{host.base}:/data:ro", "--tmpfs", "/t"]
        say(host, "run", "--name", "box", *words, "testimage", "true")
        document = inspect(host)
        assert "A=1" in document["Config"]["Env"]
        assert document["Config"]["WorkingDir"] == "/work"
        bound, temporary = document["Mounts"]
        assert (bound["Type"], bound["Source"], bound["Destination"]) == (
            "bind", str(host.base), "/data",
        )  # fmt: skip
        assert (bound["RW"], bound["Propagation"]) == (False, "rprivate")
        assert (temporary["Type"], temporary["Destination"], temporary["RW"]) == (
            "tmpfs", "/t", True,
        )  # fmt: skip
        assert '"A=1"' in say(host, "inspect", "-f", "{{json .Config.Env}}", "box")

    def test_a_writable_layer_ends_with_its_container_and_inspect_says_so(
        self, host: EngineHost
    ) -> None:
        say(host, "run", "--name", "box", "testimage", "true")
        assert inspect(host)["Sampan"]["WritableLayer"].startswith("gone")


def _pid_of(host: EngineHost, user: str, part: str) -> int:
    document = inspect(host, user=user)
    if part == "watcher":
        return int(document["Sampan"]["SupervisorPid"])
    return int(document["State"]["Pid"])


@everybody
@pytest.mark.parametrize("part", ["watcher", "conmon"])
def test_kill_9_of_watcher_or_conmon_leaves_nothing_but_the_record(
    host: EngineHost, user: str, part: str
) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    identity = start(host, DEAF, user=user)
    os.kill(_pid_of(host, user, part), signal.SIGKILL)
    assert say(host, "wait", "box", user=user) == "137\n"
    wait_until(lambda: processes_of(host, identity) == [], what="the last process to end")
    wait_until(
        lambda: inspect(host, user=user)["State"]["Status"] == "exited", what="the exit code"
    )
    assert inspect(host, user=user)["State"]["ExitCode"] == 137
    assert Path("/proc/self/mounts").read_text() == mounts
    say(host, "rm", "box", user=user)
    assert host.containers(user) == []
