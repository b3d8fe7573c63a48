"""NGC for tests: its hosts, its token flow and its catalogue in front of Debian's docker-registry.

Tokens are JWTs really signed (RS256) and really verified: docker-registry itself holds them against
our certificate and their scopes. What this front adds are NGC's habits as the field recorded them:
a challenge without ``service``, another realm for expired tokens, blobs on a host that refuses
credentials, refusals by 401, 403, 412 and 451, and the catalogue's shapes. Docker Hub's catalogue
stands beside it.
"""

import base64
import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from support.ngc_tokens import Signer
from support.registries import Content, Front, FrontHandler, front

REGISTRY, TOKENS, BLOBS = "nvcr.io", "authn.nvidia.com", "layers.nvcr.io"
API, HUB, STRANGER = "api.ngc.nvidia.com", "hub.docker.com", "elsewhere.example"
HOSTS = (REGISTRY, TOKENS, BLOBS, API, HUB, STRANGER)
LEGACY_KEY = "bGVnYWN5LWtleS10aGF0LW11c3Qtbm90LWxlYWs"
_KEPT = ("content-type", "content-length", "docker-content-digest", "www-authenticate")


class Ngc(Front):
    """The state of the server.

    Attributes:
        upstream: docker-registry's host.
        life_s: of tokens, in truth; what is told of it stays 300 seconds. Negative: expired at once.
        refusals: (``token`` or ``manifests``, repository) -> status for those who have a key.
        resources: of the catalogue, by id, in its own order.
        images: repository -> tag objects.
        repositories: repository -> further members of its object; terms among them.
        roles: of users/me.
        notice: text of ``nv-ngc-response-warning-message``.
        accepted: (repository, licence, version) that were accepted.
        hub: Docker Hub's answers by path.
    """

    def __init__(self, upstream: str, signer: Signer) -> None:
        super().__init__(lambda _: Content(404, {}, b""))
        self.asks = True
        self.blob_host = BLOBS
        self.upstream = upstream
        self.signer = signer
        self.life_s = 300.0
        self.refusals: dict[tuple[str, str], int] = {}
        self.resources: dict[str, dict[str, Any]] = {}
        self.images: dict[str, list[dict[str, Any]]] = {}
        self.repositories: dict[str, dict[str, Any]] = {}
        self.roles: list[dict[str, Any]] = []
        self.notice = ""
        self.accepted: list[tuple[str, str, str]] = []
        self.hub: dict[str, list[dict[str, Any]]] = {}
        self.api_tokens: set[str] = set()
        self.page_size = 2
        self._expired: set[str] = set()

    def expire_tokens(self) -> None:
        """Let every token be too old."""
        self._expired |= self.tokens
        self.tokens.clear()

    def is_expired(self, token: str) -> bool:
        """Whether a token was good once."""
        return token in self._expired

    def add_resource(self, name: str, **members: Any) -> None:
        """Put a repository into the catalogue, in the shape that was captured from it."""
        parts = name.split("/")
        attributes = {"latestTag": "1.0", "size": "1000", "hasSignedTag": "true",
                      "latestTagPushedDate": "2026-01-01T00:00:00.000Z"}  # fmt: skip
        attributes |= members.pop("attributes", {})
        self.resources[name] = {
            "orgName": parts[0],
            "teamName": parts[1] if len(parts) == 3 else None,
            "name": parts[-1],
            "resourceId": name,
            "displayName": parts[-1].title(),
            "description": f"what {name} does",
            "dateModified": "2026-01-02T00:00:00.000Z",
            "weightPopular": 1.5,
            "resourceType": "CONTAINER",
            "attributes": [{"key": key, "value": value} for key, value in attributes.items()],
            "labels": [{"key": "publisher", "values": ["NVIDIA"]}],
            **members,
        }

    def ask_upstream(self, method: str, path: str, headers: dict[str, str]) -> Content:
        """What docker-registry answers."""
        connection = http.client.HTTPConnection(self.upstream, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            kept = {k: v for k, v in answer.getheaders() if k.lower() in _KEPT}
            return Content(answer.status, kept, answer.read())


class NgcHandler(FrontHandler):
    """Answers for all of NGC's hosts."""

    registry: Ngc

    def _serve(self) -> None:
        host = self.headers.get("Host", "")
        path = unquote(urlsplit(self.path).path)
        query = parse_qs(urlsplit(self.path).query)
        if host == API:
            self._serve_api(path, query)
        elif host == HUB:
            self._serve_hub(path, query)
        elif path in ("/proxy_auth", "/token"):
            if query.get("service") == ["ngc"]:
                self._give_api_token()
            else:
                self._give_token(path == "/proxy_auth")
        elif host == BLOBS:
            self._serve_blob(path)
        else:
            self._serve_registry(path)

    # The registry

    def _serve_registry(self, path: str) -> None:
        state = self.registry
        sent = self.headers.get("Authorization", "")
        token = sent.removeprefix("Bearer ")
        repository = path.removeprefix("/v2/").rpartition("/")[0].rpartition("/")[0]
        forwarded = {"Accept": self.headers.get("Accept", "*/*")}
        if sent:
            forwarded["Authorization"] = sent
        method = "HEAD" if "/blobs/" in path else self.command
        content = state.ask_upstream(method, self.path, forwarded)
        if content.status == 401 or state.is_expired(token):
            self._challenge(token, repository)
            return
        status = state.refusals.get(("manifests", repository))
        if "/manifests/" in path and status:
            self.refuse(status)
            return
        if "/blobs/" in path and content.status == 200:
            location = f"https://{BLOBS}{path}?signature=secret"
            self.answer(307, {"Location": location})
            return
        self.answer(*content)

    def _challenge(self, token: str, repository: str) -> None:
        if token:
            realm = f"https://{TOKENS}/token"
            challenge = f'Bearer realm="{realm}",service="registry",error="invalid_token"'
        else:
            challenge = f'Bearer realm="https://{REGISTRY}/proxy_auth"'
            if repository:
                challenge += f',scope="repository:{repository}:pull,push"'
        self.refuse(401, "UNAUTHORIZED", WWW_Authenticate=challenge)

    def _serve_blob(self, path: str) -> None:
        state = self.registry
        if self.headers.get("Authorization"):
            self.refuse(400, "ONLY_ONE_AUTHENTICATION")
            return
        repository = path.removeprefix("/v2/").partition("/blobs/")[0]
        token = state.signer.sign(repository)
        content = state.ask_upstream("GET", path, {"Authorization": f"Bearer {token}"})
        first = self.headers.get("Range", "").removeprefix("bytes=").partition("-")[0]
        if first and content.status == 200 and state.has_ranges:
            last = self.headers["Range"].rpartition("-")[2]
            end = int(last) + 1 if last else len(content.body)
            part = content.body[int(first) : end]
            size = len(content.body)
            span = f"bytes {first}-{int(first) + len(part) - 1}/{size}"
            self.answer(206, {"Content-Range": span}, part)
            return
        self.answer(content.status, {}, content.body)

    def _give_token(self, may_be_anonymous: bool) -> None:
        state = self.registry
        scope = parse_qs(urlsplit(self.path).query).get("scope", [""])[0]
        repository = scope.split(":")[1] if scope else ""
        sent = self.headers.get("Authorization", "")
        known = self._basic_key() in state.keys
        if not known and (sent or not may_be_anonymous or repository not in state.public):
            self.refuse(401, "UNAUTHORIZED")
            return
        if status := state.refusals.get(("token", repository)):
            self.refuse(status)
            return
        token = state.signer.sign(repository, state.life_s)
        state.tokens.add(token)
        # Its type was text once.
        self.answer(
            200,
            {"Content-Type": "text/plain"},
            json.dumps({"token": token, "expires_in": 300}).encode(),
        )

    def _basic_key(self) -> str:
        sent = self.headers.get("Authorization", "")
        if not sent.startswith("Basic "):
            return ""
        user, _, key = base64.b64decode(sent.removeprefix("Basic ")).decode().partition(":")
        return key if user == "$oauthtoken" else ""

    # The catalogue

    def _give_api_token(self) -> None:
        key = self._basic_key()
        if key not in self.registry.keys:
            self._api_error(401, "UNAUTHORIZED", "no such key")
            return
        token = f"api-token-{len(self.registry.api_tokens)}"
        self.registry.api_tokens.add(token)
        self._json({"token": token, "expires_in": 600})

    def _is_member(self) -> bool:
        """Whether the caller may see private things; answers when not."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.registry.api_tokens:
            return True
        if token.startswith("nvapi-") and token in self.registry.keys:
            return True
        self._api_error(401, "UNAUTHORIZED", "Not Authenticated")
        return False

    def _serve_api(self, path: str, query: dict[str, list[str]]) -> None:
        state = self.registry
        parts = path.strip("/").split("/")
        match parts:
            case ["v2", "search", "catalog", "resources", "CONTAINER"]:
                self._search(query, org="", is_member=False)
            case ["v2", "search", "org", org, *_, "resources", "CONTAINER"]:
                if self._is_member():
                    self._search(query, org=org, is_member=True)
            case ["v2", "repos", *names]:
                self._repository(names, query, is_member=False)
            case ["v2", "org", org, "team", team, "repos", *names]:
                if self._is_member():
                    self._repository([org, team, *names], query, is_member=True)
            case ["v2", "org", org, "repos", *names]:
                if self._is_member():
                    self._repository([org, *names], query, is_member=True)
            case ["v2", "org", org, "team", team, "repositories", name, "license", "acceptance"]:
                if self._is_member():
                    self._accept(f"{org}/{team}/{name}", json.loads(self.posted))
            case ["v2", "org", org, "repositories", name, "license", "acceptance"]:
                if self._is_member():
                    self._accept(f"{org}/{name}", json.loads(self.posted))
            case ["v2", "users", "me"]:
                if self._is_member():
                    user = {"name": "Jane Doe", "email": "jane@example.com", "roles": state.roles}
                    self._json({"user": user})
            case ["v3", "keys", "get-caller-info"] if self.command == "POST":
                self._caller_info()
            case _:
                self._api_error(404, "NOT_FOUND", "no such endpoint")

    def _search(self, query: dict[str, list[str]], *, org: str, is_member: bool) -> None:
        state = self.registry
        try:
            asked = json.loads(query["q"][0])
        except (KeyError, ValueError):
            body = json.dumps({"title": "Bad Request", "detail": "q is no JSON"}).encode()
            self.answer(400, {"Content-Type": "application/problem+json"}, body)
            return
        for entry in asked.get("filters", ()):
            org = entry["value"] if entry["field"] == "orgName" else org
        hits = [
            resource
            for name, resource in state.resources.items()
            if (is_member or name.split("/")[0] != "acme")
            and (not org or resource["orgName"] == org)
            and (asked["query"] == "*:*" or asked["query"].lower() in json.dumps(resource).lower())
        ]
        if asked["orderBy"][0]["field"] == "weightPopular":
            hits.sort(key=lambda resource: -resource["weightPopular"])
        size = min(asked["pageSize"], state.page_size)
        page = hits[asked["page"] * size : (asked["page"] + 1) * size]
        groups = [
            {"totalCount": len(page), "groupValue": "_scored", "resources": page[:1]},
            {"totalCount": len(hits), "groupValue": "CONTAINER", "resources": page},
        ]
        self._json({
            "resultTotal": len(hits),
            "resultPageTotal": -(-len(hits) // size),
            "params": asked,
            "results": groups if hits else [],
        })  # fmt: skip

    def _repository(
        self, names: list[str], query: dict[str, list[str]], *, is_member: bool
    ) -> None:
        state = self.registry
        wants_images = names[-1] == "images"
        repository = "/".join(names[:-1] if wants_images else names)
        if repository not in state.resources and repository not in state.images:
            self._api_error(404, "NOT_FOUND", f"{repository} does not exist")
            return
        if not is_member and repository not in state.public:
            self._api_error(401, "UNAUTHORIZED", "Not Authenticated")
            return
        if not wants_images:
            resource = state.resources.get(repository, {})
            self._json({
                "name": names[-1], "namespace": "/".join(names[:-1]), "publisher": "NVIDIA",
                "displayName": resource.get("displayName", ""), "latestTag": "24.05-py3",
                "updatedDate": "2026-01-02T00:00:00.000Z", "hasSignedTag": True,
                "canGuestPull": repository in state.public, "productNames": [],
                **state.repositories.get(repository, {}),
            })  # fmt: skip
            return
        images = state.images.get(repository, [])
        number = int(query.get("page-number", ["0"])[0])
        size = state.page_size
        self._json({
            "images": images[number * size : (number + 1) * size],
            "paginationInfo": {"index": number, "size": size, "totalResults": len(images),
                               "totalPages": -(-len(images) // size)},
        })  # fmt: skip

    def _accept(self, repository: str, posted: dict[str, str]) -> None:
        state = self.registry
        state.accepted.append((repository, posted["licenseId"], posted["licenseVersion"]))
        for place in ("token", "manifests"):
            state.refusals.pop((place, repository), None)
        for terms in state.repositories.get(repository, {}).get("licenseTerms", ()):
            terms["needsAcceptance"] = False
        self._json({"requestStatus": {"statusCode": "SUCCESS"}})

    def _caller_info(self) -> None:
        key = parse_qs(self.posted.decode()).get("credentials", [""])[0]
        if key not in self.registry.keys or not key.startswith("nvapi-"):
            self._api_error(404, "NOT_FOUND", "no such key")
            return
        self._json({
            "type": "PERSONAL_KEY", "orgName": "acme", "products": ["artifact-catalog"],
            "user": {"name": "Jane Doe", "email": "jane@example.com", "roles": self.registry.roles},
        })  # fmt: skip

    def _serve_hub(self, path: str, query: dict[str, list[str]]) -> None:
        entries = self.registry.hub.get(path)
        if entries is None:
            self.answer(404, {"Content-Type": "application/json"}, b'{"message": "not found"}')
            return
        number, size = int(query["page"][0]), self.registry.page_size
        page = entries[(number - 1) * size : number * size]
        following = f"https://{STRANGER}/next" if number * size < len(entries) else None
        self._json({"count": len(entries), "next": following, "previous": None, "results": page})

    def _json(self, document: Any) -> None:
        # Unknown members and types of content must not matter.
        headers = {"Content-Type": "text/plain; charset=whatever"}
        if self.registry.notice:
            headers["nv-ngc-response-warning-message"] = self.registry.notice
        self.answer(200, headers, json.dumps({**document, "new-member": [1]}).encode())

    def _api_error(self, status: int, code: str, words: str) -> None:
        said = {"requestStatus": {"statusCode": code, "statusDescription": words}}
        self.answer(status, {"Content-Type": "application/json"}, json.dumps(said).encode())


@contextlib.contextmanager
def serve_ngc(signer: Signer, tls: tuple[Path, Path], upstream: str) -> Iterator[Ngc]:
    """Serve NGC's hosts on one loopback address; ``upstream`` is a docker-registry for its tokens."""
    state = Ngc(upstream, signer)
    with front(state.backend, tls, state=state, handler=NgcHandler):
        yield state
