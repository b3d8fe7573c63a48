"""Pushing to registries that break, forget, refuse and send elsewhere."""

import io
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.engines.copy import CopyOptions, copy_image
from sampan.engines.push import PushOptions, push_image
from sampan.errors import SampanError
from sampan.images.importer import import_image
from sampan.images.layout_writer import LayoutError
from sampan.images.store_layout import StoreLayout
from sampan.model.transfer import TransferEvent
from sampan.registry import upload
from sampan.registry.client import Origin, RegistryClient
from sampan.registry.failures import RegistryError, UnauthorizedError, UnreachableError
from sampan.registry.push import mount_blob, push_manifest
from sampan.registry.push_failures import QuotaError, ReadOnlyError
from sampan.registry.referrers import list_referrers
from sampan.registry.secret import Credential, Secret
from sampan.registry.upload import BlobToPush, Upload
from sampan.registry.upload_channel import UploadChannel
from support.layouts import LayoutMaker, make_tar, named, sha256
from support.push_server import PushServer, push_server
from support.registries import IMPATIENT

pytestmark = pytest.mark.integration

CONTENT = random.Random(5).randbytes(1_000_003)
PIECE = 100_000


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(upload, "_LEAST_PIECE", 1000)


@pytest.fixture
def server() -> Iterator[PushServer]:
    with push_server() as served:
        yield served


@pytest.fixture
def channel(server: PushServer) -> Iterator[UploadChannel]:
    client = RegistryClient(Origin(server.host, None, IMPATIENT), {})
    yield UploadChannel(client, "team/image")
    client.close()


def send(channel: UploadChannel, content: bytes = CONTENT, *, digest: str = "") -> None:
    blob = BlobToPush("blob", lambda: io.BytesIO(content), digest, len(content) if digest else 0)
    pushed = Upload(channel, blob, lambda _: None).run()
    assert pushed == (sha256(content), len(content))


def arrived(server: PushServer, content: bytes = CONTENT) -> bool:
    return server.blobs.get(("team/image", sha256(content))) == content


def test_a_small_blob_takes_two_requests(server: PushServer, channel: UploadChannel) -> None:
    send(channel, b"small")
    assert arrived(server, b"small")
    assert (server.count("POST"), server.count("PUT"), server.count("PATCH")) == (1, 1, 0)


