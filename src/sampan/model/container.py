"""What the user asked of a container, in ``docker run``'s words, for any engine."""

from typing import NamedTuple


class VolumeMount(NamedTuple):
    """One of ``-v``, ``--mount`` or ``--tmpfs``.

    Attributes:
        kind: ``bind`` or ``tmpfs``.
        source: absolute host path of a bind; empty for tmpfs.
        target: absolute container path.
        options: OCI mount options, e.g. ("rbind", "ro"), ("size=64m",).
    """

    kind: str
    source: str
    target: str
    options: tuple[str, ...]


class PublishedPort(NamedTuple):
    """One of ``-p``: host address (empty = all), host port, container port, ``tcp`` or ``udp``."""

    address: str
    host_port: int
    container_port: int
    protocol: str


class ContainerSpec(NamedTuple):
    """A container to run; None or empty where the user said nothing and the image decides.

    Attributes:
        arguments: words after the image; they replace CMD.
        entrypoint: None = the image's; ``("",)`` or ``()`` clears it.
        environment: NAME, VALUE pairs of ``-e`` and ``--env-file`` in order.
        memory_bytes, cpus, pids_limit: resource limits; None = no limit.
        shm_bytes: size of /dev/shm; None = half of the memory.
        network: ``host``, ``none`` or ``private``.
        ipc: ``private``, ``host`` or ``none`` (private without /dev/shm).
        stop_timeout_s: seconds between the stop signal and SIGKILL.
        devices: (host path, container path, permissions) of ``--device``.
        cdi_devices: qualified CDI names among ``--device``, in the user's order; they are looked up in
            ``cdi_directories``, where empty means the usual ones.
        gpus: the text of ``--gpus``; None when not given.
        driver_root, dev_root: where the driver and its nodes are; empty = as ``driver.chosen_roots``.
        platform: the text of ``--platform``; empty = the host's.
        removed_variables: names that the container is not to have, though the image sets them.
    """

    image: str
    arguments: tuple[str, ...] = ()
    name: str = ""
    entrypoint: tuple[str, ...] | None = None
    environment: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    mounts: tuple[VolumeMount, ...] = ()
    devices: tuple[tuple[str, str, str], ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_options: tuple[str, ...] = ()
    interactive: bool = False
    terminal: bool = False
    detach: bool = False
    remove: bool = False
    read_only: bool = False
    init: bool = False
    working_directory: str = ""
    user: str = ""
    hostname: str = ""
    network: str = "host"
    ipc: str = "private"
    shm_bytes: int | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    pids_limit: int | None = None
    stop_signal: str = ""
    stop_timeout_s: int = 10
    gpus: str | None = None
    platform: str = ""
    removed_variables: tuple[str, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    cdi_directories: tuple[str, ...] = ()
    driver_root: str = ""
    dev_root: str = ""
