"""The pull side of distribution-spec 1.1 at one registry: documents, tags, blobs.

What an answer means to a user is ``failures``'; which bytes are right is decided here: every
document is hashed as it came and compared before it is parsed.
"""

import hashlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from sampan.model.manifest import (
    MAXIMUM_DOCUMENT,
    Descriptor,
    check_digest,
    parse_object,
)
from sampan.model.reference import Reference
from sampan.registry.endpoints import Endpoint
from sampan.registry.failures import (
    NotFoundError,
    Refusal,
    RegistryError,
    clean_text,
    explain_refusal,
)
from sampan.registry.media_types import ACCEPTED, media_type_of
from sampan.registry.secret import Credential
from sampan.registry.server import Server, challenges_of
from sampan.registry.settings import DEFAULT_SETTINGS, Settings, registry_host
from sampan.registry.transport import Answer, Transport

MAXIMUM_MANIFEST = 4 << 20
_MAXIMUM_TAGS_BODY = 8 << 20
_TAG_PAGES = 20
_REFERRER_TAG_LENGTH = len("sha256-") + 64
_SHOWN_TAGS = 8


class Origin(NamedTuple):
    """A registry and who we are there; may be pickled and is equal to its like.

    ``origins.find_origin`` makes one from what this machine's files say.

    Attributes:
        registry: as in references.
        credential: for the registry; ``place`` may bring its own.
        settings: patience, trust.
        place: where the registry really is; None = at its own name.
        mirrors: asked before it, in this order.
    """

    registry: str
    credential: Credential | None = None
    settings: Settings = DEFAULT_SETTINGS
    place: Endpoint | None = None
    mirrors: tuple[Endpoint, ...] = ()


class Document(NamedTuple):
    """A manifest or index as it came, with the digest of its bytes."""

    media_type: str
    digest: str
    content: bytes

    @property
    def descriptor(self) -> Descriptor:
        """What an index would say of it."""
        return Descriptor(self.media_type, self.digest, len(self.content), None, {})


