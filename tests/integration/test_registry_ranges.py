"""One large layer over several connections: what is asked for, and what a server can do to it."""

import contextlib
import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sampan.registry import adaptive, pace
from sampan.registry.adaptive import open_blob_part
from sampan.registry.blob_source import BlobSource
from sampan.registry.client import Origin
from sampan.registry.failures import NotFoundError, RegistryError, UnreachableError
from sampan.registry.settings import Settings
from sampan.registry.shared_clients import close_client, shared_client
from support.pull_host import Drip
from support.registries import IMPATIENT, Content, Front, front

pytestmark = pytest.mark.integration

BLOB = random.Random(4).randbytes(12 << 20)
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
MEMORY = 8 << 20
Read = Callable[..., bytes]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything happens within a few mebibytes, and on whatever loaded machine."""
    monkeypatch.setattr(pace, "_GAIN", 0.0)
    monkeypatch.setattr(adaptive, "WORTH_RANGES", 2 << 20)
    monkeypatch.setattr(adaptive, "_PROBE_BYTES", 512 << 10)
    monkeypatch.setattr(adaptive, "_NOT_WORTH_S", 0.0)
    monkeypatch.setattr(adaptive, "SETTLING_S", 0.02)
    monkeypatch.setattr(adaptive, "MEASURED_S", 0.1)


@pytest.fixture
def registry() -> Iterator[Front]:
    def fetch(path: str) -> Content:
        return Content(200, {}, BLOB) if DIGEST in path else Content(404, {}, b"{}")

    with front(fetch) as served:
        yield served


@pytest.fixture
def read(registry: Front) -> Iterator[Read]:
    origin = Origin(registry.host, None, IMPATIENT)

    def do(
        first: int = 0, end: int = len(BLOB), *, urls: tuple[str, ...] = (), name: str = DIGEST
    ) -> bytes:
        source = BlobSource(shared_client(origin), "team/image", name, len(BLOB), urls)
        with open_blob_part(source, first, end, memory=MEMORY) as stream:
            parts = []
            while part := stream.read(1 << 20):
                parts.append(part)
        return b"".join(parts)

    yield do
    close_client(origin)


class Throttle:
    """Gives each connection so many bytes a second; counts those that are open at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._open = 0
        self.most = 0

    def __call__(self, handler: Any) -> bool:
        if "/blobs/" not in handler.path:
            return False
        with self._lock:
            self._open += 1
            self.most = max(self.most, self._open)
        try:
            content = handler.part_of(handler.content())
            handler.answer(
                content.status, {**content.headers, "Content-Length": str(len(content.body))}
            )
            for at in range(0, len(content.body), 64 << 10):
                handler.wfile.write(content.body[at : at + (64 << 10)])
                time.sleep((64 << 10) / self._rate)
        finally:
            with self._lock:
                self._open -= 1
        return True


def ranges(registry: Front) -> list[str]:
    return [
        headers.get("Range", "")
        for _, path, headers in registry.seen
        if "/blobs/" in path or "/elsewhere/" in path
    ]


def test_connections_that_are_slow_each_are_used_side_by_side(registry: Front, read: Read) -> None:
    registry.intercept = throttle = Throttle(6e6)
    assert read() == BLOB
    assert throttle.most >= 4
    asked = ranges(registry)
    assert asked[0] == "bytes=0-524287"
    # No byte is asked for twice.
    spans = sorted(
        (int(first), int(last or len(BLOB) - 1))
        for first, last in (one.removeprefix("bytes=").split("-") for one in asked)
    )
    assert [first for first, _ in spans] == [0, *(last + 1 for _, last in spans[:-1])]


def test_a_fast_server_is_asked_for_the_probe_and_the_rest(
    registry: Front, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptive, "_NOT_WORTH_S", 10.0)
    assert read() == BLOB
    assert ranges(registry) == ["bytes=0-524287", "bytes=524288-"]


def test_a_server_without_ranges_is_read_in_one_go(registry: Front, read: Read) -> None:
    registry.has_ranges = False
    assert read() == BLOB
    assert ranges(registry) == ["bytes=0-524287"]


def test_a_part_in_the_middle_can_be_had(registry: Front, read: Read) -> None:
    registry.intercept = Throttle(20e6)
    assert read(3 << 20, 9 << 20) == BLOB[3 << 20 : 9 << 20]
    assert read(7, 8) == BLOB[7:8]


