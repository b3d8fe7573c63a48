"""The grammar of option values of ``docker run``: sizes, ulimits, ports, variables, labels.

Text to values, nothing else; each refusal names the option and shows a right one. Mounts and
devices are in ``option_mounts.py``. On the start path: light imports.
"""

from typing import NoReturn

from sampan.errors import UsageError
from sampan.model.container import PublishedPort

UNLIMITED = -1
"""In ``ContainerSpec.ulimits``: no limit."""

ULIMITS = (
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc",
    "rss", "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip

_UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_TRUE = ("1", "t", "true")
_FALSE = ("0", "f", "false")


def refuse_value(option: str, text: str, expected: str, example: str) -> NoReturn:
    """Raise the UsageError for a value that an option cannot take."""
    raise UsageError(
        f"{option} cannot be {text!r}", evidence=f"expected {expected}", remedy=f"e.g. {example}"
    )


def parse_size(option: str, text: str) -> int:
    """Bytes of ``512m``, ``1.5g``, ``64KiB``, ``1024``; 1k is 1024 as with docker."""
    low = text.strip().lower()
    number = low.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = low[len(number) :].strip()
    if len(unit) > 1:
        unit = unit.removesuffix("ib") if unit.endswith("ib") else unit.removesuffix("b")
    try:
        size = int(float(number) * (1 << _UNITS[unit]))
    except (KeyError, ValueError, OverflowError):
        size = -1
    if size < 0:
        refuse_value(option, text, "bytes, or a number with b, k, m, g or t", f"{option} 512m")
    return size


def parse_boolean(option: str, text: str) -> bool:
    """``true``, ``1``, ``false``, ``0``, as in ``readonly=true``."""
    low = text.lower()
    if low not in _TRUE + _FALSE:
        refuse_value(option, text, "true or false", f"{option}=true")
    return low in _TRUE


def parse_number(option: str, text: str, lowest: int) -> int:
    """A whole number of at least ``lowest``."""
    try:
        number = int(text)
    except ValueError:
        number = lowest - 1
    if number < lowest:
        refuse_value(option, text, f"a whole number, {lowest} or more", f"{option} 100")
    return number


def parse_cpus(text: str) -> float:
    """The decimal number of ``--cpus``."""
    try:
        cpus = float(text)
    except ValueError:
        cpus = 0.0
    if not 0.01 <= cpus < 1e6:  # cgroups count in shares of a period of 100 ms, 1 ms at least
        refuse_value("--cpus", text, "a number of CPUs, 0.01 or more", "--cpus 1.5")
    return cpus


def parse_ulimit(text: str) -> tuple[str, int, int]:
    """``NAME=SOFT[:HARD]``; -1 is UNLIMITED."""
    name, _, limits = text.partition("=")
    soft, colon, hard = limits.partition(":")
    try:
        low = int(soft)
        high = int(hard) if colon else low
    except ValueError:
        low, high = -2, -2
    is_ordered = high == UNLIMITED or UNLIMITED < low <= high
    if name not in ULIMITS or min(low, high) < UNLIMITED or not is_ordered:
        known = ", ".join(ULIMITS)
        expected = f"NAME=SOFT[:HARD] with SOFT at most HARD, NAME one of {known}"
        refuse_value("--ulimit", text, expected, "--ulimit nofile=1024:4096")
    return name, low, high


def parse_label(text: str) -> tuple[str, str]:
    """``KEY=VALUE`` or ``KEY``."""
    key, _, value = text.partition("=")
    if not key:
        refuse_value("--label", text, "KEY=VALUE", "--label project=demo")
    return key, value


def parse_variable(text: str, environment: dict[str, str]) -> tuple[str, str] | None:
    """``NAME=VALUE``, or ``NAME`` for the value it has here; None when it has none."""
    name, equals, value = text.partition("=")
    if not name or "\0" in text:
        refuse_value("--env", text, "NAME=VALUE or NAME", "-e MODE=fast")
    if equals:
        return name, value
    return (name, environment[name]) if name in environment else None


def read_variables(
    files: list[str], texts: list[str], environment: dict[str, str]
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """What ``--env-file`` and ``-e`` set, in this order, and the names that ``-e`` removes.

    As with docker, ``-e NAME`` of a variable that is not set here takes it away from the image's;
    such a line of a file means nothing.
    """
    variables = [pair for path in files for pair in read_env_file(path, environment)]
    removed: dict[str, None] = {}
    for text in texts:
        pair = parse_variable(text, environment)
        if pair is None:
            removed[text] = None
            variables = [one for one in variables if one[0] != text]
        else:
            removed.pop(pair[0], None)
            variables.append(pair)
    return tuple(variables), tuple(removed)


def read_env_file(path: str, environment: dict[str, str]) -> list[tuple[str, str]]:
    """The variables of an ``--env-file``: one a line, ``#`` begins a comment line, no quoting.

    Raises:
        UsageError: it cannot be read, or a name holds blanks.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as stream:
            lines = stream.read().split("\n")
    except OSError as error:
        raise UsageError(
            f"cannot read --env-file {path}",
            evidence=str(error.strerror),
            remedy="name a readable file with NAME=VALUE lines",
        ) from error
    found = []
    for number, line in enumerate(lines, 1):
        text = line.lstrip().removesuffix("\r")
        if not text or text.startswith("#"):
            continue
        name = text.partition("=")[0]
        if not name or any(letter.isspace() for letter in name):
            raise UsageError(
                f"a variable's name in --env-file {path} is empty or holds blanks",
                evidence=f"line {number}: {line!r}",
                remedy="write NAME=VALUE; quotes and `export` are not understood, as with docker",
            )
        pair = parse_variable(text, environment)
        if pair is not None:
            found.append(pair)
    return found


def parse_ports(text: str) -> list[PublishedPort]:
    """``[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]``; both may be ranges of the same length.

    A host port that is left out is 0: any free one.
    """
    rest, _, protocol = text.partition("/")
    address, rest = _split_address(rest)
    host, _, container = rest.rpartition(":")
    if ":" in host:
        address, _, host = host.rpartition(":")
    try:
        inside = _port_range(container)
        outside = _port_range(host) if host else [0] * len(inside)
        if len(outside) > len(inside) == 1:
            # docker: one free port out of a range for a single container port
            outside = [_first_free(outside)]
    except ValueError:
        inside, outside = [], []
    is_fine = protocol.lower() in ("", "tcp", "udp") and _is_address(address)
    if not inside or len(inside) != len(outside) or not is_fine:
        expected = "[ADDRESS:][HOST:]CONTAINER[/tcp|udp], ports from 1 to 65535"
        refuse_value("--publish", text, expected, "-p 127.0.0.1:8080:80")
    kind = protocol.lower() or "tcp"
    return [PublishedPort(address, *pair, kind) for pair in zip(outside, inside, strict=True)]


def _split_address(text: str) -> tuple[str, str]:
    if not text.startswith("["):
        return "", text
    address, _, rest = text[1:].partition("]")
    return address, rest.removeprefix(":")


def _is_address(text: str) -> bool:
    if not text:
        return True
    import _socket  # the socket module itself costs 5 ms for names we do not use

    family = _socket.AF_INET6 if ":" in text else _socket.AF_INET
    try:
        _socket.inet_pton(family, text)
    except OSError:
        return False
    return True


def _port_range(text: str) -> list[int]:
    first, dash, last = text.partition("-")
    low = int(first)
    high = int(last) if dash else low
    if not 1 <= low <= high <= 65535:
        raise ValueError(text)
    return list(range(low, high + 1))


def _first_free(ports: list[int]) -> int:
    import _socket

    for port in ports:
        probe = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        try:
            probe.bind(("", port))
        except OSError:
            continue
        finally:
            probe.close()
        return port
    raise UsageError(f"all host ports from {ports[0]} to {ports[-1]} are in use")
