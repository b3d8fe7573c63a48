"""``sampan about``: all that is known of an image in a registry, without fetching it."""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sampan.cli.flags import add_flag
from sampan.cli.registry_options import add_registry_options, registry_settings
from sampan.engines.host_fit import HostFit
from sampan.engines.remote_details import ImageDetails, describe_image
from sampan.errors import UsageError

_MAXIMUM_KEY = 1 << 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan about [OPTIONS] REFERENCE"
    parser.add_argument(
        "--platform",
        metavar="OS/ARCH[/VARIANT]",
        default="",
        help="whose configuration is read, of several; the host's by default",
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        default="",
        help="public key (PEM) that must confirm a signature of the image; otherwise it is refused",
    )
    add_flag(parser.add_argument, "--json", help="a JSON object with all that is known")
    add_registry_options(parser)
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        help="[REGISTRY/]NAME:TAG, or the address of its page at NGC or Docker Hub",
    )


def main(arguments: argparse.Namespace) -> int:
    """Look and print."""
    from sampan.cli.render import print_warning
    from sampan.model.image import parse_platform

    details = describe_image(
        arguments.reference,
        environment=os.environ,
        platform=parse_platform(arguments.platform) if arguments.platform else None,
        key=_read_key(arguments.key) if arguments.key else None,
        settings=registry_settings(arguments),
    )
    for note in details.notes:
        print_warning(note)
    if arguments.json:
        print(json.dumps(_document(details), indent=2))
    else:
        _print_lines(list(_lines(details)))
    return 0


def _read_key(path: str) -> bytes:
    try:
        with open(Path(path), "rb") as stream:
            return stream.read(_MAXIMUM_KEY)
    except OSError as error:
        raise UsageError(
            f"cannot read the key {path}", evidence=error.strerror or str(error)
        ) from error


def _print_lines(lines: list[tuple[str, str]]) -> None:
    from sampan.cli.columns import format_columns
    from sampan.cli.render import printable

    print(format_columns(lines[0], [(name, printable(words)) for name, words in lines[1:]]))


def _lines(details: ImageDetails) -> Iterator[tuple[str, str]]:
    from sampan.cli.humanize import human_size

    remote, catalogue = details.remote, details.catalogue
    yield "image", details.reference.familiar
    yield "digest", remote.digest
    if catalogue is not None:
        by = f" (published by {catalogue.publisher})" if catalogue.publisher else ""
        yield "catalogue", f"{catalogue.title}{by}"
    if created := str(remote.config.raw.get("created") or ""):
        yield "created", created[:10]
    for image in remote.images:
        size = ""
        if image.layers:
            layers = f"{image.layers} layer{'' if image.layers == 1 else 's'}"
            size = f": {human_size(image.size)} to fetch, {layers}"
        yield "platform", f"{image.platform}{size}"
    if details.cuda:
        yield "CUDA", details.cuda
    for need in details.needs:
        yield "needs", need
    if details.needs and details.brings_compatibility:
        yield "", "older drivers will do on data-centre GPUs: it brings compatibility libraries"
    yield "this host", _host_words(details.host, bool(details.needs))
    yield "signed", _signature_words(details)
    if details.rate_limit:
        yield "limit", details.rate_limit
    if catalogue is not None and catalogue.needs_key:
        yield "access", "needs a key: sampan login nvcr.io"
    if catalogue is not None and any(terms.is_due for terms in catalogue.terms):
        yield "terms", f"to be accepted once: sampan accept-license {details.reference.name}"


def _host_words(host: HostFit, demands: bool) -> str:
    if host.fits is None:
        return "no NVIDIA driver" + (": whether it fits is not known" if demands else "")
    cuda = f", CUDA {host.cuda}" if host.cuda else ""
    if host.fits:
        return f"driver {host.driver}{cuda}: fits"
    return f"driver {host.driver}{cuda}: does not fit ({host.why_not})"


def _signature_words(details: ImageDetails) -> str:
    if details.verified:
        return "yes, confirmed by the key"
    if details.remote.signatures:
        return "yes (not verified: --key FILE)"
    if details.catalogue is not None and details.catalogue.is_signed:
        return "NGC says that the repository has signed tags; the registry shows no signature"
    return "no signature found"


def _document(details: ImageDetails) -> dict[str, Any]:
    remote, catalogue = details.remote, details.catalogue
    return {
        "reference": str(details.reference),
        "digest": remote.digest,
        "media_type": remote.media_type,
        "created": remote.config.raw.get("created") or "",
        "platforms": [
            {**image._asdict(), "platform": str(image.platform)} for image in remote.images
        ],
        "platform": str(remote.config.platform),
        "cuda": details.cuda,
        "needs": details.needs,
        "brings_compatibility": details.brings_compatibility,
        "host": details.host._asdict(),
        "signatures": [signature.kind for signature in remote.signatures],
        "verified_digest": details.verified,
        "rate_limit": details.rate_limit,
        "labels": remote.config.labels,
        "environment": remote.config.environment,
        "catalogue": None
        if catalogue is None
        else {**catalogue._asdict(), "terms": [terms._asdict() for terms in catalogue.terms]},
    }
