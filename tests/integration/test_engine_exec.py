"""`sampan exec`: a second process in a running container."""

import os
import pty
import select
import time
from collections.abc import Iterator

import pytest

from support.engine_host import USERS, EngineHost, engine_host, wait_until

pytestmark = pytest.mark.integration
everybody = pytest.mark.parametrize("user", USERS)


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with engine_host() as made:
        for user in USERS:
            words = ("run", "-d", "--name", "box", "-e", "A=1", "testimage", "sleep", "1000")
            done = made.run(*words, user=user)
            assert done.returncode == 0, done.stderr
        yield made
        for user in USERS:
            made.run("rm", "-f", *made.containers(user), user=user)


@everybody
def test_it_runs_beside_the_containers_own_process(host: EngineHost, user: str) -> None:
    done = host.run("exec", "box", "sh", "-c", "cat /proc/1/cmdline; hostname; echo $A", user=user)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sleep\0001000\0")
    assert done.stdout.endswith("\n1\n")


@everybody
def test_its_exit_code_is_ours(host: EngineHost, user: str) -> None:
    assert host.run("exec", "box", "sh", "-c", "exit 9", user=user).returncode == 9
    assert host.run("exec", "box", "sh", "-c", "kill -9 $$", user=user).returncode == 137


@everybody
def test_a_missing_program_and_one_that_is_none(host: EngineHost, user: str) -> None:
    assert host.run("exec", "box", "no-such-program", user=user).returncode == 127
    assert host.run("exec", "box", "/etc/passwd", user=user).returncode == 126


@everybody
def test_a_missing_program_is_said_once_and_in_our_words(host: EngineHost, user: str) -> None:
    lines = host.run("exec", "box", "no-such-program", user=user).stderr.splitlines()
    assert [line.split()[0] for line in lines] == [
        "error[container-start]:",
        "evidence:",
        "remedy:",
    ]


@everybody
def test_a_working_directory_that_the_container_lacks_is_named(host: EngineHost, user: str) -> None:
    done = host.run("exec", "-w", "/nowhere", "box", "pwd", user=user)
    assert done.returncode == 125
    assert done.stderr.startswith("error[exec]: container box has no directory /nowhere\n")
    assert "remedy:" in done.stderr


@everybody
def test_it_may_start_in_a_mount_of_the_container(host: EngineHost, user: str) -> None:
    assert host.run("exec", "-w", "/dev/shm", "box", "pwd", user=user).stdout == "/dev/shm\n"


@everybody
def test_input_goes_in_only_when_asked(host: EngineHost, user: str) -> None:
    assert host.run("exec", "-i", "box", "cat", stdin="words\n", user=user).stdout == "words\n"
    assert host.run("exec", "box", "cat", stdin="words\n", user=user).stdout == ""


@pytest.mark.parametrize("user", ["root", "ranged"])
def test_another_user_directory_and_variables(host: EngineHost, user: str) -> None:
    script = "id -u; id -g; id -G; pwd; echo $HOME $B; grep CapEff /proc/self/status"
    words = ("exec", "-u", "app", "-w", "/tmp", "-e", "B=2", "box", "sh", "-c", script)
    done = host.run(*words, user=user)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "1000", "1000", "1000", "2000", "/tmp", "/home/app", "2", "CapEff:", "0" * 16,
    ]  # fmt: skip


def test_a_user_beyond_the_only_one_is_explained(host: EngineHost) -> None:
    done = host.run("exec", "-u", "app", "box", "true", user="ordinary")
    assert done.returncode == 125
    assert "has no user id 1000" in done.stderr
    assert "--add-subuids" in done.stderr


def test_an_unknown_user_is_said(host: EngineHost) -> None:
    done = host.run("exec", "-u", "nobody-here", "box", "true")
    assert done.returncode == 125
    assert "error[user-not-found]" in done.stderr


