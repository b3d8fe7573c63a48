"""Networks of containers: the host's, none, one of their own with published ports."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.engine_host import USERS, EngineHost, engine_host, wait_until

pytestmark = pytest.mark.integration
everybody = pytest.mark.parametrize("user", USERS)

SERVER = "echo hello > /tmp/index.html; echo ready; exec httpd -f -p 80 -h /tmp"


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


@pytest.fixture(scope="module")
def outside(made: EngineHost) -> None:
    """Skip where pasta finds no interface to work with."""
    done = made.run("run", "--rm", "--network", "private", "testimage", "true")
    if done.returncode != 0:
        pytest.skip(f"sampan run --network private: {done.stderr.strip()}")


def interfaces(text: str) -> list[str]:
    lines = [line.split() for line in text.splitlines() if line[:1].isdigit()]
    return [words[1].rstrip(":") for words in lines if words[0].endswith(":")]


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(host: EngineHost, user: str, *options: str) -> None:
    words = ("run", "-d", "--name", "web", *options, "testimage", "sh", "-c", SERVER)
    done = host.run(*words, user=user)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: "ready" in host.run("logs", "web", user=user).stdout, what="the server")


def fetch(port: int) -> bytes:
    def attempt() -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            return b""

    return bytes(wait_until(attempt, what=f"an answer on port {port}"))


def programs(host: EngineHost, user: str, name: str) -> list[int]:
    """Processes of that name that work for this user's containers of this test."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if name.encode() in words.split(b"\0")[0] and str(host.runtime(user)).encode() in words:
            found.append(int(path.parent.name))
    return found


@everybody
def test_the_hosts_network_is_the_default(host: EngineHost, user: str) -> None:
    inside = host.run("run", "--rm", "testimage", "readlink", "/proc/self/ns/net", user=user)
    assert inside.stdout.strip() == os.readlink("/proc/self/ns/net")


@everybody
def test_none_has_a_loopback_that_works_and_nothing_else(host: EngineHost, user: str) -> None:
    script = "ip link; ping -c 1 127.0.0.1 >/dev/null && echo alive; ls /etc/resolv.conf"
    done = host.run("run", "--rm", "--network", "none", "testimage", "sh", "-c", script, user=user)
    assert interfaces(done.stdout) == ["lo"]
    assert "UP" in done.stdout
    assert "alive" in done.stdout


@everybody
@pytest.mark.usefixtures("outside")
def test_a_network_of_its_own_has_a_way_out_and_a_resolver(host: EngineHost, user: str) -> None:
    script = "ip link; ip route; cat /etc/resolv.conf"
    words = ("run", "--rm", "--network", "private", "testimage", "sh", "-c", script)
    done = host.run(*words, user=user)
    assert done.returncode == 0, done.stderr
    assert len(interfaces(done.stdout)) == 2
    assert "default via" in done.stdout
    assert "nameserver" in done.stdout
    wait_until(lambda: programs(host, user, "pasta") == [], what="pasta to end")


@everybody
@pytest.mark.usefixtures("outside")
def test_a_published_port_reaches_the_container(host: EngineHost, user: str) -> None:
    port = free_port()
    serve(host, user, "-p", f"127.0.0.1:{port}:80")
    assert fetch(port) == b"hello\n"
    assert f"127.0.0.1:{port}->80/tcp" in host.run("ps", user=user).stdout
    bindings = '"HostPort": "' + str(port)
    assert bindings in host.run("inspect", "web", user=user).stdout
    host.run("stop", "-t", "0", "web", user=user)
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.1", port), timeout=5),
    ):
        pass
    assert programs(host, user, "pasta") == []


@pytest.mark.usefixtures("outside")
def test_a_host_port_left_out_is_chosen_and_shown(host: EngineHost) -> None:
    serve(host, "root", "-p", "80")
    shown = host.run("ps").stdout
    port = int(shown.partition("0.0.0.0:")[2].partition("->")[0])
    assert fetch(port) == b"hello\n"


