"""What an image's configuration lets on about the distribution below it, before a layer is there.

Labels and history are words of whoever built the image: hints, never facts. What is inside is known
when the image is linked (``ImageFacts``).
"""

import re
from typing import NamedTuple

from sampan.model.image import ImageConfig

_LABELS = ("org.opencontainers.image.base.name", "org.opencontainers.image.ref.name")
_VERSION = "org.opencontainers.image.version"
_MUSL = ("alpine", "musl", "void-musl", "postmarketos", "chimera-linux")
_GLIBC = ("ubuntu", "debian", "rockylinux", "almalinux", "centos", "fedora", "ubi8", "ubi9", "ubi10",
          "rhel", "opensuse", "sles", "amazonlinux", "archlinux", "oraclelinux", "wolfi", "photon",
          "azurelinux", "mariner")  # fmt: skip
_HISTORY = (
    (re.compile(r"alpine-minirootfs-([0-9.]+)"), "alpine"),
    (re.compile(r"# debian\.sh .*? out/ '([a-z]+)'"), "debian"),
    (re.compile(r"ubuntu-([a-z]+)-oci-"), "ubuntu"),
    (re.compile(r"rootfs-([0-9.]+)\S*\.tar.*rocky", re.IGNORECASE), "rockylinux"),
)
_LONGEST = 80


class BaseHint(NamedTuple):
    """A distribution, as far as the configuration tells.

    Attributes:
        name: e.g. ``ubuntu 22.04``; empty when nothing tells.
        libc: ``glibc``, ``musl``, or empty when it is not known before the image is fetched.
    """

    name: str = ""
    libc: str = ""


def guess_base(config: ImageConfig) -> BaseHint:
    """The distribution that an image is built on, by its history and labels."""
    for text in _history(config):
        for pattern, name in _HISTORY:
            found = pattern.search(text)
            if found:
                return _hint(f"{name} {found[1]}")
    labels = config.labels
    version = labels.get(_VERSION, "")
    for label in _LABELS:
        if name := labels.get(label, ""):
            return _hint(f"{name} {version}" if ":" not in name and version else name)
    if "com.redhat.component" in labels and labels.get("name"):
        return _hint(f"{labels['name']} {labels.get('version', '')}")
    return BaseHint()


def _hint(text: str) -> BaseHint:
    name = "".join(c for c in text if c.isprintable()).strip()[:_LONGEST]
    words = re.split(r"[^a-z0-9]+", name.lower())
    if any(word in words for word in _MUSL):
        return BaseHint(name, "musl")
    return BaseHint(name, "glibc" if any(word in words for word in _GLIBC) else "")


def _history(config: ImageConfig) -> list[str]:
    entries = config.raw.get("history")
    if not isinstance(entries, list):
        return []
    return [
        str(entry.get("created_by") or "")[:2000]
        for entry in entries[:200]
        if isinstance(entry, dict)
    ]
