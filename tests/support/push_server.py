"""A registry in memory that takes pushes, and that a test can bend at every request.

It keeps distribution-spec's rules for uploads more strictly than most: Content-Range must fit,
a session is gone when its blob is there, a Location is good for one request.
"""

import contextlib
import http.server
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.layouts import sha256

_UPLOAD = re.compile(r"/v2/(.+)/blobs/uploads/([0-9a-f]*)$")
_BLOB = re.compile(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})$")
_MANIFEST = re.compile(r"/v2/(.+)/manifests/([^/]+)$")


class PushServer:
    """What the registry holds, and what it was asked.

    Attributes:
        blobs: (repository, digest) -> bytes.
        manifests: (repository, tag or digest) -> (media type, bytes).
        uploads: session -> bytes so far.
        seen: (method, path with query, headers) in order.
        intercept: gets a handler before it acts; True when it has answered or hung up.
        chunk_min: told in OCI-Chunk-Min-Length when it is not 0.
        user: ``name:password`` that is asked for by a token; empty = everybody.
        scopes: what tokens were asked for.
        locations: how a Location is written: given the path, returns it.
    """

    def __init__(self) -> None:
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.intercept: Callable[[Any], bool] = lambda _: False
        self.chunk_min = 0
        self.user = ""
        self.tokens: dict[str, set[str]] = {}
        self.scopes: list[list[str]] = []
        self.locations: Callable[[str], str] = lambda path: path
        self.host = ""
        self.lock = threading.Lock()

    def count(self, method: str, part: str = "") -> int:
        """How often a method was used on a path with ``part`` in it."""
        return sum(m == method and part in path for m, path, _ in self.seen)

    def fail_once(self, method: str, act: Callable[[Any], None], skip: int = 0) -> None:
        """Let ``act`` take over one request of a method, after ``skip`` of them."""
        left = [skip + 1]

        def intercept(handler: Any) -> bool:
            if handler.command != method or not left[0]:
                return False
            left[0] -= 1
            if left[0]:
                return False
            act(handler)
            return True

        self.intercept = intercept


