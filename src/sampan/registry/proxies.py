"""Which proxy a URL goes through: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY as Go reads them.

So that who has made docker's client work behind a proxy has made us work too. Loopback is never
sent to a proxy.
"""

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit


def find_proxy(url: str, environment: Mapping[str, str]) -> str | None:
    """The proxy's URL, or None for a direct connection."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host):
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    proxy = _value(environment, f"{parts.scheme}_proxy") or _value(environment, "all_proxy")
    if not proxy or _is_excepted(host, port, _value(environment, "no_proxy")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def is_inside(host: str) -> bool:
    """Whether a host, by its name or address alone, is this machine or on its link.

    Among the latter are clouds' metadata services (169.254.169.254). The short and numeric spellings
    that the resolver takes (``127.1``, ``2130706433``) are read as it reads them. Names that resolve
    to such addresses are not seen here.
    """
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(name))
        except (OSError, UnicodeError):
            return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_link_local or address.is_unspecified


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own by its form."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _value(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.upper()) or ""


def _is_excepted(host: str, port: int, exceptions: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for word in exceptions.replace(" ", ",").split(","):
        name, port_text = _split_port(word.strip().lower())
        if not name or (port_text and port_text != str(port)):
            continue
        if name == "*":
            return True
        if address is not None:
            try:
                if address in ipaddress.ip_network(name, strict=False):
                    return True
            except ValueError:
                continue
        elif host.rstrip(".") == name or host.rstrip(".").endswith(f".{_suffix(name)}"):
            return True
    return False


def _suffix(name: str) -> str:
    """``.example.com`` and ``*.example.com`` mean the hosts below it, not itself."""
    return name.removeprefix("*").removeprefix(".")


def _split_port(word: str) -> tuple[str, str]:
    if word.startswith("["):
        name, _, port = word[1:].partition("]")
        return name, port.removeprefix(":")
    if word.count(":") == 1:
        name, _, port = word.partition(":")
        return name, port
    return word, ""
