"""Whom a TLS connection trusts: the system's authorities, certs.d, and what configuration adds.

``certs.d/HOST[:PORT]/*.crt`` are authorities, ``*.cert`` with ``*.key`` is our own certificate there
(docker's and containers-certs.d(5)).
"""

import contextlib
import os
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path

from sampan.registry.endpoints import Trust
from sampan.registry.failures import CertificateError

_DEBIAN_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def make_context(host: str, trust: Trust, directories: Iterable[str]) -> ssl.SSLContext:
    """The TLS context for one host.

    Args:
        host: with its port when it is not 443.
        trust: what was configured for it.
        directories: hold ``HOST[:PORT]/``. SSL_CERT_FILE and SSL_CERT_DIR move the system's.

    Raises:
        CertificateError: a file is damaged, or a key is missing.
    """
    context = ssl.create_default_context()
    defaults = ssl.get_default_verify_paths()
    if not (defaults.cafile or defaults.capath) and Path(_DEBIAN_BUNDLE).exists():
        context.load_verify_locations(_DEBIAN_BUNDLE)
    for directory in (*(os.path.join(place, host) for place in directories), *trust.directories):
        _load_directory(context, Path(directory))
    for authority in trust.authorities:
        _load(context.load_verify_locations, authority)
    for certificate, key in trust.certificates:
        _load(context.load_cert_chain, certificate, *([key] if key else []))
    if not trust.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_directory(context: ssl.SSLContext, place: Path) -> None:
    # One that is not for our eyes is for root's programs.
    with contextlib.suppress(OSError):
        for path in sorted(place.iterdir()):
            if path.suffix == ".crt":
                _load(context.load_verify_locations, str(path))
            elif path.suffix == ".cert":
                _load(context.load_cert_chain, str(path), str(path.with_suffix(".key")))


def _load(load: Callable[..., object], *paths: str) -> None:
    try:
        load(*paths)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"{paths[0]} cannot be used",
            evidence=str(error.strerror or error),
            remedy="a CA is a PEM file NAME.crt, our own certificate NAME.cert with NAME.key",
        ) from error
