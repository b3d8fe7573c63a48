"""The parts of an OCI image configuration that Sampan acts on (image-spec, config.md)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sampan.errors import SampanError, UsageError


class ImageConfigError(SampanError):
    """An image's configuration is not what image-spec says one is."""

    id = "image-config"


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
    """Read an OCI or docker v2s2 image configuration; absent members take the spec's defaults.

    Raises:
        ImageConfigError: a member has another type, or text that no program can be given.
    """
    if not isinstance(document, dict):
        raise _malformed("the document", document)
    run = _object(document, "config")
    return ImageConfig(
        platform=Platform(
            _text(document, "os") or "linux",
            _text(document, "architecture") or "amd64",
            _text(document, "variant"),
        ),
        environment=_texts(run, "Env"),
        entrypoint=_texts(run, "Entrypoint"),
        command=_texts(run, "Cmd"),
        working_directory=_text(run, "WorkingDir"),
        user=_text(run, "User"),
        stop_signal=_text(run, "StopSignal"),
        volumes=tuple(_checked("Volumes", path) for path in _object(run, "Volumes")),
        labels={
            _checked("Labels", name): _checked("Labels", "" if value is None else value)
            for name, value in _object(run, "Labels").items()
        },
        diff_ids=_texts(_object(document, "rootfs"), "diff_ids"),
        raw=document,
    )


def _object(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name) or {}
    if not isinstance(found, dict):
        raise _malformed(name, found)
    return found


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = document.get(name) or []
    if not isinstance(found, list):
        raise _malformed(name, found)
    return tuple(_checked(name, item) for item in found)


def _text(document: Mapping[str, Any], name: str) -> str:
    return _checked(name, document.get(name) or "")


def _checked(name: str, found: object) -> str:
    """Text without NUL, which would end it for the kernel but not for us."""
    if not isinstance(found, str) or "\0" in found:
        raise _malformed(name, found)
    try:
        found.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise _malformed(name, found) from error
    return found


def _malformed(name: str, found: object) -> ImageConfigError:
    return ImageConfigError(
        f"the image's configuration is malformed: {name}",
        evidence=repr(found)[:100],
        remedy="build or export the image again; image-spec (config.md) has the form",
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