@pytest.mark.usefixtures("outside")
def test_datagrams_are_published_too(host: EngineHost) -> None:
    port = free_port(socket.SOCK_DGRAM)
    words = ("run", "-d", "--name", "web", "-p", f"{port}:53/udp", "testimage", "sleep", "1000")
    assert host.run(*words).returncode == 0
    pid = json.loads(host.run("inspect", "web").stdout)[0]["State"]["Pid"]
    # The test's image has no program that hears datagrams; ours hears them in its network.
    listen = (
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 53))\n"
        "print('ready', flush=True); print(s.recv(100))"
    )
    line = ["nsenter", "-t", str(pid), "-n", sys.executable, "-c", listen]
    with (
        subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        sender.sendto(b"word", ("127.0.0.1", port))
        assert listener.communicate(timeout=20)[0] == "b'word'\n"


def test_a_port_in_use_is_said_before_anything_starts(host: EngineHost) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = host.run("run", "--rm", "-p", f"127.0.0.1:{port}:80", "testimage", "true")
    assert done.returncode == 125
    assert "error[network]" in done.stderr
    assert "in use" in done.stderr
    assert host.containers("root") == []


@pytest.mark.usefixtures("outside")
def test_the_hosts_loopback_is_not_the_containers(host: EngineHost) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        script = f"""
        gateway=$(ip route | awk '/^default/ {{ print $3 }}')
        nc -w 2 127.0.0.1 {port} </dev/null && echo reached
        nc -w 2 $gateway {port} </dev/null && echo reached; true"""
        words = ("run", "--rm", "--network", "private", "testimage", "sh", "-c", script)
        assert "reached" not in host.run(*words).stdout


@pytest.mark.usefixtures("outside")
def test_exec_is_in_the_containers_network(host: EngineHost) -> None:
    serve(host, "root", "--network", "none")
    assert interfaces(host.run("exec", "web", "ip", "link").stdout) == ["lo"]


@everybody
@pytest.mark.usefixtures("outside")
def test_a_foreground_container_ends_though_pasta_would_go_on(host: EngineHost, user: str) -> None:
    words = ("run", "--rm", "--network", "private", "testimage", "sh", "-c", "exit 3")
    assert host.run(*words, user=user, timeout=30).returncode == 3


@everybody
@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize("victim", ["pasta", "guardian", "supervisor"])
def test_kill_9_around_the_network_leaves_nothing(host: EngineHost, user: str, victim: str) -> None:
    serve(host, user, "-p", f"127.0.0.1:{free_port()}:80")
    [pasta] = programs(host, user, "pasta")
    status = Path(f"/proc/{pasta}/status").read_text()
    guardian = int(status.partition("PPid:")[2].split()[0])
    parent = int(Path(f"/proc/{guardian}/status").read_text().partition("PPid:")[2].split()[0])
    os.kill({"pasta": pasta, "guardian": guardian, "supervisor": parent}[victim], signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pasta}").exists(), what="pasta to end")
    stopped = host.run("stop", "-t", "0", "web", user=user)
    assert stopped.returncode == 0, stopped.stderr
    assert host.run("rm", "web", user=user).returncode == 0
    assert host.containers(user) == []
    assert not Path(f"/proc/{guardian}").exists() or _is_zombie(guardian)


def _is_zombie(pid: int) -> bool:
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()


def test_without_pasta_the_package_is_named(host: EngineHost, tmp_path: Path) -> None:
    cover = tmp_path / "cover"
    cover.touch(mode=0o644)
    script = 'mount --bind "$0" "$(readlink -f "$(command -v pasta)")" && exec "$@"'
    words = host.command("run", "--rm", "--network", "private", "testimage", "true")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, str(cover), *words],
        env=host.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 125
    assert "apt-get install passt" in done.stderr
    assert host.containers("root") == []
