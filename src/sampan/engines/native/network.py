"""A container's own network: pasta carries its traffic, and its published ports, without root.

pasta runs in the container's outer pid namespace, so that it ends with the container however that
ends, and in the host's network namespace, where it opens its sockets. Rules: pasta(1). The
loopback of ``none`` and ``private`` is raised by pid 1 itself (``kernel/network.py``).
"""

import errno
import fcntl
import os

from sampan.errors import SampanError
from sampan.kernel import libc, mounts
from sampan.kernel.enter import start_guarded
from sampan.kernel.programs import find_executable
from sampan.model.container import PublishedPort

_RESOLVER = "169.254.1.1"
"""What pasta answers as a name server in place of one on the host's own loopback."""

_TUN = "/dev/net/tun"

_PORT_REMEDIES = {
    errno.EADDRINUSE: "choose another host port, or leave it out: -p CONTAINER_PORT",
    errno.EACCES: "ports below 1024 are root's: choose a higher one, or "
    "sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80",
    errno.EADDRNOTAVAIL: "ip address lists this host's addresses",
}


class NetworkError(SampanError):
    """The container's network cannot be made, or a port cannot be published."""

    id = "network"


def assign_ports(ports: tuple[PublishedPort, ...]) -> tuple[PublishedPort, ...]:
    """Choose a free host port where the user left it out.

    Raises:
        NetworkError: a port is in use, or not this user's to open, or the address not this host's.
    """
    return tuple(port._replace(host_port=_probe_port(port)) for port in ports)


def describe_ports(ports: tuple[PublishedPort, ...]) -> tuple[str, ...]:
    """As ``sampan ps`` shows them, e.g. ``0.0.0.0:8080->80/tcp``."""
    return tuple(
        f"{_bracketed(port.address) or '0.0.0.0'}:{port.host_port}->"  # noqa: S104 - shown, not bound
        f"{port.container_port}/{port.protocol}"
        for port in ports
    )


def resolver_text(host_text: str) -> str:
    """resolv.conf for a private network.

    Args:
        host_text: the host's; name servers on its loopback cannot be reached from the container
            and are replaced by one that pasta answers for.
    """
    lines = []
    for line in host_text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _is_loopback(words[1]):
            line = f"nameserver {_RESOLVER}"  # noqa: PLW2901
        if line not in lines or not line.startswith("nameserver"):
            lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def connect_private(pid: int, ports: tuple[PublishedPort, ...], directory: str) -> None:
    """Connect the network namespace of ``pid`` to the host's network; return when it works.

    Args:
        pid: pid 1 of the container's outer pid namespace, id maps written.
        ports: to publish, host ports assigned.
        directory: of the container's state, for a mount point that only pasta sees.

    Raises:
        NetworkError: pasta is not installed or refuses, e.g. since a port is in use.
    """
    pasta = find_executable("pasta")
    if not pasta:
        raise NetworkError(
            "pasta is needed for a network of the container's own",
            evidence="not on PATH, nor in the system directories",
            remedy="sudo apt-get install passt    or --network host, or --network none",
        )
    if not os.access(_TUN, os.R_OK | os.W_OK):
        raise NetworkError(
            "this user may not make a network of the container's own",
            evidence=_describe_tun(),
            remedy=f"sudo modprobe tun; sudo chmod 0666 {_TUN}    or --network host, or none",
        )
    place, gate = f"{directory}/netns", f"{directory}/network-ready"
    os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    # pasta writes its "pid file" once the network works; a fifo turns that into an event.
    os.mkfifo(gate, 0o600)
    ready = os.open(gate, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    words = [pasta, "--foreground", "--pid", gate]
    words += _arguments(ports, place, as_root=os.geteuid() == 0)
    said = os.memfd_create("pasta", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    def become_pasta() -> list[str]:
        # pasta gives up the right to look into other processes before it opens the namespace, so
        # it gets it as a file, in a mount namespace of its own.
        libc.unshare(libc.CLONE_NEWNS)
        mounts.keep_mounts_private()
        mounts.bind(f"/proc/{pid}/ns/net", place)
        return words

    try:
        guardian = start_guarded(
            pid,
            libc.CLONE_NEWUSER | libc.CLONE_NEWPID,
            become_pasta,
            descriptors={0: null, 1: said, 2: said},
        )
        if not _await_ready(ready, guardian):
            code = os.waitstatus_to_exitcode(os.waitpid(guardian, 0)[1])
            text = os.pread(said, 1 << 16, 0).decode(errors="replace")
            raise _explain(text, code)
        # What it may say later, nobody reads; it is not to fill the memory.
        fcntl.fcntl(said, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    finally:
        for descriptor in (ready, said, null):
            os.close(descriptor)
        os.unlink(gate)


def _await_ready(ready: int, guardian: int) -> bool:
    import select

    pidfd = os.pidfd_open(guardian)
    try:
        select.select([ready, pidfd], [], [])
        return bool(os.read(ready, 16))
    except BlockingIOError:
        return False
    finally:
        os.close(pidfd)


def _arguments(ports: tuple[PublishedPort, ...], place: str, *, as_root: bool) -> list[str]:
    words = ["--config-net", "--netns-only", "--netns", place, "--quiet", "--no-map-gw"]
    words += ["-T", "none", "-U", "none"]
    if as_root:
        # Its default for root, the user nobody, may not enter the namespace.
        words += ["--runas", "0"]
    if _has_loopback_resolver():
        words += ["--dns-forward", _RESOLVER]
    for option, protocol in (("-t", "tcp"), ("-u", "udp")):
        chosen = [port for port in ports if port.protocol == protocol]
        for port in chosen:
            address = f"{port.address}/" if port.address else ""
            words += [option, f"{address}{port.host_port}:{port.container_port}"]
        if not chosen:
            words += [option, "none"]
    return words


def _explain(text: str, code: int) -> NetworkError:
    # It complains of a missing system logger on its way.
    lines = [line for line in text.splitlines() if line and "to syslog" not in line]
    said = " | ".join(lines[-2:]) or f"exit code {code}"
    return NetworkError(
        "pasta cannot connect the container's network",
        evidence=said,
        remedy="the host needs an interface with a default route; else --network host or none",
    )


def _describe_tun() -> str:
    import stat

    try:
        return f"{_TUN} has mode {stat.filemode(os.stat(_TUN).st_mode)}"
    except OSError as error:
        return f"{_TUN}: {error.strerror}"


def _probe_port(port: PublishedPort) -> int:
    """Bind the port for a moment: pasta itself keeps silent about ports it cannot have."""
    import _socket

    family = _socket.AF_INET6 if ":" in port.address else _socket.AF_INET
    kind = _socket.SOCK_DGRAM if port.protocol == "udp" else _socket.SOCK_STREAM
    probe = _socket.socket(family, kind)
    try:
        if port.protocol == "tcp":
            # Ports that wait for late packets of closed connections can be had.
            probe.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        probe.bind((port.address, port.host_port))
        number: int = probe.getsockname()[1]
    except OSError as error:
        raise NetworkError(
            f"cannot publish {_bracketed(port.address) or '*'}:{port.host_port}/{port.protocol}",
            evidence=str(error.strerror),
            remedy=_PORT_REMEDIES.get(error.errno or 0, ""),
        ) from error
    finally:
        probe.close()
    return number


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _has_loopback_resolver() -> bool:
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as stream:
            lines = [line.split() for line in stream]
    except OSError:
        return False
    return any(
        len(words) > 1 and words[0] == "nameserver" and _is_loopback(words[1]) for words in lines
    )


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"