def test_a_server_that_forgets_ranges_on_the_way_is_read_from_the_beginning(
    registry: Front, read: Read
) -> None:
    throttle = Throttle(6e6)

    def intercept(handler: Any) -> bool:
        if len(ranges(registry)) > 4:
            del handler.headers["Range"]
            return False
        return throttle(handler)

    registry.intercept = intercept
    assert read() == BLOB
    assert ranges(registry)[-1].endswith("-")


def lie(registry: Front, act: Callable[[Any, Content], Content], after: int = 1) -> None:
    """Bend the answers from the given one on; the first ones are slow, so that ranges are used."""
    throttle = Throttle(6e6)

    def intercept(handler: Any) -> bool:
        if "/blobs/" not in handler.path:
            return False
        if len(ranges(registry)) <= after:
            return throttle(handler)
        handler.answer(*act(handler, handler.part_of(handler.content())))
        return True

    registry.intercept = intercept


def test_a_range_that_is_another_one_is_refused(registry: Front, read: Read) -> None:
    def act(_: Any, content: Content) -> Content:
        moved = {"Content-Range": f"bytes 7-{len(content.body) + 6}/{len(BLOB)}"}
        return Content(206, moved, content.body)

    lie(registry, act)
    with pytest.raises(RegistryError) as raised:
        read()
    assert "got those from 7" in raised.value.evidence


def test_a_blob_whose_size_changes_is_refused(registry: Front, read: Read) -> None:
    def act(_: Any, content: Content) -> Content:
        span = content.headers["Content-Range"].rpartition("/")[0]
        return Content(206, {"Content-Range": f"{span}/{len(BLOB) + 1}"}, content.body)

    lie(registry, act)
    with pytest.raises(RegistryError, match="another size") as raised:
        read()
    assert f"{len(BLOB) + 1:,} bytes in all" in raised.value.evidence


def test_a_blob_whose_entity_tag_changes_is_an_error_after_a_few_tries(
    registry: Front, read: Read
) -> None:
    tags = iter(range(1000))

    def intercept(handler: Any) -> bool:
        if "/blobs/" not in handler.path:
            return False
        content = handler.part_of(handler.content())
        handler.answer(206, {**content.headers, "ETag": f'"{next(tags)}"'}, content.body)
        return True

    registry.intercept = intercept
    with pytest.raises(UnreachableError, match="another layer than a moment ago"):
        read()
    assert len(ranges(registry)) == 1 + IMPATIENT.attempts


def test_weak_entity_tags_say_nothing(registry: Front, read: Read) -> None:
    tags = iter(range(1000))

    def intercept(handler: Any) -> bool:
        content = handler.part_of(handler.content())
        handler.answer(
            content.status, {**content.headers, "ETag": f'W/"{next(tags)}"'}, content.body
        )
        return True

    registry.intercept = lambda handler: "/blobs/" in handler.path and intercept(handler)
    assert read() == BLOB


