"""What is wanted of the host's driver: the outcome of --gpus and the NVIDIA_* variables."""

from typing import NamedTuple


class Request(NamedTuple):
    """A wish, before it meets an inventory.

    Attributes:
        driver: False = import nothing at all (void, empty, unset on a modern image).
        devices: identifiers in the user's words (``0``, ``GPU-...``, a PCI bus id, ``0:1``,
            ``MIG-...``), or ``("all",)``; empty = driver files and control nodes only (``none``).
        gpu_count: for ``--gpus N``: that many, the first ones; None when devices name them.
        capabilities: driver capabilities, sorted; ``all`` already expanded.
        source: where the wish comes from, for messages, e.g. ``--gpus all``,
            ``NVIDIA_VISIBLE_DEVICES=0 (image)``.
        idle_count: for ``--gpus idle:N``: that many of the least used; the caller leases them and
            puts what it got into ``devices``.
        extras: of ``model.inventory.EXTRA_KINDS``, sorted.
        imex_channels: numbers of the IMEX channels asked for.
        cdi_devices: fully qualified CDI names (``vendor.com/class=name``), in the user's order.
    """

    driver: bool
    devices: tuple[str, ...]
    gpu_count: int | None
    capabilities: tuple[str, ...]
    source: str
    idle_count: int | None = None
    extras: tuple[str, ...] = ()
    imex_channels: tuple[int, ...] = ()
    cdi_devices: tuple[str, ...] = ()
