"""HTTP below the registry protocol: connections, TLS, proxies, repeats, redirects (urllib3).

Two rules stand here and nowhere else: ``Authorization`` never follows a redirect to another host,
and nothing that a server does makes us ask for ever.
"""

import http.client
import random
import threading
import time
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError

from sampan import __version__
from sampan.registry.addresses import RacingHttpPool, RacingHttpsPool
from sampan.registry.endpoints import Endpoint, Trust
from sampan.registry.failures import (
    CertificateError,
    RegistryError,
    UnreachableError,
    explain_breakage,
    plain_url,
)
from sampan.registry.patience import Patience, wanted_pause
from sampan.registry.proxies import find_proxy, is_inside
from sampan.registry.settings import Settings
from sampan.registry.trust import make_context

BREAKAGES = (HTTPError, OSError, http.client.HTTPException)
"""What urllib3 and what it stands on raise when a connection fails or breaks."""

MAXIMUM_REDIRECTS = 10
MAXIMUM_ERROR_BODY = 64 << 10

_AGAIN = frozenset({408, 429, 499, 500, 502, 503, 504, 522})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_POOLS = {"http": RacingHttpPool, "https": RacingHttpsPool}
_NO_ENDPOINTS: Mapping[str, Endpoint] = {}


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

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        endpoints: Mapping[str, Endpoint] = _NO_ENDPOINTS,
    ) -> None:
        """Open nothing yet.

        Args:
            settings: patience, trust.
            environment: for proxies; SSL_CERT_FILE and SSL_CERT_DIR are read by OpenSSL itself.
            endpoints: host with port -> what was configured for it.
        """
        self._settings = settings
        self._environment = environment
        self._endpoints = endpoints
        self.patience = Patience()
        self._pools: dict[tuple[str, str | None], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        limit: int | None,
        body: bytes | BinaryIO | None = None,
        attempts: int | None = None,
        patience_s: float | None = None,
        longest_pause_s: float | None = None,
        may_move: bool = False,
        stays_outside: bool = False,
    ) -> Answer:
        """Send a request, again where that may help, and follow its redirects.

        Args:
            method: repeated and redirected only because all of ours change nothing.
            url: absolute.
            headers: ``Authorization`` goes to the host of ``url`` alone.
            limit: bytes of a body at the most; None = leave a successful body in ``stream``.
            body: of a POST; of an upload, where a stream needs ``attempts`` of 1.
            attempts: in place of the settings'.
            patience_s: without any byte, in place of the settings'.
            longest_pause_s: a longer wait is not waited for, in place of the settings'.
            may_move: the body is no secret of ours: it follows a 307 or 308.
            stays_outside: an image named the address: no redirect leads to this machine or its link.

        Raises:
            UnreachableError, CertificateError: there is no answer.
            RegistryError: the body is longer than ``limit``, redirects go wrong.
        """
        most = attempts or self._settings.attempts
        host = urlsplit(url).netloc
        for attempt in range(1, most + 1):
            self.patience.wait(host)
            try:
                answer = self._follow(
                    method, url, headers, body, limit, patience_s, may_move, stays_outside
                )
            except BREAKAGES as error:
                failure = explain_breakage(error, url)
                if attempt == most or not _is_passing(failure, error):
                    raise failure from error
                wait = self.pause(attempt)
            else:
                if not answer.is_elsewhere:
                    self.patience.note_limits(host, answer.headers)
                if answer.status not in _AGAIN or attempt == most:
                    return answer
                wanted = wanted_pause(answer.headers)
                longest = self._settings.longest_pause_s
                if wanted is not None and wanted > min(longest, longest_pause_s or longest):
                    return answer
                wait = self.pause(attempt)
                if wanted is not None:
                    # All threads wait, and do not come back at once.
                    wait = wanted + wait / 4
                    self.patience.hold(host, wanted)
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
        body: bytes | BinaryIO | None,
        limit: int | None,
        patience_s: float | None,
        may_move: bool,
        stays_outside: bool,
    ) -> Answer:
        sent = dict(headers)
        asked = url
        for _ in range(MAXIMUM_REDIRECTS + 1):
            response = self._send(method, url, sent, body, patience_s)
            is_elsewhere = origin_of(url) != origin_of(asked)
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or not location:
                return _read_answer(
                    response, url, limit, is_elsewhere, self._settings.read_timeout_s
                )
            response.drain_conn()
            response.release_conn()
            target = urljoin(url, location)
            _check_target(url, target, stays_outside)
            is_resendable = isinstance(body, bytes) and response.status in (307, 308)
            if body is not None and not (may_move and is_resendable):
                # What we post is a secret, unless it is a part of an image.
                raise RegistryError(
                    f"{urlsplit(url).netloc} redirects what we post to it",
                    evidence=f"from {plain_url(url)} to {plain_url(target)}",
                    remedy="ask the registry's operator",
                )
            if origin_of(target) != origin_of(url):
                # Never given back: a host that we were sent to may send us on to a third.
                sent.pop("Authorization", None)
            url = target
        raise RegistryError(
            f"{urlsplit(asked).netloc} sends us round in circles",
            evidence=f"more than {MAXIMUM_REDIRECTS} redirects from {plain_url(asked)}, "
            f"the last to {plain_url(url)}",
        )

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | BinaryIO | None,
        patience_s: float | None,
    ) -> urllib3.BaseHTTPResponse:
        endpoint = self._endpoints.get(urlsplit(url).netloc)
        connect_s = endpoint.connect_timeout_s if endpoint is not None else 0.0
        read_s = patience_s or self._settings.read_timeout_s
        # Configured for this host alone: they follow no redirect.
        own = {} if endpoint is None else {n: v.reveal() for n, v in endpoint.headers}
        return self._pool(url).request(
            method,
            url,
            headers={
                "User-Agent": f"sampan/{__version__}",
                # Digests are of the bytes as stored; some servers compress on the way.
                "Accept-Encoding": "identity",
                **own,
                **headers,
            },
            body=body,
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
            timeout=urllib3.Timeout(
                connect=min(connect_s or self._settings.connect_timeout_s, read_s), read=read_s
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
        endpoint = self._endpoints.get(host)
        trust = Trust() if endpoint is None else endpoint.trust
        context = make_context(host, trust, self._settings.certificate_directories)
        if proxy is None:
            direct = urllib3.PoolManager(maxsize=8, ssl_context=context)
            direct.pool_classes_by_scheme = _POOLS
            return direct
        parts = urlsplit(proxy)
        if parts.scheme not in ("http", "https"):
            raise UnreachableError(
                "the proxy is of a kind that we do not speak to",
                evidence=f"{parts.scheme}://… in the environment",
                remedy="set HTTPS_PROXY to an http:// proxy, or NO_PROXY",
            )
        told = urllib3.make_headers()
        if parts.username is not None:
            user, password = unquote(parts.username), unquote(parts.password or "")
            told = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}")
        plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        through = urllib3.ProxyManager(
            plain, maxsize=8, ssl_context=context, proxy_headers=dict(told)
        )
        through.pool_classes_by_scheme = _POOLS
        return through


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


def _check_target(url: str, target: str, stays_outside: bool) -> None:
    scheme = urlsplit(target).scheme
    if stays_outside and is_inside(urlsplit(target).hostname or ""):
        raise RegistryError(
            f"{urlsplit(url).netloc} sends us to a place where we do not go",
            evidence=f"from {plain_url(url)} to {plain_url(target)}: this machine or its link",
            remedy="the image names this address: ask its maker",
        )
    if scheme == "https" or (scheme == "http" and urlsplit(url).scheme == "http"):
        return
    raise RegistryError(
        f"{urlsplit(url).netloc} sends us to a place where we do not go",
        evidence=f"from {plain_url(url)} to {plain_url(target)}: {scheme} after https",
        remedy="ask the registry's operator",
    )


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what credentials belong to."""
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    return parts.scheme, parts.hostname or "", parts.port or default
