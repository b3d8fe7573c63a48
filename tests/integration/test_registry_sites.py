"""Registries as sites have them: mirrors, private authorities, client certificates, no TLS, IPv6."""

import base64
import datetime as dt
import ipaddress
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sampan.engines.pull import PullOptions, pull_image
from sampan.images.store import StoredImage
from sampan.images.store_layout import StoreLayout
from sampan.registry.failures import (
    CertificateError,
    RateLimitError,
    RegistryError,
    UnauthorizedError,
    UnreachableError,
)
from sampan.registry.routes import BlockedError
from sampan.registry.transport import Transport
from support.engine_host import wait_until
from support.layouts import LayoutMaker, make_tar, named
from support.registries import (
    IMPATIENT,
    Front,
    docker_registry,
    free_port,
    front,
    layout_backend,
    make_certificate,
    push,
    require_programs,
)

pytestmark = pytest.mark.integration

SECRET = "a-secret-that-must-not-leak"
NAME = "origin.example/team/image:v1"


class Site:
    """A machine with its own configuration, store and home."""

    def __init__(self, base: Path) -> None:
        self.root = base / "root"
        self.home = base / "home"
        self.home.mkdir()
        self.store = StoreLayout(str(base / "store"))
        self.environment = {"HOME": str(self.home)}
        self.warnings: list[str] = []

    def write(self, path: str, text: str | bytes) -> Path:
        place = self.home / path[2:] if path.startswith("~/") else self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        return place

    def registries(self, text: str) -> None:
        """Let registries.conf say what leads where."""
        self.write("etc/containers/registries.conf", text)

    def pull(self, name: str = NAME, **settings: Any) -> StoredImage:
        chosen = IMPATIENT._replace(
            configuration_root=str(self.root), certificate_directories=(), **settings
        )

        def hear(event: Any) -> None:
            if event.kind == "warning":
                self.warnings.append(event.text)

        return pull_image(
            name,
            store=self.store,
            environment=self.environment,
            options=PullOptions(settings=chosen),
            progress=hear,
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def layout(tmp_path: Path) -> LayoutMaker:
    maker = LayoutMaker(tmp_path / "layout")
    layers = [make_tar({f"file{n}": os.urandom(40_000)}) for n in range(2)]
    maker.write_index([named(maker.add_image(layers), "v1")])
    return maker


@pytest.fixture
def origin(layout: LayoutMaker) -> Iterator[Front]:
    with front(layout_backend(layout.root)) as served:
        yield served


@pytest.fixture
def mirror(layout: LayoutMaker) -> Iterator[Front]:
    with front(layout_backend(layout.root)) as served:
        yield served


def lead(origin: Front, *mirrors: str, more: str = "") -> str:
    """registries.conf: origin.example is at a front, with mirrors before it."""
    tables = "".join(f'[[registry.mirror]]\nlocation = "{one}"\n{more}' for one in mirrors)
    return f'[[registry]]\nprefix = "origin.example"\nlocation = "{origin.host}"\n{tables}'


def blobs(served: Front) -> list[str]:
    return served.paths("/blobs/")


def test_what_a_mirror_has_the_registry_is_not_asked_for(
    site: Site, origin: Front, mirror: Front
) -> None:
    site.registries(lead(origin, f"{mirror.host}/cache"))
    assert site.pull().name == NAME
    assert origin.seen == []
    assert mirror.paths("/v2/cache/team/image/manifests/v1")
    assert len(blobs(mirror)) >= 3
    assert site.warnings == []


def test_what_a_mirror_lacks_comes_from_the_registry(
    site: Site, origin: Front, mirror: Front
) -> None:
    mirror.intercept = lambda handler: bool(
        "/blobs/" in handler.path and handler.refuse(404, "BLOB_UNKNOWN") is None
    )
    site.registries(lead(origin, mirror.host))
    site.pull()
    assert mirror.paths("/manifests/v1")
    assert not origin.paths("/manifests/v1")
    assert len(blobs(origin)) >= 3


def test_a_mirror_for_digests_alone_does_not_resolve_tags(
    site: Site, origin: Front, mirror: Front
) -> None:
    site.registries(lead(origin, mirror.host, more='pull-from-mirror = "digest-only"\n'))
    site.pull()
    assert origin.paths("/manifests/") == ["/v2/team/image/manifests/v1"]
    assert not mirror.paths("/manifests/v1")
    assert len(blobs(mirror)) >= 3
    assert blobs(origin) == []


def test_a_mirror_that_is_busy_is_not_waited_for(site: Site, origin: Front, mirror: Front) -> None:
    mirror.intercept = lambda handler: handler.answer(429, {"Retry-After": "50"}, b"{}") is None
    site.registries(lead(origin, mirror.host))
    site.pull()
    assert len(blobs(origin)) >= 2
    # Not once has it been asked the same again.
    assert len(mirror.seen) == len({path for _, path, _ in mirror.seen})


@pytest.mark.parametrize("failure", ["dead", "broken", "html"])
def test_a_mirror_that_fails_is_named_and_passed_over(
    site: Site, origin: Front, mirror: Front, failure: str
) -> None:
    host = f"127.0.0.1:{free_port()}" if failure == "dead" else mirror.host
    if failure == "broken":
        mirror.intercept = lambda handler: handler.hang_up() is None
    elif failure == "html":
        mirror.intercept = lambda handler: (
            handler.answer(200, {"Content-Type": "text/html"}, b"<html>log in</html>") is None
        )
    site.registries(lead(origin, host))
    site.pull()
    assert len(blobs(origin)) >= 2
    assert any("mirror" in warning for warning in site.warnings)


def test_a_mirror_that_lies_about_a_small_document_is_caught_at_once(
    site: Site, origin: Front, mirror: Front, layout: LayoutMaker
) -> None:
    index = json.loads((layout.root / "index.json").read_text())
    digest = index["manifests"][0]["digest"]
    mirror.intercept = lambda handler: bool(
        digest in handler.path and handler.answer(200, {}, b'{"schemaVersion": 2}') is None
    )
    site.registries(lead(origin, mirror.host))
    site.pull(f"origin.example/team/image@{digest}")
    assert origin.paths(digest)
    assert "was passed over: it gave sha256:" in site.warnings[0]


@pytest.mark.parametrize("lie", ["other bytes", "short", "never"])
def test_a_mirror_that_lies_about_a_layer_costs_time_and_never_a_wrong_image(
    site: Site, origin: Front, mirror: Front, layout: LayoutMaker, lie: str
) -> None:
    big = max(layout.root.glob("blobs/sha256/*"), key=lambda path: path.stat().st_size).name

    def intercept(handler: Any) -> bool:
        if big not in handler.path:
            return False
        body = handler.content().body
        if lie == "other bytes":
            handler.answer(200, {}, body[:-20] + bytes(20))
        elif lie == "short":
            handler.answer(200, {}, body[:-20])
        else:
            handler.answer(200, {"Content-Length": str(len(body))}, body[:1000])
            handler.hang_up()
        return True

    mirror.intercept = intercept
    site.registries(lead(origin, mirror.host))
    image = site.pull()
    with_origin = Site(site.home)
    with_origin.registries(lead(origin))
    assert with_origin.pull().digest == image.digest
    assert any("a mirror was passed over" in warning for warning in site.warnings)
    assert [path for path in blobs(origin) if big in path]


def test_a_registrys_credentials_never_go_to_its_mirror(
    site: Site, origin: Front, mirror: Front
) -> None:
    entries = {
        "origin.example": base64.b64encode(f"jo:{SECRET}".encode()).decode(),
        origin.host: base64.b64encode(f"jo:{SECRET}".encode()).decode(),
        mirror.host: base64.b64encode(b"mirror-user:mirror-password").decode(),
    }
    auths = {name: {"auth": value} for name, value in entries.items()}
    site.write("~/.docker/config.json", json.dumps({"auths": auths}))
    site.environment |= {"APPTAINER_DOCKER_USERNAME": "jo", "APPTAINER_DOCKER_PASSWORD": SECRET}
    for served in (origin, mirror):
        served.intercept = lambda handler: bool(
            not handler.headers.get("Authorization")
            and handler.refuse(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="here"') is None
        )
    site.registries(lead(origin, mirror.host, more='pull-from-mirror = "digest-only"\n'))
    site.pull()
    told = {headers["Authorization"] for _, _, headers in mirror.seen if "Authorization" in headers}
    assert told == {f"Basic {entries[mirror.host]}"}
    told = {headers["Authorization"] for _, _, headers in origin.seen if "Authorization" in headers}
    assert told == {f"Basic {entries[origin.host]}"}


def test_where_a_registry_was_moved_to_its_own_credentials_are_shown(
    site: Site, origin: Front
) -> None:
    origin.asks = True
    origin.keys = {SECRET}
    encoded = base64.b64encode(f"$oauthtoken:{SECRET}".encode()).decode()
    site.write("~/.docker/config.json", json.dumps({"auths": {origin.host: {"auth": encoded}}}))
    site.registries(lead(origin))
    site.pull()


def test_a_mirror_without_credentials_of_its_own_gets_none(
    site: Site, origin: Front, mirror: Front
) -> None:
    encoded = base64.b64encode(f"jo:{SECRET}".encode()).decode()
    auths = {"origin.example": {"auth": encoded}, origin.host: {"auth": encoded}}
    site.write("~/.docker/config.json", json.dumps({"auths": auths}))
    mirror.intercept = lambda handler: (
        handler.refuse(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="here"') is None
    )
    site.registries(lead(origin, mirror.host))
    site.pull()
    assert not [headers for _, _, headers in mirror.seen if "Authorization" in headers]
    assert SECRET not in str(site.warnings)


def test_a_mirror_of_containerds_gets_the_namespace_and_its_headers_and_nobody_else(
    site: Site, mirror: Front, layout: LayoutMaker
) -> None:
    with front(layout_backend(layout.root)) as elsewhere:
        mirror.blob_host = elsewhere.host
        site.write(
            "etc/containerd/certs.d/origin.example/hosts.toml",
            f'[host."http://{mirror.host}/v2/proxy"]\noverride_path = true\n'
            f'[host."http://{mirror.host}/v2/proxy".header]\nx-key = "{SECRET}"\n',
        )
        site.pull()
        assert mirror.paths("/v2/proxy/team/image/manifests/v1?ns=origin.example")
        assert {headers.get("x-key") for _, _, headers in mirror.seen} == {SECRET}
        assert elsewhere.seen
        assert not [headers for _, _, headers in elsewhere.seen if "x-key" in headers]


def test_a_pull_through_cache_of_docker_serves_a_name_of_docker_io(
    site: Site, layout: LayoutMaker, tmp_path: Path
) -> None:
    with docker_registry(tmp_path / "registry") as host:
        push(layout.root, "v1", f"{host}/library/debian:12")
        daemon = {"registry-mirrors": [f"http://{host}"]}
        site.write("etc/docker/daemon.json", json.dumps(daemon))
        assert site.pull("debian:12").name == "docker.io/library/debian:12"


def test_what_is_blocked_is_not_asked_for(site: Site, origin: Front) -> None:
    site.registries(f'[[registry]]\nlocation = "{origin.host}/team"\nblocked = true')
    with pytest.raises(BlockedError):
        site.pull(f"{origin.host}/team/image:v1")
    assert origin.seen == []


@pytest.fixture
def outside() -> str:
    """An address of this machine that is not loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            pytest.skip(f"this machine has no network: {error}")
        return str(probe.getsockname()[0])


def test_without_tls_a_registry_is_asked_when_it_is_configured_as_insecure_alone(
    site: Site, layout: LayoutMaker, outside: str
) -> None:
    with front(layout_backend(layout.root), address=outside) as plain:
        name = f"{plain.host}/team/image:v1"
        with pytest.raises(CertificateError, match="does not speak https") as raised:
            site.pull(name)
        assert "--tls-verify=false" in raised.value.remedy
        assert plain.seen == []
        site.pull(name, verify=False)
        site.registries(f'[[registry]]\nlocation = "{plain.host}"\ninsecure = true')
        site.pull(name)
        with pytest.raises(CertificateError):
            site.pull(name, verify=True)


def test_credentials_in_clear_text_are_warned_of(
    site: Site, layout: LayoutMaker, outside: str
) -> None:
    with front(layout_backend(layout.root), address=outside) as plain:
        plain.asks = True
        plain.keys = {SECRET}
        encoded = base64.b64encode(f"$oauthtoken:{SECRET}".encode()).decode()
        auths = {plain.host: {"auth": encoded}}
        site.write("~/.docker/config.json", json.dumps({"auths": auths}))
        site.pull(f"{plain.host}/team/image:v1", verify=False)
        assert any("for all to read" in warning for warning in site.warnings)


def test_a_private_authority_is_trusted_where_certs_d_has_it(
    site: Site, layout: LayoutMaker, tmp_path: Path
) -> None:
    tls = make_certificate(tmp_path, ["127.0.0.1"])
    with front(layout_backend(layout.root), tls) as served:
        name = f"{served.host}/team/image:v1"
        with pytest.raises(CertificateError, match="does not know") as raised:
            site.pull(name)
        assert f"certs.d/{served.host}/ca.crt" in raised.value.remedy
        site.write(f"~/.config/containers/certs.d/{served.host}/ca.crt", tls[0].read_bytes())
        site.pull(name)
        other = Site(site.home)
        given = other.write("~/given/site.crt", tls[0].read_bytes())
        other.pull(name, certificate_directory=str(given.parent))


def test_a_registry_that_wants_a_client_certificate_gets_that_of_certs_d(
    site: Site, layout: LayoutMaker, tmp_path: Path
) -> None:
    tls = make_certificate(tmp_path, ["127.0.0.1"])
    ours = make_certificate(tmp_path, ["client.example"], stem="client")
    with front(layout_backend(layout.root), tls, clients=ours[0]) as served:
        name = f"{served.host}/team/image:v1"
        place = f"~/.config/docker/certs.d/{served.host}"
        site.write(f"{place}/ca.crt", tls[0].read_bytes())
        # What OpenSSL says depends on who closes first.
        with pytest.raises((CertificateError, UnreachableError)):
            site.pull(name)
        site.write(f"{place}/us.cert", ours[0].read_bytes())
        with pytest.raises(CertificateError, match=r"us.cert cannot be used"):
            site.pull(name)
        site.write(f"{place}/us.key", ours[1].read_bytes())
        site.pull(name)


def dated_certificate(directory: Path, begin: int, end: int) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is valid from and to so many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=begin))
        .not_valid_after(now + dt.timedelta(days=end))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    files = directory / "dated.crt", directory / "dated.key"
    files[0].write_bytes(certificate.public_bytes(pem))
    files[1].write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda place: dated_certificate(place, -9, -2), "has expired"),
        (lambda place: dated_certificate(place, 2, 9), "is not valid yet"),
        (lambda place: make_certificate(place, ["other.example"]), "certificate of another host"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told(
    site: Site, layout: LayoutMaker, tmp_path: Path, words: str, make: Callable[[Path], Any]
) -> None:
    tls = make(tmp_path)
    with front(layout_backend(layout.root), tls) as served:
        site.write(f"~/.config/containers/certs.d/{served.host}/ca.crt", tls[0].read_bytes())
        with pytest.raises(CertificateError, match=words):
            site.pull(f"{served.host}/team/image:v1")


def test_a_registry_with_an_ipv6_address_is_reached(site: Site, layout: LayoutMaker) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with front(layout_backend(layout.root), address="::1") as served:
        assert site.pull(f"{served.host}/team/image:v1").name == f"{served.host}/team/image:v1"


def test_a_proxy_that_refuses_is_named_without_its_password(
    site: Site, origin: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}%40@{origin.host}")
    origin.intercept = lambda handler: handler.refuse(403) is None
    with pytest.raises(UnreachableError, match="the proxy does not bring us") as raised:
        site.pull("registry.invalid/team/image:v1")
    assert SECRET not in str(raised.value)


def limited(retry_after: str, date: str, times: list[int]) -> Callable[[Any], bool]:
    def intercept(handler: Any) -> bool:
        if "/manifests/" not in handler.path or times[0] == 0:
            return False
        times[0] -= 1
        body = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "slow down"}]}'
        handler.send_response_only(429)
        for name, value in (("Retry-After", retry_after), ("Date", date),
                            ("RateLimit-Remaining", "0;w=21600"), ("Content-Length", str(len(body)))):  # fmt: skip
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        return True

    return intercept


def test_a_host_that_asks_for_a_pause_is_left_alone_by_all_threads(origin: Front) -> None:
    seen: list[float] = []
    left = [1]

    def intercept(handler: Any) -> bool:
        seen.append(time.monotonic())
        if left[0] == 0:
            return False
        left[0] = 0
        handler.answer(429, {"Retry-After": "1"}, b"{}")
        return True

    origin.intercept = intercept
    transport = Transport(IMPATIENT, {})
    url = f"http://{origin.host}/v2/"

    def ask() -> int:
        return transport.request("GET", url, headers={}, limit=1000).status

    with ThreadPoolExecutor() as pool:
        first = pool.submit(ask)
        wait_until(lambda: bool(transport.patience.held_s(origin.host)), what="the pause")
        others = [pool.submit(ask) for _ in range(3)]
        assert [one.result() for one in (first, *others)] == [200] * 4
    transport.close()
    # Nobody came before the second was over.
    assert min(seen[1:]) - seen[0] >= 1.0


def test_a_wait_that_is_a_date_counts_by_the_servers_clock(site: Site, origin: Front) -> None:
    # A server whose clock is years behind: by ours the wait is over, by its own it takes a second.
    day = "Tue, 01 Jan 2019 00:00:%02d GMT"
    origin.intercept = limited(day % 1, day % 0, [2])
    site.pull(f"{origin.host}/team/image:v1")
    origin.intercept = limited("Tue, 01 Jan 2019 10:00:00 GMT", day % 0, [9])
    with pytest.raises(RateLimitError) as raised:
        site.pull(f"{origin.host}/team/image:v1")
    assert "ratelimit-remaining: 0;w=21600" in raised.value.evidence


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer realm="/proxy_auth"',
        'Basic realm="x", Bearer realm="/proxy_auth",scope="a=b,c"',
        'Negotiate, Bearer realm="/proxy_auth"',
    ],
)
def test_a_realm_may_be_relative_and_one_of_several(
    site: Site, origin: Front, challenge: str
) -> None:
    origin.asks = True
    origin.public = {"team/image"}
    origin.intercept = lambda handler: bool(
        handler.path.startswith("/v2/")
        and not handler.headers.get("Authorization")
        and handler.refuse(401, "UNAUTHORIZED", WWW_Authenticate=challenge) is None
    )
    site.pull(f"{origin.host}/team/image:v1")


@pytest.mark.parametrize(
    ("challenge", "kind"),
    [
        ("", UnauthorizedError),
        ("Negotiate", UnauthorizedError),
        ('Bearer realm="http://192.0.2.99/token"', RegistryError),
        ('Bearer realm="file:///etc/passwd"', RegistryError),
        ("Bearer", RegistryError),
    ],
)
def test_a_challenge_that_leads_nowhere_ends_in_a_refusal(
    site: Site, origin: Front, challenge: str, kind: type[RegistryError]
) -> None:
    origin.intercept = lambda handler: (
        handler.refuse(401, "UNAUTHORIZED", WWW_Authenticate=challenge) is None
    )
    with pytest.raises(kind):
        site.pull(f"{origin.host}/team/image:v1")
    assert len(origin.seen) < 10


@pytest.mark.parametrize(
    ("prefix", "location", "name"),
    [
        ("origin.example", "{mirror}/cache", "origin.example/team/image:v1"),
        ("origin.example/team", "{mirror}/cache/x", "origin.example/team/image:v1"),
        ("origin.example/team/image", "{mirror}/other", "origin.example/team/image:v1"),
        ("*.example", "{mirror}/all", "origin.example/team/image:v1"),
    ],
)
def test_skopeo_goes_the_same_way_by_the_same_file(
    site: Site, mirror: Front, prefix: str, location: str, name: str
) -> None:
    require_programs("skopeo")
    place = location.format(mirror=mirror.host)
    path = site.write(
        "skopeo.conf",
        f'[[registry]]\nprefix = "{prefix}"\nlocation = "{place}"\ninsecure = true\n',
    )
    command = ["skopeo", "--insecure-policy", "--registries-conf", str(path), "inspect", "--raw"]
    environment = {**os.environ, "HOME": str(site.home)}
    done = subprocess.run(
        [*command, f"docker://{name}"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    theirs = mirror.paths("/manifests/")
    mirror.seen.clear()
    site.environment["CONTAINERS_REGISTRIES_CONF"] = str(path)
    site.pull(name)
    assert mirror.paths("/manifests/") == theirs


def test_a_redirect_from_https_to_http_is_not_followed(
    site: Site, origin: Front, layout: LayoutMaker, tmp_path: Path
) -> None:
    tls = make_certificate(tmp_path, ["127.0.0.1"])
    with front(layout_backend(layout.root), tls) as served:
        site.write(f"~/.config/containers/certs.d/{served.host}/ca.crt", tls[0].read_bytes())
        served.intercept = lambda handler: bool(
            "/blobs/" in handler.path
            and handler.answer(307, {"Location": f"http://{origin.host}{handler.path}"}) is None
        )
        with pytest.raises(RegistryError, match="a place where we do not go"):
            site.pull(f"{served.host}/team/image:v1")
    assert origin.seen == []
