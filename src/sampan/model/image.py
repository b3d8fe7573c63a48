"""The parts of an OCI image configuration that Sampan acts on (image-spec, config.md)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sampan.errors import UsageError


class Platform(NamedTuple):
    """Operating system and architecture in Go's words, e.g. linux/amd64, linux/arm64/v8."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


class ImageConfig(NamedTuple):
    """What the image says of how to run it; ``raw`` is the whole document, kept as it came."""

    platform: Platform
    environment: tuple[str, ...]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    working_directory: str
    user: str
    stop_signal: str
    volumes: tuple[str, ...]
    labels: dict[str, str]
    diff_ids: tuple[str, ...]
    raw: Mapping[str, Any]


def parse_image_config(document: Mapping[str, Any]) -> ImageConfig:
    """Read an OCI or docker v2s2 image configuration; absent members take the spec's defaults."""
    run: Mapping[str, Any] = document.get("config") or {}
    return ImageConfig(
        platform=Platform(
            str(document.get("os") or "linux"),
            str(document.get("architecture") or "amd64"),
            str(document.get("variant") or ""),
        ),
        environment=tuple(run.get("Env") or ()),
        entrypoint=tuple(run.get("Entrypoint") or ()),
        command=tuple(run.get("Cmd") or ()),
        working_directory=str(run.get("WorkingDir") or ""),
        user=str(run.get("User") or ""),
        stop_signal=str(run.get("StopSignal") or ""),
        volumes=tuple(run.get("Volumes") or {}),
        labels=dict(run.get("Labels") or {}),
        diff_ids=tuple((document.get("rootfs") or {}).get("diff_ids") or ()),
        raw=document,
    )


_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i686": "386",
                  "i386": "386", "armv7l": "arm", "armhf": "arm", "armv6l": "arm"}  # fmt: skip
_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


def parse_platform(text: str) -> Platform:
    """Read ``os/architecture[/variant]``, or an architecture alone, in Go's or the kernel's words.

    Raises:
        UsageError: it has another form.
    """
    parts = text.lower().split("/")
    if len(parts) == 1:
        parts = ["linux", *parts]
    if len(parts) > 3 or not all(parts):
        raise UsageError(
            f"{text!r} is not a platform", remedy="write linux/amd64, linux/arm64 or linux/arm/v7"
        )
    architecture = _ARCHITECTURES.get(parts[1], parts[1])
    variant = parts[2] if len(parts) == 3 else {"armv6l": "v6"}.get(parts[1], "")
    return Platform(parts[0], architecture, variant)


def match_platform(wanted: Platform, offered: Platform) -> int:
    """How well an image's platform serves a wish: 0 not at all, higher is better."""
    if (wanted.os, wanted.architecture) != (offered.os, offered.architecture):
        return 0
    default = _DEFAULT_VARIANTS.get(offered.architecture, "")
    if (wanted.variant or default) == (offered.variant or default):
        return 2
    return 0 if wanted.variant else 1
