"""Registries for tests: Debian's docker-registry, and a front of ours with fault switches.

The front serves what docker-registry holds, or a layout, in the way of NGC as the field recorded it
(a challenge without ``service``, another realm for expired tokens, blobs on a host that refuses
credentials), and lets a test take over any answer.
"""

import base64
import contextlib
import http.client
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from sampan.registry.settings import Settings
from support.engine_host import wait_until

NGC_KEY = "nvapi-test-key-that-must-not-leak"
IMPATIENT = Settings(connect_timeout_s=5, read_timeout_s=5, attempts=3, pause_s=0.01)
"""A client that waits for no one: what fails, fails within a moment."""


class Content(NamedTuple):
    """What a backend answers."""

    status: int
    headers: dict[str, str]
    body: bytes


Backend = Callable[[str], Content]


def layout_backend(root: Path) -> Backend:
    """A layout's images, under any repository name."""

    def fetch(path: str) -> Content:
        parts = urlsplit(path).path.split("/")
        kind, name = parts[-2], parts[-1]
        index = json.loads((root / "index.json").read_text())["manifests"]
        names = {
            entry.get("annotations", {}).get("org.opencontainers.image.ref.name"): entry
            for entry in index
        }
        if (kind, name) == ("tags", "list"):
            return Content(200, {"Content-Type": "application/json"},
                           json.dumps({"tags": [n for n in names if n]}).encode())  # fmt: skip
        digest = names[name]["digest"] if name in names else name
        blob = root / "blobs" / digest.replace(":", "/")
        if not blob.is_file():
            return Content(404, {}, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no"}]}')
        body = blob.read_bytes()
        media_type = "application/octet-stream"
        if kind == "manifests":
            media_type = str(json.loads(body).get("mediaType", "application/json"))
        found = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        return Content(200, found, body)

    return fetch


def upstream_backend(host: str) -> Backend:
    """What another registry answers."""

    def fetch(path: str) -> Content:
        connection = http.client.HTTPConnection(host, timeout=20)
        with contextlib.closing(connection):
            accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"  # fmt: skip
            connection.request("GET", path, headers={"Accept": accept})
            answer = connection.getresponse()
            names = ("content-type", "docker-content-digest")
            kept = {k: v for k, v in answer.getheaders() if k.lower() in names}
            return Content(answer.status, kept, answer.read())

    return fetch


class Front:
    """A registry that a test can bend.

    Attributes:
        seen: (host, path, headers) of each request, in order.
        methods: of each request, likewise.
        intercept: takes a handler; True when it has answered in place of the registry.
        keys: accepted with the user ``$oauthtoken``.
        public: repositories that need no key.
        asks: whether tokens are wanted at all.
        blob_host: where blobs are redirected to; empty = nowhere.
        has_ranges: whether ``Range`` is understood.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.methods: list[str] = []
        self.intercept: Callable[[Any], bool] = lambda _: False
        self.keys = {NGC_KEY}
        self.public: set[str] = set()
        self.asks = False
        self.blob_host = ""
        self.has_ranges = True
        self.tokens: set[str] = set()
        self.host = ""
        self.scheme = "http"

    def paths(self, part: str = "") -> list[str]:
        """The paths that were asked for and have ``part`` in them."""
        return [path for _, path, _ in self.seen if part in path]

    def expire_tokens(self) -> None:
        """Let every token be too old."""
        self.tokens.clear()


@contextlib.contextmanager
def front(
    backend: Backend,
    tls: tuple[Path, Path] | None = None,
    *,
    state: Front | None = None,
    handler: "type[FrontHandler] | None" = None,
    address: str = "127.0.0.1",
    clients: Path | None = None,
) -> Iterator[Front]:
    """Serve a front on loopback; with certificate and key over TLS.

    ``state`` and ``handler`` are for servers that know more than this one; ``clients`` is the authority
    of those who may connect.
    """
    state = state or Front(backend)

    class Handler(handler or FrontHandler):  # type: ignore[misc]
        registry = state

    server = (_Server6 if ":" in address else _Server)((address, 0), Handler)
    name = f"[{address}]" if ":" in address else address
    state.host = f"{name}:{server.server_address[1]}"
    if tls is not None:
        state.scheme = "https"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=lambda: server.serve_forever(0.05), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(http.server.ThreadingHTTPServer):
    """Clients that hang up are what the tests are about."""

    daemon_threads = True

    def handle_error(self, request: object, address: object) -> None:
        """Say nothing of broken connections."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, address)


class _Server6(_Server):
    address_family = socket.AF_INET6


class FrontHandler(http.server.BaseHTTPRequestHandler):
    """Answers as a front's state says."""

    protocol_version = "HTTP/1.1"
    registry: Front

    def do_GET(self) -> None:
        host = self.headers.get("Host", "")
        self.registry.seen.append((host, self.path, dict(self.headers.items())))
        self.registry.methods.append(self.command)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            if not self.registry.intercept(self):
                self._serve()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.posted = self.rfile.read(int(self.headers["Content-Length"]))
        self.form = parse_qs(self.posted.decode())
        self.do_GET()

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}) and "Transfer-Encoding" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str = "DENIED", **headers: str) -> None:
        """Send an error in distribution-spec's form."""
        body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer(status, named, body)

    def content(self) -> Content:
        """What the backend has."""
        return self.registry.backend(self.path)

    def hang_up(self) -> None:
        """Close the connection at once."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        state = self.registry
        path = urlsplit(self.path)
        if path.path in ("/proxy_auth", "/token"):
            self._give_token(path.path == "/proxy_auth")
            return
        stored = self.headers.get("Host", "") == state.blob_host
        if stored and self.headers.get("Authorization"):
            self.refuse(400, "ONLY_ONE_AUTHENTICATION")
            return
        if state.asks and not stored and not self._is_known():
            return
        if path.path == "/v2/":
            self.answer(200, {}, b"{}")
            return
        if "/blobs/" in path.path and state.blob_host and not stored:
            location = f"{state.scheme}://{state.blob_host}{path.path}?signature=secret"
            self.answer(307, {"Location": location})
            return
        content = self.content()
        self.answer(*self.part_of(content) if state.has_ranges else content)

    def part_of(self, content: Content) -> Content:
        """What a request with ``Range`` gets of it."""
        first, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if not first or content.status != 200:
            return content
        size = len(content.body)
        end = min(int(last) + 1, size) if last else size
        span = {"Content-Range": f"bytes {first}-{end - 1}/{size}"}
        return Content(206, {**content.headers, **span}, content.body[int(first) : end])

    def _is_known(self) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.registry.tokens:
            return True
        base = f"{self.registry.scheme}://{self.headers.get('Host')}"
        if token:
            # As NGC does for a token that has expired (field note: NGC, rule 3).
            realm = f"{base}/token".replace("nvcr.io", "authn.nvidia.com")
            challenge = f'Bearer realm="{realm}",service="registry",error="invalid_token"'
        else:
            name = urlsplit(self.path).path.removeprefix("/v2/").rpartition("/")[0].rpartition("/")[0]  # fmt: skip
            challenge = f'Bearer realm="{base}/proxy_auth"'
            if name:
                challenge += f',scope="repository:{name}:pull,push"'
        self.refuse(401, "UNAUTHORIZED", WWW_Authenticate=challenge)
        return False

    def _give_token(self, may_be_anonymous: bool) -> None:
        state = self.registry
        scope = parse_qs(urlsplit(self.path).query).get("scope", [""])[0]
        sent = self.headers.get("Authorization", "").removeprefix("Basic ")
        user, _, key = base64.b64decode(sent).decode().partition(":")
        known = user == "$oauthtoken" and key in state.keys
        is_public = scope.split(":")[1] in state.public if scope else False
        if not known and (sent or not may_be_anonymous or not is_public):
            self.refuse(401, "UNAUTHORIZED")
            return
        token = base64.urlsafe_b64encode(os.urandom(12)).decode()
        state.tokens.add(token)
        body = json.dumps({"token": token, "expires_in": 300}).encode()
        # Its type was text once.
        self.answer(200, {"Content-Type": "text/plain"}, body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def docker_registry(
    base: Path,
    *,
    htpasswd: str = "",
    tls: tuple[Path, Path] | None = None,
    auth: dict[str, Any] | None = None,
) -> Iterator[str]:
    """Debian's docker-registry on loopback; gives its host and port. ``auth`` as in its config."""
    require_programs("docker-registry", "skopeo")
    base.mkdir(parents=True, exist_ok=True)
    host = f"127.0.0.1:{free_port()}"
    settings: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(base / "data")}},
        "http": {"addr": host},
    }
    if htpasswd:
        (base / "htpasswd").write_text(htpasswd)
        settings["auth"] = {"htpasswd": {"realm": "here", "path": str(base / "htpasswd")}}
    if auth is not None:
        settings["auth"] = auth
    if tls is not None:
        settings["http"]["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    # JSON is YAML.
    (base / "config.yml").write_text(json.dumps(settings))
    with open(base / "log", "wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(base / "config.yml")], stdout=log, stderr=log
        )
    try:
        wait_until(lambda: process.poll() is not None or _listens(host), what="docker-registry")
        assert process.poll() is None, (base / "log").read_text()
        yield host
    finally:
        process.kill()
        process.wait()


def push(layout: Path, tag: str, target: str, *options: str) -> None:
    """Copy a layout's image to ``HOST/NAME:TAG``."""
    command = ["skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", *options]
    source = f"oci:{layout}:{tag}"
    done = subprocess.run([*command, source, f"docker://{target}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def connect_proxy(routes: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """A proxy of https (CONNECT) that leads host names to loopback servers; URL and hosts asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(self.path)
            target = routes.get(self.path.partition(":")[0])
            if target is None:
                self.send_error(502)
                return
            host, _, port = target.partition(":")
            with socket.create_connection((host, int(port))) as far:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_pump, args=(far, self.connection), daemon=True)
                back.start()
                _pump(self.connection, far)
                back.join()
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(0.05), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_certificate(
    directory: Path, names: Sequence[str], *, stem: str = "server"
) -> tuple[Path, Path]:
    """A certificate for host names and addresses that is its own CA, and its key."""
    require_programs("openssl")
    certificate, key = directory / f"{stem}.crt", directory / f"{stem}.key"
    kinds = [f"{'IP' if name[0].isdigit() or ':' in name else 'DNS'}:{name}" for name in names]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=test", "-addext",
         f"subjectAltName={','.join(kinds)}", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def require_programs(*names: str) -> None:
    """Skip where a program is missing, and say which."""
    for name in names:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _listens(host: str) -> bool:
    name, _, port = host.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((name, int(port)), 1):
        return True
    return False


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