class RegistryClient:
    """One registry; safe for threads. Connections and tokens are kept and used again."""

    def __init__(self, origin: Origin, environment: Mapping[str, str]) -> None:
        self.registry = origin.registry
        self.settings = origin.settings
        place = origin.place or Endpoint(registry_host(origin.registry))
        place = place._replace(credential=place.credential or origin.credential)
        self._transport = Transport(
            origin.settings, environment, {one.host: one for one in (*origin.mirrors, place)}
        )
        is_moved = place.host != registry_host(origin.registry)
        # Tokens and credentials are those of the host that is really asked.
        name = place.host if is_moved else origin.registry
        self._server = Server(place, name, self._transport, origin.settings)
        self._authorizer = self._server.authorizer
        self._mirrors = [
            Server(mirror, mirror.host, self._transport, origin.settings)
            for mirror in origin.mirrors
        ]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should hear although it went well."""
        passed_over = (
            f"mirror {server.name} was passed over: {server.why_not}"
            for server in self._mirrors
            if server.why_not
        )
        return (
            *passed_over,
            *(note for server in self._mirrors for note in server.authorizer.notes),
            *self._authorizer.notes,
        )

    @property
    def rate_limit(self) -> Mapping[str, str]:
        """The rate-limit headers last seen from the registry itself; empty without any."""
        return self._transport.patience.last_limits(self._server.endpoint.host)

    @property
    def server(self) -> Server:
        """The registry itself, past its mirrors: for what is to change it."""
        return self._server

    @property
    def transport(self) -> Transport:
        """The connections."""
        return self._transport

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def pause(self, attempt: int) -> float:
        """Seconds to wait after the given failed attempt."""
        return self._transport.pause(attempt)

    def check_login(self) -> bool:
        """Show the credentials to the registry.

        Returns:
            False when it lets everybody in, so that nothing was proved.

        Raises:
            UnauthorizedError: they are wrong.
            RegistryError: it cannot be asked, or speaks another protocol.
        """
        url = f"{self._server.find_base()}{self._server.endpoint.api}/"
        send = self._server.send
        answer = send("GET", url, {}, None, MAXIMUM_MANIFEST)
        if answer.status == 200:
            return False
        if answer.status == 401:
            header = self._authorizer.answer(challenges_of(answer), "", answer, strict=True)
            answer = send("GET", url, {}, header, MAXIMUM_MANIFEST)
        if answer.status == 401:
            raise self._authorizer.refuse(answer)
        if answer.status != 200:
            raise self._explain(answer, "", "log in")
        return True

    def get_manifest(self, reference: Reference) -> Document:
        """The manifest or index that a reference names.

        Raises:
            NotFoundError: there is none; names some tags that there are.
            SourceError: it is pinned by another algorithm than sha256.
            RegistryError: any other refusal, or an answer that is not what was asked for.
        """
        where = reference.familiar
        if reference.digest:
            check_digest(reference.digest, where)
        name = reference.digest or reference.tag
        path = f"/v2/{reference.repository}/manifests/{name}"
        answer = self._ask(
            path, reference.repository, headers={"Accept": ACCEPTED}, limit=MAXIMUM_MANIFEST
        )
        if answer.status == 404:
            raise self._explain_absence(reference, answer)
        if answer.status != 200:
            raise self._explain(answer, reference.repository, f"read the manifest of {where}")
        digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if reference.digest and digest != reference.digest:
            raise RegistryError(
                f"{self.registry} gave another manifest than the one asked for",
                evidence=f"asked for {reference.digest}, got {digest}",
                remedy="pull again; if it stays, ask the registry's operator",
            )
        return Document(media_type_of(answer, where), digest, answer.body)

    def get_document(self, repository: str, descriptor: Descriptor, *, is_blob: bool) -> bytes:
        """A small blob or a manifest by its digest; verified by the caller.

        Raises:
            RegistryError: the registry does not give it, or it is too big for what it is.
        """
        if descriptor.size > MAXIMUM_DOCUMENT:
            raise RegistryError(
                f"a document of {self.registry}/{repository} is too big",
                evidence=f"{descriptor.digest} has {descriptor.size:,} bytes",
            )
        kind = "blobs" if is_blob else "manifests"
        answer = self._ask(
            f"/v2/{repository}/{kind}/{descriptor.digest}",
            repository,
            headers={} if is_blob else {"Accept": ACCEPTED},
            limit=descriptor.size,
        )
        if answer.status != 200:
            raise self._explain(answer, repository, f"read {descriptor.digest[:19]}")
        return answer.body

    def find_digest(self, reference: Reference) -> str:
        """The digest of what a reference names now, by HEAD: no document, no count of pulls.

        Returns:
            Empty when the registry does not say it (no such tag, no header, no HEAD).

        Raises:
            RegistryError: it cannot be asked.
        """
        name = reference.digest or reference.tag
        answer = self._ask(
            f"/v2/{reference.repository}/manifests/{name}",
            reference.repository,
            headers={"Accept": ACCEPTED},
            limit=MAXIMUM_MANIFEST,
            method="HEAD",
        )
        return answer.headers.get("docker-content-digest", "") if answer.status == 200 else ""

    def open_blob(
        self, repository: str, digest: str, first: int = 0, end: int | None = None
    ) -> Answer:
        """Begin to read a blob.

        Args:
            repository: that has it.
            digest: of the blob.
            first: where to begin; a server without ranges answers 200 and begins at 0.
            end: where to stop; None = at its end.

        Raises:
            NotFoundError: the registry does not have it.
            RegistryError: the registry does not give it.
        """
        answer = self._ask(
            f"/v2/{repository}/blobs/{digest}",
            repository,
            headers=_range_headers(first, end),
            limit=None,
        )
        if answer.stream is None:
            raise self._explain(answer, repository, f"read layer {digest[:19]}")
        return answer

    def open_elsewhere(
        self, url: str, first: int = 0, end: int | None = None, *, stays_outside: bool = False
    ) -> Answer:
        """Begin to read what another host has, without credentials; any status is the caller's.

        Raises:
            RegistryError: there is no answer, or (``stays_outside``) it leads to this machine.
        """
        return self._transport.request(
            "GET",
            url,
            headers=_range_headers(first, end),
            limit=None,
            stays_outside=stays_outside,
        )

    def list_tags(self, repository: str) -> list[str] | None:
        """All tags (of the first pages, where there are very many); None without the repository.

        Raises:
            RegistryError: the registry does not say.
        """
        server = self._server
        path = server.path(repository, "tags/list?n=1000")
        scope = f"repository:{server.scope_name(repository)}:pull"
        tags: list[str] = []
        for _ in range(_TAG_PAGES):
            answer = server.ask_path(path, scope, headers={}, limit=_MAXIMUM_TAGS_BODY)
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise self._explain(answer, repository, f"list the tags of {repository}")
            found = parse_object(answer.body, f"the tag list of {repository}").get("tags")
            tags += [str(tag) for tag in found] if isinstance(found, list) else []
            path = _next_page(answer)
            if not path:
                break
        return tags

    def _ask(
        self,
        path: str,
        repository: str,
        *,
        headers: Mapping[str, str],
        limit: int | None,
        method: str = "GET",
    ) -> Answer:
        """Ask the mirrors that may know, then the registry; statuses but 401 are the caller's."""
        resource = path.removeprefix(f"/v2/{repository}/")
        for mirror in self._mirrors:
            if mirror.serves(resource):
                answer = mirror.try_to_ask(
                    repository, resource, headers=headers, limit=limit, method=method
                )
                if answer is not None:
                    return answer
        return self._server.ask(repository, resource, headers=headers, limit=limit, method=method)

    def _explain(self, answer: Answer, repository: str, what: str) -> RegistryError:
        refusal = Refusal(answer.status, answer.headers, answer.body, "GET", answer.url)
        if answer.status == 404:
            return NotFoundError(
                f"{self.registry} cannot {what}",
                evidence=refusal.evidence(),
                remedy="pull again; if it stays, the registry is damaged: push the image again",
            )
        return explain_refusal(refusal, registry=self.registry, repository=repository, what=what)

    def _explain_absence(self, reference: Reference, answer: Answer) -> RegistryError:
        refusal = Refusal(answer.status, answer.headers, answer.body, "GET", answer.url)
        try:
            tags = self.list_tags(reference.repository)
        except RegistryError:
            tags = None
        if tags is None or not tags:
            return NotFoundError(
                f"{self.registry} has no repository {reference.repository}, or no image in it",
                evidence=refusal.evidence(),
                remedy="check the name; on NGC it is nvcr.io/ORG[/TEAM]/IMAGE:TAG",
            )
        if reference.digest:
            return NotFoundError(
                f"{self.registry} has no manifest {reference.digest} in {reference.repository}",
                evidence=refusal.evidence(),
                remedy=f"choose a tag: sampan tags {reference.familiar_name} lists them",
            )
        images = [tag for tag in tags if not is_about_image(tag)] or tags
        near = get_close_matches(reference.tag, images, n=_SHOWN_TAGS, cutoff=0.5)
        shown = near or images[: -_SHOWN_TAGS - 1 : -1]
        return NotFoundError(
            f"{reference.name} has no tag {reference.tag}",
            evidence=f"of its {len(images)} tags some are: "
            + ", ".join(clean_text(tag) for tag in shown),
            remedy=f"sampan pull {reference.familiar_name}:{clean_text(shown[0])}",
        )


def is_about_image(tag: str) -> bool:
    """Whether a tag is no image's but of what refers to one (``sha256-<hex>.sig`` and its like)."""
    return tag.startswith("sha256-") and len(tag) >= _REFERRER_TAG_LENGTH


def _range_headers(first: int, end: int | None) -> dict[str, str]:
    """RFC 9110, 14.2; nothing for the whole."""
    if not first and end is None:
        return {}
    return {"Range": f"bytes={first}-{'' if end is None else end - 1}"}


def _next_page(answer: Answer) -> str:
    """Path and query of the next page (RFC 8288), on the same host; empty at the end."""
    for link in answer.headers.get("link", "").split(","):
        target, _, parameters = link.partition(";")
        target = target.strip()
        if 'rel="next"' in parameters.replace("rel=next", 'rel="next"') and target[:1] == "<":
            url = urlsplit(urljoin(answer.url, target[1:-1]))
            if url.netloc == urlsplit(answer.url).netloc and "/v2/" in url.path:
                return f"{url.path}?{url.query}"
    return ""