def test_a_user_that_the_container_made_is_known(host: EngineHost) -> None:
    host.run("exec", "box", "sh", "-c", "echo late:x:77:88::/late:/bin/sh >> /etc/passwd")
    assert host.run("exec", "-u", "late", "box", "id", "-u").stdout == "77\n"


def test_a_passwd_that_leads_out_of_the_container_is_not_followed(host: EngineHost) -> None:
    secret = host.base / "passwd-of-the-host"
    secret.write_text("spy:x:99:99::/:/bin/sh\n")
    script = f"cp /etc/passwd /etc/kept; ln -sf {secret} /etc/passwd"
    host.run("exec", "box", "sh", "-c", script)
    done = host.run("exec", "-u", "spy", "box", "id", "-u")
    host.run("exec", "box", "mv", "/etc/kept", "/etc/passwd")
    assert done.returncode == 125
    assert "error[user-not-found]" in done.stderr


@everybody
def test_in_the_background_it_goes_on(host: EngineHost, user: str) -> None:
    done = host.run("exec", "-d", "box", "sh", "-c", "sleep 0.2; touch /tmp/mark", user=user)
    assert (done.returncode, done.stdout) == (0, "")
    wait_until(
        lambda: host.run("exec", "box", "test", "-e", "/tmp/mark", user=user).returncode == 0,
        what="the file that it makes",
    )


@everybody
def test_a_terminal_of_its_own(host: EngineHost, user: str) -> None:
    done = host.run("exec", "-t", "box", "tty", user=user)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("/dev/pts/")


def test_a_terminal_with_input_needs_one_outside(host: EngineHost) -> None:
    done = host.run("exec", "-it", "box", "sh", stdin="exit 3\n")
    assert done.returncode == 125
    assert "leave out -t" in done.stderr


@everybody
def test_keys_go_in_and_ctrl_c_is_the_programs(host: EngineHost, user: str) -> None:
    line = host.command("exec", "-it", "-e", "PS1=go>", "box", "sh", user=user)
    pid, master = pty.fork()
    if pid == 0:
        os.execvpe(line[0], line, host.environment(user))
    shown = b""

    def expect(text: bytes) -> None:
        nonlocal shown
        deadline = time.monotonic() + 20
        while text not in shown:
            assert select.select([master], [], [], deadline - time.monotonic())[0], shown
            shown += os.read(master, 4096)
        shown = shown.partition(text)[2]

    expect(b"go>")
    # The echo comes from the program that Ctrl-C is for: only then has it the terminal.
    os.write(master, b"sh -c 'echo be\"\"gun; sleep 1000'\n")
    expect(b"begun")
    os.write(master, b"\x03")
    expect(b"go>")
    os.write(master, b"exit 7\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    os.close(master)


def test_a_signal_to_us_is_the_programs(host: EngineHost) -> None:
    script = "trap 'exit 6' TERM; echo ready; while :; do sleep 0.05; done"
    with host.start("exec", "box", "sh", "-c", script) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        started.terminate()
        assert started.wait(timeout=20) == 6


def test_the_containers_limits_hold_for_it_too(host: EngineHost) -> None:
    done = host.run("run", "-d", "--name", "small", "-m", "64m", "testimage", "sleep", "1000")
    assert done.returncode == 0, done.stderr
    if "--memory" in done.stderr:
        pytest.skip(f"no memory limit can be set here: {done.stderr.strip()}")
    first = _memory_group(host, "small", "1")
    own = _memory_group(host, "small", "self")
    host.run("rm", "-f", "small")
    assert own == first


def _memory_group(host: EngineHost, name: str, process: str) -> list[str]:
    lines = host.run("exec", name, "cat", f"/proc/{process}/cgroup").stdout.splitlines()
    return [line for line in lines if "memory" in line or line.startswith("0::")]


@pytest.mark.parametrize("words", [("exec", "box"), ("exec", "-w", "x", "box", "true")])
def test_words_that_make_no_sense_are_refused(host: EngineHost, words: tuple[str, ...]) -> None:
    assert host.run(*words).returncode == 125
