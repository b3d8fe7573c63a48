"""What can go wrong between a registry and us, told apart for users: cause, evidence, remedy.

Texts of servers are strangers' words: shortened and stripped of control characters before anybody
prints them. URLs lose their query, which may hold a signature.
"""

import errno
import json
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from urllib3.exceptions import ProxyError

from sampan.errors import SampanError
from sampan.registry.tls_failures import explain_certificate, explain_handshake

_LONGEST_WORDS = 300


class RegistryError(SampanError):
    """A registry's answer cannot be used."""

    id = "registry"


class UnreachableError(RegistryError):
    """No connection: name, route, refusal, timeout, or it broke off."""

    id = "registry-unreachable"


class CertificateError(RegistryError):
    """The registry does not prove who it is."""

    id = "registry-certificate"


class UnauthorizedError(RegistryError):
    """The registry wants credentials, or does not accept the ones it got."""

    id = "registry-unauthorized"


class ForbiddenError(RegistryError):
    """The registry knows who asks, and says no."""

    id = "registry-forbidden"


class NotFoundError(RegistryError):
    """The registry has no such repository, tag or blob."""

    id = "not-in-registry"


class TermsError(ForbiddenError):
    """The licence of an image was not accepted by this account."""

    id = "registry-terms"


class RegionError(ForbiddenError):
    """The image may not be given out where we are."""

    id = "registry-region"


class RateLimitError(RegistryError):
    """Too many requests, and the wait is longer than we wait."""

    id = "registry-rate-limit"


class Refusal:
    """An HTTP answer that is not the one hoped for: what the user may know of it."""

    def __init__(
        self, status: int, headers: Mapping[str, str], body: bytes, method: str, url: str
    ) -> None:
        self.status = status
        self.headers = headers
        self.codes, self.words = _read_errors(body)
        self.method = method
        self.url = url

    def evidence(self) -> str:
        """One line: request, status, the server's words."""
        said = f": {self.words}" if self.words else ""
        return f"{self.method} {plain_url(self.url)} answered {self.status}{said}"


def explain_refusal(
    refusal: Refusal, *, registry: str, repository: str, what: str
) -> RegistryError:
    """The error for a status other than success, 401 and 404.

    Args:
        refusal: the answer.
        registry: as users write it.
        repository: path in it; may be empty.
        what: completes "cannot ...", e.g. ``read the manifest of nvcr.io/nvidia/cuda:12``.
    """
    evidence = refusal.evidence()
    match refusal.status:
        case 403:
            return ForbiddenError(
                f"{registry} does not let you {what}",
                evidence=evidence,
                remedy=_remedy_for_forbidden(registry),
            )
        case 412:
            page = _catalogue_page(registry, repository)
            return TermsError(
                f"the terms of {registry}/{repository} were not accepted by your account",
                evidence=evidence,
                remedy=f"sampan accept-license {registry}/{repository}    (or at {page})"
                if registry == "nvcr.io"
                else f"open {page}, log in, accept the terms, and pull again",
            )
        case 451:
            return RegionError(
                f"{registry} does not give {repository} out in your region", evidence=evidence
            )
        case 429:
            limits = "; ".join(_limit_lines(refusal.headers))
            return RateLimitError(
                f"{registry} limits how often you may ask",
                evidence=f"{evidence}{f'; {limits}' if limits else ''}",
                remedy=f"wait, or log in for a higher limit: sampan login {registry}",
            )
    if refusal.status >= 500:
        return RegistryError(
            f"{registry} cannot {what} at the moment",
            evidence=evidence,
            remedy="try again later; if it stays, ask the registry's operator",
        )
    return RegistryError(f"cannot {what}", evidence=evidence)


