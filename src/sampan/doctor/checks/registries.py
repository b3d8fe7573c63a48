"""Whether NGC's hosts answer, through the proxy that the environment names. Only on request."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from sampan.doctor.finding import Finding, broken, ok
from sampan.doctor.subject import Subject
from sampan.registry.failures import RegistryError
from sampan.registry.proxies import find_proxy
from sampan.registry.settings import Settings
from sampan.registry.transport import Transport

ENDPOINTS: tuple[tuple[str, str], ...] = (
    ("https://nvcr.io/v2/", "manifests"),
    ("https://authn.nvidia.com/", "tokens"),
    ("https://layers.nvcr.io/", "layers"),
    ("https://api.ngc.nvidia.com/", "the catalogue"),
)
SETTINGS = Settings(connect_timeout_s=5.0, read_timeout_s=10.0, attempts=1)
MAXIMUM_BODY = 64 << 10
PROXY_REFUSES = 407


def check(subject: Subject) -> Iterator[Finding]:
    """Any answer will do, a refusal without credentials too; all hosts are asked at once."""
    transport = Transport(SETTINGS, subject.host.environment)
    try:
        with ThreadPoolExecutor(len(ENDPOINTS)) as pool:
            yield from pool.map(lambda one: _ask(subject, transport, *one), ENDPOINTS)
    finally:
        transport.close()


def _ask(subject: Subject, transport: Transport, url: str, what: str) -> Finding:
    parts = urlsplit(url)
    proxy = find_proxy(url, subject.host.environment)
    way = f"through the proxy {urlsplit(proxy).hostname}" if proxy else "directly"
    try:
        answer = transport.request("GET", url, headers={}, limit=MAXIMUM_BODY)
    except RegistryError as error:
        if "longer than" in error.cause:
            return ok("registries", f"{parts.netloc} ({what}) answers {way}")
        return broken(
            "registry-unreachable",
            f"{parts.netloc} ({what}) cannot be reached {way}: {error.cause}",
            error.evidence,
            symptom=f"error[{error.id}]",
            remedy=error.remedy or "set HTTPS_PROXY, or have the firewall let this host through",
        )
    if answer.status == PROXY_REFUSES:
        return broken(
            "registry-proxy", f"the proxy wants a name and password for {parts.netloc}",
            f"status 407, {way}", symptom="Proxy Authentication Required",
            remedy="HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT",
        )  # fmt: skip
    return ok("registries", f"{parts.netloc} ({what}) answers {way}", f"status {answer.status}")