class _Handler(http.server.BaseHTTPRequestHandler):
    registry: PushServer
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def _act(self) -> None:
        state = self.registry
        self.path_only = urlsplit(self.path).path
        self.query = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
        with state.lock:
            state.seen.append((self.command, self.path, dict(self.headers.items())))
        if state.intercept(self):
            return
        self.act()

    def act(self) -> None:
        """What the registry does when nobody bends it."""
        state = self.registry
        if self.path_only == "/token":
            self._give_token()
            return
        if state.user and not self._may():
            return
        if self.path_only == "/v2/":
            self.answer(200)
        elif found := _UPLOAD.match(self.path_only):
            self._upload(found[1], found[2])
        elif found := _BLOB.match(self.path_only):
            content = state.blobs.get((found[1], found[2]))
            self.answer(404) if content is None else self.answer(200, content)
        elif found := _MANIFEST.match(self.path_only):
            self._manifest(found[1], found[2])
        else:
            self.refuse(404, "NAME_UNKNOWN")

    def body(self) -> bytes:
        """What was sent with the request."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().strip() or b"0", 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def take_half(self) -> None:
        """Store half of a piece, then break the connection."""
        session = self.path_only.rpartition("/")[2]
        half = self.rfile.read(int(self.headers["Content-Length"]) // 2)
        self.registry.uploads[session] += half
        self.hang_up()

    def hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def refuse(self, status: int, code: str, message: str = "", **headers: str) -> None:
        self.body()
        document = {"errors": [{"code": code, "message": message or code.lower()}]}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer(status, json.dumps(document).encode(), **named)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def progress(self, repository: str, session: str, status: int) -> None:
        """Say where an upload stands."""
        size = len(self.registry.uploads[session])
        location = self.registry.locations(f"/v2/{repository}/blobs/uploads/{session}?state=x")
        more = {"OCI-Chunk-Min-Length": str(self.registry.chunk_min)} if self.registry.chunk_min else {}  # fmt: skip
        self.answer(status, Location=location, Range=f"0-{max(size - 1, 0)}", **more)

    def _upload(self, repository: str, session: str) -> None:
        state = self.registry
        if self.command == "POST":
            self.body()
            mount = (self.query.get("from", ""), self.query.get("mount", ""))
            if mount in state.blobs:
                state.blobs[repository, mount[1]] = state.blobs[mount]
                self.answer(201, Docker_Content_Digest=mount[1])
                return
            session = os.urandom(8).hex()
            state.uploads[session] = bytearray()
            self.progress(repository, session, 202)
            return
        if session not in state.uploads:
            self.refuse(404, "BLOB_UPLOAD_UNKNOWN")
            return
        if self.command == "GET":
            self.progress(repository, session, 204)
        elif self.command == "DELETE":
            del state.uploads[session]
            self.answer(204)
        elif self.command == "PATCH":
            first = self.headers.get("Content-Range", "0-").partition("-")[0]
            if int(first) != len(state.uploads[session]):
                self.refuse(416, "BLOB_UPLOAD_INVALID")
                return
            state.uploads[session] += self.body()
            self.progress(repository, session, 202)
        else:
            content = bytes(state.uploads[session]) + self.body()
            if sha256(content) != self.query["digest"]:
                self.answer(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}')
                return
            del state.uploads[session]
            state.blobs[repository, self.query["digest"]] = content
            self.answer(201, Docker_Content_Digest=self.query["digest"])

    def _manifest(self, repository: str, name: str) -> None:
        state = self.registry
        if self.command == "PUT":
            content = self.body()
            digest = sha256(content)
            for blob in self._named(json.loads(content)):
                if (repository, blob) not in state.blobs:
                    self.answer(400, json.dumps({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": blob}]}).encode())  # fmt: skip
                    return
            entry = (self.headers["Content-Type"], content)
            state.manifests[repository, name] = state.manifests[repository, digest] = entry
            self.answer(201, Docker_Content_Digest=digest)
        elif (repository, name) in state.manifests:
            media_type, content = state.manifests[repository, name]
            self.answer(200, content, Content_Type=media_type,
                        Docker_Content_Digest=sha256(content))  # fmt: skip
        else:
            self.refuse(404, "MANIFEST_UNKNOWN")

    def _named(self, document: dict[str, Any]) -> list[str]:
        entries = [*document.get("layers", []), *([document["config"]] if "config" in document else [])]  # fmt: skip
        return [entry["digest"] for entry in entries]

    def _may(self) -> bool:
        granted = self.registry.tokens.get(
            self.headers.get("Authorization", "").removeprefix("Bearer "), set()
        )
        name = re.sub(r"^/v2/|/(blobs|manifests)/.*$", "", self.path_only)
        action = "pull" if self.command in ("GET", "HEAD") else "push"
        if any(one == f"{name}:{action}" for one in granted):
            return True
        realm = f'Bearer realm="http://{self.registry.host}/token",service="here",scope="repository:{name}:pull,push"'  # fmt: skip
        self.refuse(401, "UNAUTHORIZED", WWW_Authenticate=realm)
        return False

    def _give_token(self) -> None:
        import base64

        state = self.registry
        scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
        state.scopes.append(scopes)
        sent = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic "))
        if sent.decode() != state.user:
            self.refuse(401, "UNAUTHORIZED")
            return
        token = os.urandom(8).hex()
        state.tokens[token] = {
            f"{scope.split(':')[1]}:{action}"
            for scope in scopes
            for action in scope.split(":")[2].split(",")
        }
        self.answer(200, json.dumps({"token": token, "expires_in": 300}).encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _act  # noqa: N815 - the standard library names them

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are what tests are about."""


@contextlib.contextmanager
def push_server() -> Iterator[PushServer]:
    """Serve a registry in memory on loopback."""
    state = PushServer()

    class Handler(_Handler):
        registry = state

    server = _Server(("127.0.0.1", 0), Handler)
    state.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=lambda: server.serve_forever(0.05), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