def explain_breakage(error: BaseException, url: str) -> RegistryError:
    """The error for a request that got no answer, or half of one."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    causes = list(_chain(error))
    if any(isinstance(cause, ProxyError) for cause in causes):
        return UnreachableError(
            f"the proxy does not bring us to {host}",
            evidence=clean_text(f"{causes[-1]} ({plain_url(url)})"),
            remedy="check HTTPS_PROXY and HTTP_PROXY; NO_PROXY names hosts that need none",
        )
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate_error(explain_certificate(cause, host), url)
        if isinstance(cause, socket.gaierror):
            return UnreachableError(
                f"there is no host {parts.hostname}",
                evidence=f"name resolution: {cause.strerror or cause}",
                remedy="check the name, and the network: getent hosts " + (parts.hostname or ""),
            )
        if isinstance(cause, ConnectionRefusedError):
            return UnreachableError(
                f"{host} accepts no connection",
                evidence=f"{plain_url(url)}: connection refused",
                remedy="check host and port, and that the registry runs there",
            )
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _certificate_error(explain_handshake(cause, host), url)
        if isinstance(cause, TimeoutError):
            return UnreachableError(
                f"{host} does not answer in time",
                evidence=f"timeout ({plain_url(url)})",
                remedy="check the network; behind a proxy set HTTPS_PROXY",
            )
        if isinstance(cause, OSError) and cause.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return UnreachableError(
                f"there is no way to {host}",
                evidence=f"{cause.strerror} ({plain_url(url)})",
                remedy="check the network; behind a proxy set HTTPS_PROXY",
            )
    text = clean_text(str(causes[-1]) or type(causes[-1]).__name__)
    if "timed out" in text:
        text = "timeout"
    return UnreachableError(
        f"the connection to {host} broke",
        evidence=f"{text} ({plain_url(url)})",
        remedy="try again: layers that are complete are not fetched again",
    )


def _certificate_error(words: tuple[str, str, str], url: str) -> CertificateError:
    cause, evidence, remedy = words
    return CertificateError(
        cause, evidence=clean_text(f"{evidence} ({plain_url(url)})"), remedy=remedy
    )


def plain_url(url: str) -> str:
    """A URL without query, fragment and user: fit to be printed."""
    parts = urlsplit(url)
    return clean_text(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def clean_text(text: str) -> str:
    """A stranger's text as one short printable line."""
    shown = "".join(c if c.isprintable() else " " for c in text[: _LONGEST_WORDS * 2])
    shown = " ".join(shown.split())
    return shown if len(shown) <= _LONGEST_WORDS else f"{shown[:_LONGEST_WORDS]}..."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, in urllib3's ways too (``reason``, arguments)."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner: Iterable[object] = (getattr(one, "reason", None), *one.args, one.__cause__)
        waiting += [each for each in inner if isinstance(each, BaseException)]
        if one.__context__ is not None:
            waiting.append(one.__context__)


def _read_errors(body: bytes) -> tuple[tuple[str, ...], str]:
    """Codes and words of a distribution-spec error body, or the text of any other."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace")
        return (), "" if text.lstrip().startswith("<") else clean_text(text)
    entries = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        details = document.get("details") if isinstance(document, dict) else None
        return (), clean_text(details) if isinstance(details, str) else ""
    codes, words = [], []
    for entry in entries[:8]:
        if isinstance(entry, dict):
            code = clean_text(str(entry.get("code") or ""))
            codes.append(code)
            words.append(f"{code} {clean_text(str(entry.get('message') or ''))}".strip())
    return tuple(codes), clean_text("; ".join(words))


def _limit_lines(headers: Mapping[str, str]) -> Iterator[str]:
    for name in ("ratelimit-limit", "ratelimit-remaining", "docker-ratelimit-source",
                 "x-ratelimit-limit", "x-ratelimit-remaining", "retry-after"):  # fmt: skip
        if value := headers.get(name):
            yield f"{name}: {clean_text(value)}"


def _remedy_for_forbidden(registry: str) -> str:
    if registry == "nvcr.io":
        return (
            "the key's organisation may lack the product: choose its organisation and services at "
            "https://org.ngc.nvidia.com/setup/api-keys, then: sampan login nvcr.io"
        )
    return f"log in as somebody who may: sampan login {registry}"


def _catalogue_page(registry: str, repository: str) -> str:
    parts = repository.split("/")
    if registry != "nvcr.io" or len(parts) not in (2, 3):
        return f"the page of {repository} at {registry}"
    team = parts[1] if len(parts) == 3 else "-"
    return f"https://catalog.ngc.nvidia.com/orgs/{parts[0]}/{team}/containers/{parts[-1]}/-"
