"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container, written into its own layer.

Not bind-mounted as docker does: nobody has to follow the image's links for that, a host's change
of network is rare in a container's life, and the files vanish with the layer.
"""

from sampan.model.plan import PlannedFile

_LOOPBACK = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
    "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)
_RESOLVED = "/run/systemd/resolve/resolv.conf"


def plan_name_files(
    etc: str, hostname: str, network: str, resolver: str | None = None
) -> tuple[PlannedFile, ...]:
    """The three files.

    Args:
        etc: real path of the image's /etc.
        hostname: the container's.
        network: ``host`` takes over the host's files; ``none`` needs no resolver.
        resolver: content of resolv.conf, where the network brings its own.
    """
    hosts = _read("/etc/hosts") if network == "host" else ""
    files = [
        (f"{etc}/hostname", f"{hostname}\n"),
        (f"{etc}/hosts", hosts or f"{_LOOPBACK}127.0.1.1\t{hostname}\n"),
    ]
    if network != "none":
        files.append((f"{etc}/resolv.conf", _resolver(network) if resolver is None else resolver))
    return tuple(
        PlannedFile(path, text.encode("utf-8", "surrogateescape"), 0o644) for path, text in files
    )


def _resolver(network: str) -> str:
    text = _read("/etc/resolv.conf")
    if network != "host" and "127.0.0.53" in text:
        # The stub resolver listens on the host's loopback, which a private network has not.
        text = _read(_RESOLVED) or text
    if network == "private":
        from sampan.engines.native.network import resolver_text

        return resolver_text(text)
    return text


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except OSError:
        return ""