def test_ranges_that_break_off_are_mended_one_by_one(registry: Front, read: Read) -> None:
    broken: set[str] = set()
    throttle = Throttle(6e6)

    def intercept(handler: Any) -> bool:
        wanted = handler.headers.get("Range", "").rpartition("-")[2]
        if "/blobs/" not in handler.path or wanted in broken or len(ranges(registry)) < 2:
            return throttle(handler)
        broken.add(wanted)
        content = handler.part_of(handler.content())
        length = {"Content-Length": str(len(content.body))}
        handler.answer(206, {**content.headers, **length}, content.body[: len(content.body) // 2])
        handler.hang_up()
        return True

    registry.intercept = intercept
    assert read() == BLOB
    assert broken


def test_a_range_that_is_not_given_ends_the_layer(registry: Front, read: Read) -> None:
    lie(registry, lambda *_: Content(404, {}, b"{}"), after=3)
    with pytest.raises(NotFoundError):
        read()


def test_tokens_that_expire_between_ranges_are_renewed(registry: Front, read: Read) -> None:
    throttle = Throttle(6e6)
    registry.asks = True
    registry.public = {"team/image"}
    uses: Counter[str] = Counter()

    def intercept(handler: Any) -> bool:
        if "/blobs/" not in handler.path:
            return False
        token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        uses[token] += 1
        if uses[token] > 8:
            registry.tokens.discard(token)
        return token in registry.tokens and throttle(handler)

    registry.intercept = intercept
    assert read() == BLOB
    assert len(registry.paths("proxy_auth")) > 1


@pytest.mark.parametrize("size", [1 << 20, len(BLOB)])
def test_a_server_that_says_nothing_more_does_not_hold_up_who_closes_the_layer(
    registry: Front, size: int
) -> None:
    registry.intercept = drip = Drip(100_000, 600.0)
    client = shared_client(Origin(registry.host, None, Settings()))
    source = BlobSource(client, "team/image", DIGEST, len(BLOB))
    stream = open_blob_part(source, len(BLOB) - size, len(BLOB), memory=MEMORY)
    begun = threading.Event()

    def read_all() -> None:
        with contextlib.suppress(ValueError, RegistryError):
            while stream.read(50_000):
                begun.set()

    reader = threading.Thread(target=read_all, daemon=True)
    reader.start()
    assert begun.wait(20)
    closer = threading.Thread(target=stream.close, daemon=True)
    closer.start()
    # Far below the minute that a read may take.
    for thread in (closer, reader):
        thread.join(20)
        assert not thread.is_alive()
    drip.release()


def test_a_signed_url_is_used_again_until_it_has_expired(registry: Front, read: Read) -> None:
    """The blob's host is the same server by its other name, which is another origin to us."""
    throttle = Throttle(6e6)
    registry.asks = True
    registry.public = {"team/image"}
    port = registry.host.rpartition(":")[2]
    signed: list[str] = []

    def intercept(handler: Any) -> bool:
        if "/blobs/" not in handler.path:
            return False
        if handler.headers["Host"] == f"localhost:{port}":
            assert "Authorization" not in handler.headers
            name = handler.path.rpartition("=")[2]
            # Each signature serves five requests.
            if signed.count(name) == 5:
                handler.refuse(403, "EXPIRED")
                return True
            signed.append(name)
            return throttle(handler)
        if handler.headers.get("Authorization", "").removeprefix("Bearer ") not in registry.tokens:
            return False
        location = f"http://localhost:{port}{handler.path}?signature={len(signed)}"
        handler.answer(307, {"Location": location})
        return True

    registry.intercept = intercept
    assert read() == BLOB
    assert len(signed) > 10
    redirects = [
        host
        for host, path, _ in registry.seen
        if "/blobs/" in path and not host.startswith("localhost")
    ]
    # One without a token, then one for each signature (several ranges may notice at once).
    assert 3 <= len(redirects) < len(signed)


def test_a_foreign_layer_is_fetched_from_its_own_place_without_credentials(
    registry: Front, read: Read
) -> None:
    registry.asks = True
    registry.public = {"team/image"}
    port = registry.host.rpartition(":")[2]

    def intercept(handler: Any) -> bool:
        if not handler.path.startswith("/elsewhere/"):
            return False
        assert "Authorization" not in handler.headers
        handler.answer(*handler.part_of(Content(200, {}, BLOB)))
        return True

    registry.intercept = intercept
    urls = ("ftp://x/y", f"http://localhost:{port}/elsewhere/layer")
    assert read(name="sha256:" + "1" * 64, urls=urls) == BLOB


def test_a_foreign_layer_that_nobody_has_names_the_places(registry: Front, read: Read) -> None:
    with pytest.raises(NotFoundError, match="kept elsewhere") as raised:
        read(name="sha256:" + "1" * 64, urls=("file:///etc/passwd", f"http://{registry.host}/no"))
    assert "file:///etc/passwd is no plain http or https URL" in raised.value.evidence
    assert "/no answered 404" in raised.value.evidence


def test_a_foreign_address_that_leads_to_this_machine_is_not_followed(registry: Front) -> None:
    """An image must not make us ask services that only we can reach."""
    port = registry.host.rpartition(":")[2]

    def intercept(handler: Any) -> bool:
        if handler.path != "/outside":
            return False
        handler.answer(302, {"Location": f"http://localhost:{port}/inside"})
        return True

    registry.intercept = intercept
    client = shared_client(Origin(registry.host, None, IMPATIENT))
    with pytest.raises(RegistryError, match="where we do not go") as raised:
        client.open_elsewhere(f"http://{registry.host}/outside", stays_outside=True)
    assert "this machine or its link" in raised.value.evidence
    assert registry.paths("/inside") == []