def test_an_empty_blob_can_be_pushed(server: PushServer, channel: UploadChannel) -> None:
    send(channel, b"")
    assert arrived(server, b"")


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_a_blob_is_sent_in_pieces_that_follow_one_another(
    size: int, server: PushServer, channel: UploadChannel
) -> None:
    send(channel, CONTENT[:size])
    assert arrived(server, CONTENT[:size])
    assert server.count("PATCH") == (0 if size < PIECE else -(-size // PIECE))


def test_the_least_piece_that_a_registry_wants_is_kept(
    server: PushServer, channel: UploadChannel
) -> None:
    server.chunk_min = 400_000
    send(channel)
    assert arrived(server)
    assert server.count("PATCH") == 3


@pytest.mark.parametrize("skip", [0, 1, 5, 10])
def test_after_a_break_only_what_is_missing_is_sent_again(
    skip: int, server: PushServer, channel: UploadChannel
) -> None:
    server.fail_once("PATCH", lambda handler: handler.take_half(), skip)
    send(channel)
    assert arrived(server)
    assert server.count("POST") == 1
    assert server.count("PATCH") == 12
    sent = sum(int(h["Content-Length"]) for m, _, h in server.seen if m == "PATCH")
    assert sent < len(CONTENT) + PIECE


def test_a_piece_that_was_not_taken_at_all_is_sent_again(
    server: PushServer, channel: UploadChannel
) -> None:
    server.fail_once("PATCH", lambda handler: handler.hang_up(), 4)
    send(channel)
    assert arrived(server)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_registry_that_is_busy_for_a_moment_is_asked_again(
    status: int, server: PushServer, channel: UploadChannel
) -> None:
    server.fail_once("PATCH", lambda handler: handler.refuse(status, "TOOMANYREQUESTS"), 3)
    send(channel)
    assert arrived(server)


def test_an_upload_that_was_forgotten_is_begun_anew(
    server: PushServer, channel: UploadChannel
) -> None:
    def forget(handler: Any) -> None:
        server.uploads.clear()
        handler.act()

    server.fail_once("PATCH", forget, 5)
    send(channel)
    assert arrived(server)
    assert server.count("POST") == 2


def test_an_end_that_nobody_confirmed_is_looked_for(
    server: PushServer, channel: UploadChannel
) -> None:
    def finish_silently(handler: Any) -> None:
        server.blobs["team/image", handler.query["digest"]] = b"".join(server.uploads.values())
        handler.hang_up()

    server.fail_once("PUT", finish_silently)
    send(channel)
    assert arrived(server)
    assert (server.count("POST"), server.count("PUT")) == (1, 1)


def test_a_blob_that_came_damaged_is_sent_again(server: PushServer, channel: UploadChannel) -> None:
    def damage(handler: Any) -> None:
        session = handler.path_only.rpartition("/")[2]
        server.uploads[session] += bytes(len(handler.body()))
        handler.progress("team/image", session, 202)

    server.fail_once("PATCH", damage, 2)
    send(channel)
    assert arrived(server)
    assert server.count("POST") == 2


def test_a_registry_that_stores_something_else_is_not_believed(
    server: PushServer, channel: UploadChannel
) -> None:
    other = sha256(b"other")
    server.fail_once("PUT", lambda h: (h.body(), h.answer(201, Docker_Content_Digest=other)))  # type: ignore[arg-type,return-value]
    with pytest.raises(RegistryError, match="something else"):
        send(channel)


def test_a_registry_that_takes_no_pieces_gets_one_stream(
    server: PushServer, channel: UploadChannel
) -> None:
    def only_one(handler: Any) -> bool:
        if handler.command == "PATCH" and handler.headers.get("Content-Range", "0-")[:2] != "0-":
            handler.refuse(416, "BLOB_UPLOAD_INVALID")
            return True
        return False

    server.intercept = only_one
    send(channel)
    assert arrived(server)
    (stream,) = [h for m, _, h in server.seen if m == "PATCH" and "Content-Range" not in h]
    assert stream["Transfer-Encoding"] == "chunked"
    send(channel, CONTENT + b"x", digest=sha256(CONTENT + b"x"))
    assert arrived(server, CONTENT + b"x")
    last = [h for m, _, h in server.seen if m == "PATCH"][-1]
    assert last["Content-Length"] == str(len(CONTENT) + 1)


def test_a_proxy_that_limits_requests_gets_smaller_pieces(
    server: PushServer, channel: UploadChannel
) -> None:
    def limit(handler: Any) -> bool:
        if int(handler.headers.get("Content-Length") or 0) > 30_000:
            handler.refuse(413, "TOO_LARGE")
            return True
        return False

    server.intercept = limit
    send(channel)
    assert arrived(server)
    send(channel, CONTENT[:60_000])
    assert arrived(server, CONTENT[:60_000])


def test_a_registry_that_never_keeps_anything_is_given_up(
    server: PushServer, channel: UploadChannel
) -> None:
    server.intercept = lambda h: h.command == "PATCH" and (h.refuse(404, "GONE") or True)
    with pytest.raises(RegistryError, match="does not keep what we send"):
        send(channel)
    assert server.count("POST") == IMPATIENT.attempts


def test_a_registry_that_breaks_every_time_is_given_up(
    server: PushServer, channel: UploadChannel
) -> None:
    server.intercept = lambda h: h.command == "PATCH" and (h.hang_up() or True)
    with pytest.raises(UnreachableError) as caught:
        send(channel)
    assert "push again" in caught.value.remedy


def test_a_source_that_changed_is_not_pushed(server: PushServer, channel: UploadChannel) -> None:
    with pytest.raises(RegistryError, match="not what it was said to be"):
        send(channel, digest=sha256(b"another"))
    assert not server.blobs


def test_credentials_do_not_follow_an_upload_to_another_host(server: PushServer) -> None:
    server.user = "jo:secret"
    with push_server() as elsewhere:
        session = "ab" * 8
        elsewhere.uploads[session] = bytearray()

        def begin(handler: Any) -> None:
            handler.body()
            place = f"http://{elsewhere.host}/v2/team/image/blobs/uploads/{session}?signature=s"
            handler.answer(202, Location=place)

        def intercept(handler: Any) -> bool:
            if handler.command == "POST" and "Bearer" in handler.headers.get("Authorization", ""):
                begin(handler)
                return True
            return False

        server.intercept = intercept
        client = RegistryClient(
            Origin(server.host, Credential("jo", Secret("secret"), "test"), IMPATIENT), {}
        )
        send(UploadChannel(client, "team/image"))
        client.close()
        assert elsewhere.blobs["team/image", sha256(CONTENT)] == CONTENT
        assert elsewhere.count("PATCH") > 5
        assert not any("Authorization" in headers for _, _, headers in elsewhere.seen)


def test_credentials_do_not_follow_a_redirect_of_a_piece(server: PushServer) -> None:
    server.user = "jo:secret"
    with push_server() as elsewhere:
        sent: list[str] = []

        def move(handler: Any) -> bool:
            if handler.command != "PATCH" or "Authorization" not in handler.headers:
                return False
            handler.body()
            elsewhere.uploads.update(server.uploads)
            sent.append(handler.path)
            handler.answer(307, Location=f"http://{elsewhere.host}{handler.path}")
            return True

        server.intercept = move
        elsewhere.locations = lambda path: f"http://{elsewhere.host}{path}"
        client = RegistryClient(
            Origin(server.host, Credential("jo", Secret("secret"), "test"), IMPATIENT), {}
        )
        send(UploadChannel(client, "team/image"))
        client.close()
        assert sent
        assert elsewhere.blobs["team/image", sha256(CONTENT)] == CONTENT
        assert not any("Authorization" in headers for _, _, headers in elsewhere.seen)


def test_a_push_asks_for_the_right_to_push_and_a_mount_for_both_repositories(
    server: PushServer,
) -> None:
    server.user = "jo:secret"
    credential = Credential("jo", Secret("secret"), "test")
    client = RegistryClient(Origin(server.host, credential, IMPATIENT), {})
    send(UploadChannel(client, "team/image"), b"blob")
    assert mount_blob(UploadChannel(client, "other/image"), sha256(b"blob"), "team/image")
    client.close()
    assert server.scopes == [
        ["repository:team/image:pull,push"],
        ["repository:other/image:pull,push", "repository:team/image:pull"],
    ]
    assert ("other/image", sha256(b"blob")) in server.blobs


def test_a_mount_that_is_not_done_leaves_no_upload_behind(
    server: PushServer, channel: UploadChannel
) -> None:
    assert not mount_blob(channel, sha256(b"nowhere"), "team/other")
    assert server.uploads == {}


def test_a_token_that_expires_in_the_middle_is_renewed(server: PushServer) -> None:
    server.user = "jo:secret"

    def expire(handler: Any) -> bool:
        if handler.command == "PATCH" and server.count("PATCH") == 4:
            server.tokens.clear()
        return False

    server.intercept = expire
    client = RegistryClient(
        Origin(server.host, Credential("jo", Secret("secret"), "test"), IMPATIENT), {}
    )
    send(UploadChannel(client, "team/image"))
    client.close()
    assert arrived(server)
    assert len(server.scopes) == 2


def test_a_wrong_password_is_said_and_not_gone_on_without(server: PushServer) -> None:
    server.user = "jo:secret"
    client = RegistryClient(
        Origin(server.host, Credential("jo", Secret("wrong-secret"), "a file"), IMPATIENT), {}
    )
    with pytest.raises(UnauthorizedError) as caught:
        send(UploadChannel(client, "team/image"))
    client.close()
    assert "a file" in caught.value.evidence
    assert "wrong-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "words"),
    [
        (403, "DENIED", "requested access is denied", "registry-forbidden", "log in as somebody who may push"),
        (404, "NAME_UNKNOWN", "unknown", "not-in-registry", "created first"),
        (403, "DENIED", "quota of 10 GB exceeded", "registry-quota", "delete images"),
        (412, "PRECONDITION", "adding 5 MB will exceed the storage quota", "registry-quota", "quota"),
        (405, "UNSUPPORTED", "read only", "registry-read-only", "mirror"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_it_means(
    status: int, code: str, message: str, kind: str, words: str, server: PushServer,
    channel: UploadChannel,
) -> None:  # fmt: skip
    server.intercept = lambda h: h.command == "POST" and (h.refuse(status, code, message) or True)
    with pytest.raises(SampanError) as caught:
        send(channel, b"blob")
    assert caught.value.id == kind
    assert words in caught.value.remedy
    assert message in caught.value.evidence


def test_a_tag_that_may_not_change_and_an_unknown_manifest_are_told_apart(
    server: PushServer, channel: UploadChannel
) -> None:
    server.fail_once("PUT", lambda h: h.refuse(409, "DENIED", "tag is immutable"))
    with pytest.raises(ReadOnlyError, match="be replaced"):
        push_manifest(channel, "1", "application/vnd.oci.image.manifest.v1+json", b"{}")
    server.fail_once("PUT", lambda h: h.refuse(400, "MANIFEST_INVALID"))
    with pytest.raises(RegistryError) as caught:
        push_manifest(channel, "1", "application/vnd.oci.image.manifest.v1+json", b"{}")
    assert "--format v2s2" in caught.value.remedy
    server.fail_once("PUT", lambda h: h.refuse(403, "DENIED", "storage quota exceeded"))
    with pytest.raises(QuotaError):
        push_manifest(channel, "1", "application/vnd.oci.image.manifest.v1+json", b"{}")


@pytest.mark.parametrize("location", ["", "ftp://somewhere/x", "file:///etc/passwd"])
def test_a_location_that_leads_nowhere_is_refused(
    location: str, server: PushServer, channel: UploadChannel
) -> None:
    more = {"Location": location} if location else {}
    server.intercept = lambda h: h.command == "POST" and (h.body() or h.answer(202, **more) or True)
    with pytest.raises(RegistryError, match=r"without saying where|where we do not go"):
        send(channel, b"blob")


def test_relative_locations_with_a_query_are_followed(
    server: PushServer, channel: UploadChannel
) -> None:
    server.locations = lambda path: path.rpartition("/")[2]
    send(channel)
    assert arrived(server)
    puts = [path for method, path, _ in server.seen if method == "PUT"]
    assert "?state=x&digest=sha256:" in puts[0]


class Images:
    """A store with an image of several layers."""

    def __init__(self, root: Path) -> None:
        self.store = StoreLayout(str(root / "store"))
        maker = LayoutMaker(root / "layout")
        layers = [make_tar({f"f{n}": os.urandom(200_000)}) for n in range(5)]
        maker.write_index([named(maker.add_image(layers), "it")])
        self.layout = maker.root
        self.image = import_image(f"oci:{maker.root}:it", "it", store=self.store)
        self.environment = {"HOME": str(root)}

    def push(self, server: PushServer, **options: Any) -> list[TransferEvent]:
        events: list[TransferEvent] = []
        push_image(
            "it",
            f"{server.host}/team/image:1",
            store=self.store,
            environment=self.environment,
            options=PushOptions(settings=IMPATIENT, **options),
            hear=events.append,
        )
        return events


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path)


def test_one_layer_that_fails_stops_the_push_and_names_nothing(
    server: PushServer, images: Images
) -> None:
    def refuse_third(handler: Any) -> bool:
        if handler.command == "POST" and server.count("POST") == 3:
            handler.refuse(403, "DENIED", "no more")
            return True
        return False

    server.intercept = refuse_third
    with pytest.raises(SampanError, match="does not let you push"):
        images.push(server)
    assert server.manifests == {}


def test_a_second_push_after_a_failure_sends_only_what_is_missing(
    server: PushServer, images: Images
) -> None:
    server.fail_once("PUT", lambda handler: handler.refuse(403, "DENIED"), 3)
    with pytest.raises(SampanError):
        images.push(server, jobs=1)
    there = len(server.blobs)
    assert there == 3
    events = images.push(server)
    assert sum(event.kind == "present" for event in events) == there
    assert sum(event.kind == "sent" for event in events) == 5 - there
    assert ("team/image", "1") in server.manifests


def test_a_copy_that_breaks_goes_on_and_damaged_sources_stop_it(
    server: PushServer, images: Images
) -> None:
    options = CopyOptions(settings=IMPATIENT, jobs=1)

    def copy() -> Any:
        return copy_image(
            f"oci:{images.layout}:it",
            f"{server.host}/team/copy:1",
            environment=images.environment,
            options=options,
        )

    server.fail_once("PATCH", lambda handler: handler.take_half(), 2)
    assert copy().is_new
    assert not copy().is_new
    blob = max((images.layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    server.blobs.clear()
    server.manifests.clear()
    with pytest.raises(RegistryError, match="not what it was said to be"):
        copy()
    assert server.manifests == {}


REFERRER = {
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "digest": sha256(b"sbom"),
    "size": 4,
    "artifactType": "application/spdx+json",
    "annotations": {"made": "now"},
}


@pytest.mark.parametrize("kind", ["", "application/spdx+json", "other/type"])
def test_referrers_are_asked_for_at_their_address(kind: str, server: PushServer) -> None:
    asked: list[str] = []

    def answer(handler: Any) -> bool:
        if "/referrers/" not in handler.path:
            return False
        asked.append(handler.path)
        index = {"schemaVersion": 2, "manifests": [REFERRER]}
        handler.answer(200, json.dumps(index).encode(),
                       Content_Type="application/vnd.oci.image.index.v1+json")  # fmt: skip
        return True

    server.intercept = answer
    client = RegistryClient(Origin(server.host, None, IMPATIENT), {})
    found = list_referrers(client, "team/image", sha256(b"image"), kind)
    client.close()
    assert ("artifactType" in asked[0]) == bool(kind)
    # This registry does not filter.
    assert [one.kind for one in found] == (
        [] if kind == "other/type" else ["application/spdx+json"]
    )
    assert all(one.annotations == {"made": "now"} for one in found)


def test_layers_that_their_owner_gives_out_are_not_copied(
    server: PushServer, images: Images, tmp_path: Path
) -> None:
    maker = LayoutMaker(tmp_path / "foreign")
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    top = maker.add_image([make_tar({"theirs": b"not ours to give"})], layer_type=kind)
    manifest = json.loads(maker.blob_path(top["digest"]).read_bytes())
    manifest["layers"][0]["urls"] = ["https://owner.example/layer"]
    changed = maker.add_document(manifest, top["mediaType"])
    maker.write_index([named(changed, "it")])
    maker.blob_path(manifest["layers"][0]["digest"]).unlink()

    def take_any(handler: Any) -> bool:
        if handler.command != "PUT" or "/manifests/" not in handler.path:
            return False
        content = handler.body()
        server.manifests["team/foreign", "1"] = (handler.headers["Content-Type"], content)
        handler.answer(201)
        return True

    server.intercept = take_any
    result = copy_image(
        f"oci:{maker.root}:it",
        f"{server.host}/team/foreign:1",
        environment=images.environment,
        options=CopyOptions(settings=IMPATIENT),
    )
    assert result.digest == changed["digest"]
    assert [digest for _, digest in server.blobs] == [manifest["config"]["digest"]]


def test_a_source_that_gives_other_bytes_leaves_no_layout_behind(
    images: Images, tmp_path: Path
) -> None:
    blob = max((images.layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    for target in (f"oci-archive:{tmp_path}/new.tar", f"oci:{tmp_path}/new"):
        with pytest.raises(LayoutError, match="not what its digest says"):
            copy_image(f"oci:{images.layout}:it", target, environment=images.environment)
    assert not (tmp_path / "new.tar").exists()
    assert not (tmp_path / "new" / "index.json").exists()


def test_a_layer_that_an_image_has_twice_is_sent_once(server: PushServer, tmp_path: Path) -> None:
    store = StoreLayout(str(tmp_path / "store"))
    maker = LayoutMaker(tmp_path / "twice")
    layer = make_tar({"f": b"x" * 5000})
    maker.write_index([named(maker.add_image([layer, layer]), "it")])
    import_image(f"oci:{maker.root}:it", "it", store=store)
    push_image(
        "it",
        f"{server.host}/team/image:1",
        store=store,
        environment={"HOME": str(tmp_path)},
        options=PushOptions(settings=IMPATIENT, compression="zstd"),
    )
    manifest = json.loads(server.manifests["team/image", "1"][1])
    assert len(manifest["layers"]) == 2
    assert len({one["digest"] for one in manifest["layers"]}) == 1
    assert server.count("POST") == 2
