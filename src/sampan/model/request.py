"""What is wanted of the host's driver: the outcome of --gpus and the NVIDIA_* variables."""

from typing import NamedTuple


class Request(NamedTuple):
    """A wish, before it meets an inventory.

    Attributes:
        driver: False = import nothing at all (void, empty, unset on a modern image).
        devices: identifiers in the user's words (``0``, ``GPU-...``, a PCI bus id), or
            ``("all",)``; empty = driver files and control nodes only (``none``).
        gpu_count: for ``--gpus N``: that many, the first ones; None when devices name them.
        capabilities: driver capabilities, sorted; ``all`` already expanded.
        source: where the wish comes from, for messages, e.g. ``--gpus all``,
            ``NVIDIA_VISIBLE_DEVICES=0 (image)``.
    """

    driver: bool
    devices: tuple[str, ...]
    gpu_count: int | None
    capabilities: tuple[str, ...]
    source: str
