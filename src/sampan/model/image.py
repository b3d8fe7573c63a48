"""The parts of an OCI image configuration that Sampan acts on (image-spec, config.md)."""

from collections.abc import Mapping
from typing import Any, NamedTuple


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
