"""HTTP below the registry protocol: connections, TLS, proxies, repeats, redirects (urllib3).

Two rules stand here and nowhere else: ``Authorization`` never follows a redirect to another host,
and nothing that a server does makes us ask for ever.
"""

import contextlib
import email.utils
import http.client
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError

from sampan import __version__
from sampan.registry.failures import (
    CertificateError,
    RegistryError,
    UnreachableError,
    explain_breakage,
    plain_url,
)
from sampan.registry.proxies import find_proxy
from sampan.registry.settings import Settings

BREAKAGES = (HTTPError, OSError, http.client.HTTPException)
"""What urllib3 and what it stands on raise when a connection fails or breaks."""

MAXIMUM_REDIRECTS = 10
MAXIMUM_ERROR_BODY = 64 << 10

_AGAIN = frozenset({408, 429, 499, 500, 502, 503, 504, 522})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEBIAN_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class Answer(NamedTuple):
    """An HTTP answer.

    Attributes:
        headers: names in lower case; of repeated ones the values joined by ", ".
        body: empty while ``stream`` is there to be read.
        url: what answered, after redirects.
        is_elsewhere: whether that is another host than the one asked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    is_elsewhere: bool
    stream: urllib3.BaseHTTPResponse | None = None


class Transport:
    """Connections to any host; safe for threads."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        """Open nothing yet.

        Args:
            settings: patience, trust.
            environment: for proxies; SSL_CERT_FILE and SSL_CERT_DIR are read by OpenSSL itself.
        """
        self._settings = settings
        self._environment = environment
        self._pools: dict[tuple[str, str | None], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        limit: int | None,
        body: bytes | None = None,
        attempts: int | None = None,
    ) -> Answer:
        """Send a request, again where that may help, and follow its redirects.

        Args:
            method: repeated and redirected only because all of ours change nothing.
            url: absolute.
            headers: ``Authorization`` goes to the host of ``url`` alone.
            limit: bytes of a body at the most; None = leave a successful body in ``stream``.
            body: of a POST.
            attempts: in place of the settings'.

        Raises:
            UnreachableError, CertificateError: there is no answer.
            RegistryError: the body is longer than ``limit``, redirects go wrong.
        """
        most = attempts or self._settings.attempts
        for attempt in range(1, most + 1):
            try:
                answer = self._follow(method, url, headers, body, limit)
            except BREAKAGES as error:
                failure = explain_breakage(error, url)
                if attempt == most or not _is_passing(failure, error):
                    raise failure from error
                wait = self.pause(attempt)
            else:
                wanted = _wanted_pause(answer)
                wait = self.pause(attempt) if wanted is None else wanted
                if (
                    answer.status not in _AGAIN
                    or attempt == most
                    or wait > self._settings.longest_pause_s
                ):
                    return answer
            time.sleep(wait)
        raise AssertionError

    def pause(self, attempt: int) -> float:
        """Seconds to wait after the given attempt (from 1); spread, so that many clients part."""
        longest = min(self._settings.pause_s * 2.0 ** (attempt - 1), self._settings.longest_pause_s)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()
            self._pools.clear()

    def _follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        limit: int | None,
    ) -> Answer:
        sent = dict(headers)
        asked = url
        for _ in range(MAXIMUM_REDIRECTS + 1):
            response = self._send(method, url, sent, body)
            is_elsewhere = _origin(url) != _origin(asked)
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or not location:
                return _read_answer(
                    response, url, limit, is_elsewhere, self._settings.read_timeout_s
                )
            response.drain_conn()
            response.release_conn()
            target = urljoin(url, location)
            _check_target(url, target)
            if body is not None:
                # What we post is a secret.
                raise RegistryError(
                    f"{urlsplit(url).netloc} redirects what we post to it",
                    evidence=f"from {plain_url(url)} to {plain_url(target)}",
                    remedy="ask the registry's operator",
                )
            if _origin(target) != _origin(url):
                # Never given back: a host that we were sent to may send us on to a third.
                sent.pop("Authorization", None)
            url = target
        raise RegistryError(
            f"{urlsplit(asked).netloc} sends us round in circles",
            evidence=f"more than {MAXIMUM_REDIRECTS} redirects from {plain_url(asked)}, "
            f"the last to {plain_url(url)}",
        )

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> urllib3.BaseHTTPResponse:
        return self._pool(url).request(
            method,
            url,
            headers={
                "User-Agent": f"sampan/{__version__}",
                # Digests are of the bytes as stored; some servers compress on the way.
                "Accept-Encoding": "identity",
                **headers,
            },
            body=body,
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
            timeout=urllib3.Timeout(
                connect=self._settings.connect_timeout_s, read=self._settings.read_timeout_s
            ),
        )

    def _pool(self, url: str) -> urllib3.PoolManager:
        host = urlsplit(url).netloc.rpartition("@")[2]
        proxy = find_proxy(url, self._environment)
        with self._lock:
            pool = self._pools.get((host, proxy))
            if pool is None:
                pool = self._open_pool(host, proxy)
                self._pools[host, proxy] = pool
            return pool

    def _open_pool(self, host: str, proxy: str | None) -> urllib3.PoolManager:
        context = _trust(host, self._settings.certificate_directories)
        if proxy is None:
            return urllib3.PoolManager(maxsize=8, ssl_context=context)
        parts = urlsplit(proxy)
        if parts.scheme not in ("http", "https"):
            raise UnreachableError(
                "the proxy is of a kind that we do not speak to",
                evidence=f"{parts.scheme}://… in the environment",
                remedy="set HTTPS_PROXY to an http:// proxy, or NO_PROXY",
            )
        told = urllib3.make_headers()
        if parts.username is not None:
            told = urllib3.make_headers(proxy_basic_auth=f"{parts.username}:{parts.password or ''}")
        plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return urllib3.ProxyManager(plain, maxsize=8, ssl_context=context, proxy_headers=dict(told))


def _read_answer(
    response: urllib3.BaseHTTPResponse,
    url: str,
    limit: int | None,
    is_elsewhere: bool,
    patience_s: float,
) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    if limit is None and response.status in (200, 206):
        return Answer(response.status, headers, b"", url, is_elsewhere, response)
    is_error = response.status >= 400
    most = MAXIMUM_ERROR_BODY if is_error or limit is None else limit
    parts: list[bytes] = []
    left = most + 1
    deadline = time.monotonic() + 2 * patience_s
    try:
        while left > 0 and (part := response.read1(left, decode_content=False)):
            parts.append(part)
            left -= len(part)
            if time.monotonic() > deadline:
                raise TimeoutError
    except BREAKAGES:
        # Half an error message is as good as none.
        if not is_error:
            raise
    if left <= 0:
        response.close()
        if not is_error:
            raise RegistryError(
                f"{urlsplit(url).netloc} answers with more than we read",
                evidence=f"over {most:,} bytes from {plain_url(url)}",
            )
    response.release_conn()
    return Answer(response.status, headers, b"".join(parts)[:most], url, is_elsewhere)


def _is_passing(failure: RegistryError, error: BaseException) -> bool:
    """Whether the same request may well succeed a moment later."""
    if isinstance(failure, CertificateError):
        return False
    # No name, no route, nobody listening: the user waits for our answer, not for a miracle.
    return not isinstance(error, (NewConnectionError, ConnectTimeoutError, ProxyError))


def _wanted_pause(answer: Answer) -> float | None:
    """Seconds of ``Retry-After`` (RFC 9110, 10.2.3); None when it says nothing readable."""
    text = answer.headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return None


def _check_target(url: str, target: str) -> None:
    scheme = urlsplit(target).scheme
    if scheme == "https" or (scheme == "http" and urlsplit(url).scheme == "http"):
        return
    raise RegistryError(
        f"{urlsplit(url).netloc} sends us to a place where we do not go",
        evidence=f"from {plain_url(url)} to {plain_url(target)}: {scheme} after https",
        remedy="ask the registry's operator",
    )


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    return parts.scheme, parts.hostname or "", parts.port or default


def _trust(host: str, directories: tuple[str, ...]) -> ssl.SSLContext:
    """The system's CAs (SSL_CERT_FILE moves them) and what certs.d has for this host."""
    context = ssl.create_default_context()
    defaults = ssl.get_default_verify_paths()
    if not (defaults.cafile or defaults.capath) and Path(_DEBIAN_BUNDLE).exists():
        context.load_verify_locations(_DEBIAN_BUNDLE)
    for directory in directories:
        place = Path(directory, host)
        with contextlib.suppress(OSError):
            for certificate in sorted(place.glob("*.crt")):
                _load(context.load_verify_locations, certificate)
            for certificate in sorted(place.glob("*.cert")):
                _load(context.load_cert_chain, certificate, certificate.with_suffix(".key"))
    return context


def _load(load: Callable[..., object], *paths: Path) -> None:
    try:
        load(*map(str, paths))
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"{paths[0]} cannot be used",
            evidence=str(error.strerror or error),
            remedy="a CA is a PEM file NAME.crt, our own certificate NAME.cert with NAME.key",
        ) from error
