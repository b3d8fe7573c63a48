"""What a broken or hostile registry can do to a pull: a clear error or success, never a wrong image."""

import json
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.engines.pull import PullOptions, pull_image
from sampan.errors import SampanError
from sampan.images.catalogue import list_names, list_records
from sampan.images.limits import LayerError
from sampan.images.store import StoredImage, find_image
from sampan.images.store_layout import StoreLayout
from sampan.model.image import parse_platform
from sampan.model.source import SourceError
from sampan.registry.failures import (
    ForbiddenError,
    NotFoundError,
    RateLimitError,
    RegionError,
    RegistryError,
    TermsError,
    UnauthorizedError,
    UnreachableError,
)
from support.layouts import (
    OCI_INDEX,
    OCI_MANIFEST,
    LayoutMaker,
    make_tar,
    named,
    on_platform,
    sha256,
)
from support.registries import IMPATIENT, Front, free_port, front, layout_backend

pytestmark = pytest.mark.integration

NOISE = make_tar({"noise": os.urandom(3 << 20)})
SMALL = make_tar({"etc": None, "etc/name": b"small"})
Pull = Callable[..., StoredImage]


@pytest.fixture
def layout(tmp_path: Path) -> LayoutMaker:
    maker = LayoutMaker(tmp_path / "layout")
    maker.write_index([named(maker.add_image([NOISE, SMALL]), "v1")])
    return maker


@pytest.fixture
def registry(layout: LayoutMaker) -> Iterator[Front]:
    with front(layout_backend(layout.root)) as served:
        yield served


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    return StoreLayout(str(tmp_path / "store"))


@pytest.fixture
def pull(registry: Front, store: StoreLayout, tmp_path: Path) -> Pull:
    def do(name: str = "team/image:v1", **options: Any) -> StoredImage:
        return pull_image(
            f"{registry.host}/{name}",
            store=store,
            environment={"HOME": str(tmp_path / "home")},
            options=PullOptions(settings=IMPATIENT, **options),
        )

    return do


def big_blob(layout: LayoutMaker) -> str:
    return max(layout.root.glob("blobs/sha256/*"), key=lambda path: path.stat().st_size).name


def on_big_blob(
    registry: Front, layout: LayoutMaker, act: Callable[[Any, bytes], None], times: int = 1000
) -> None:
    """Let ``act`` answer the first requests for the big layer."""
    name = big_blob(layout)
    left = [times]

    def intercept(handler: Any) -> bool:
        if name not in handler.path or left[0] == 0:
            return False
        left[0] -= 1
        act(handler, handler.content().body)
        return True

    registry.intercept = intercept


def cut_after(number: int) -> Callable[[Any, bytes], None]:
    def act(handler: Any, body: bytes) -> None:
        handler.answer(200, {"Content-Length": str(len(body))}, body[:number])
        handler.hang_up()

    return act


def nothing_is_visible(store: StoreLayout) -> bool:
    return not list_records(store) and not list_names(store)


def test_a_sound_registry_gives_a_sound_image(pull: Pull, store: StoreLayout) -> None:
    image = pull()
    assert find_image(image.name, store=store) == image


def test_a_disconnect_in_the_middle_is_mended_by_a_range(
    pull: Pull, registry: Front, layout: LayoutMaker
) -> None:
    on_big_blob(registry, layout, cut_after(1_500_000), times=1)
    pull()
    ranges = [headers["Range"] for _, _, headers in registry.seen if "Range" in headers]
    assert len(ranges) == 1
    # Up to a read's length may have been on its way.
    assert 0 < int(ranges[0].removeprefix("bytes=").removesuffix("-")) <= 1_500_000


def test_a_disconnect_where_there_are_no_ranges_is_mended_by_reading_again(
    pull: Pull, registry: Front, layout: LayoutMaker
) -> None:
    registry.has_ranges = False
    on_big_blob(registry, layout, cut_after(1_500_000), times=1)
    pull()
    assert len(registry.paths(big_blob(layout))) == 2


def test_disconnects_after_every_mebibyte_are_mended(
    pull: Pull, registry: Front, layout: LayoutMaker
) -> None:
    def act(handler: Any, body: bytes) -> None:
        first = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        rest = body[first:]
        span = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"} if first else {}
        length = {"Content-Length": str(len(rest))}
        handler.answer(206 if first else 200, {**span, **length}, rest[: (1 << 20) + 1000])
        handler.hang_up()

    on_big_blob(registry, layout, act)
    pull()


def test_a_body_that_is_always_too_short_is_an_error_after_a_few_tries(
    pull: Pull, registry: Front, layout: LayoutMaker, store: StoreLayout
) -> None:
    registry.has_ranges = False
    on_big_blob(registry, layout, cut_after(1000))
    with pytest.raises(UnreachableError) as raised:
        pull()
    assert "without progress" in raised.value.evidence
    assert len(registry.paths(big_blob(layout))) == IMPATIENT.attempts
    assert nothing_is_visible(store)


def test_a_chunked_body_that_ends_too_early_is_too_short_as_well(
    pull: Pull, registry: Front, layout: LayoutMaker
) -> None:
    def act(handler: Any, body: bytes) -> None:
        handler.answer(200, {"Transfer-Encoding": "chunked"}, b"3e8\r\n" + body[:1000] + b"\r\n0\r\n\r\n")  # fmt: skip

    on_big_blob(registry, layout, act)
    with pytest.raises(UnreachableError, match="too early"):
        pull()


def test_a_body_without_an_end_is_refused(
    pull: Pull, registry: Front, layout: LayoutMaker, store: StoreLayout
) -> None:
    def act(handler: Any, body: bytes) -> None:
        handler.answer(200, {"Transfer-Encoding": "chunked"})
        while True:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))

    on_big_blob(registry, layout, act)
    with pytest.raises(RegistryError, match="another size") as raised:
        pull()
    assert "more than" in raised.value.evidence
    assert nothing_is_visible(store)


def test_a_length_that_the_manifest_does_not_say_is_refused_before_a_byte_is_read(
    pull: Pull, registry: Front, layout: LayoutMaker
) -> None:
    on_big_blob(registry, layout, lambda handler, body: handler.answer(200, {}, body + b"x"))
    with pytest.raises(RegistryError, match="another size"):
        pull()


def test_other_content_of_the_same_length_is_refused(
    pull: Pull, registry: Front, layout: LayoutMaker, store: StoreLayout
) -> None:
    def act(handler: Any, body: bytes) -> None:
        # The last bytes are gzip's checksum and length: a damaged one is told by inflating.
        handler.answer(200, {}, body[:-9] + bytes([body[-9] ^ 1]) + body[-8:])

    on_big_blob(registry, layout, act)
    with pytest.raises(LayerError):
        pull()
    assert nothing_is_visible(store)


def test_a_layer_that_unpacks_well_but_has_another_digest_is_refused(
    tmp_path: Path, store: StoreLayout
) -> None:
    maker = LayoutMaker(tmp_path / "plain")
    plain = {"compress": bytes, "ending": ""}
    maker.write_index([named(maker.add_image([SMALL], **plain), "v1")])
    fake = make_tar({"etc": None, "etc/name": b"SMALL"})
    assert len(fake) == len(SMALL)
    with front(layout_backend(maker.root)) as registry:
        name = sha256(SMALL)[7:]

        def intercept(handler: Any) -> bool:
            if name in handler.path:
                handler.answer(200, {}, fake)
            return name in handler.path

        registry.intercept = intercept
        with pytest.raises(LayerError, match="digest"):
            pull_image(
                f"{registry.host}/a:v1",
                store=store,
                environment={"HOME": str(tmp_path)},
                options=PullOptions(settings=IMPATIENT),
            )
    assert nothing_is_visible(store)


def test_a_wrong_range_is_refused(pull: Pull, registry: Front, layout: LayoutMaker) -> None:
    def act(handler: Any, body: bytes) -> None:
        if "Range" not in handler.headers:
            cut_after(1_500_000)(handler, body)
        else:
            span = {"Content-Range": f"bytes 7-{len(body) - 1}/{len(body)}"}
            handler.answer(206, span, body[7:])

    on_big_blob(registry, layout, act)
    with pytest.raises(RegistryError) as raised:
        pull()
    assert "got those from 7" in raised.value.evidence


def test_a_drip_counts_as_a_broken_connection(
    registry: Front, layout: LayoutMaker, store: StoreLayout, tmp_path: Path
) -> None:
    def act(handler: Any, body: bytes) -> None:
        handler.answer(200, {"Content-Length": str(len(body))})
        for at in range(len(body)):
            handler.wfile.write(body[at : at + 1])
            handler.wfile.flush()
            # 20 ms, or until the client has gone.
            if select.select([handler.connection], [], [], 0.02)[0]:
                return

    on_big_blob(registry, layout, act, times=1)
    settings = IMPATIENT._replace(read_timeout_s=0.2)
    pull_image(
        f"{registry.host}/a:v1",
        store=store,
        environment={"HOME": str(tmp_path)},
        options=PullOptions(settings=settings),
    )
    assert len(registry.paths(big_blob(layout))) == 2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_busy_servers_are_asked_again(pull: Pull, registry: Front, status: int) -> None:
    refused: list[str] = []

    def intercept(handler: Any) -> bool:
        if handler.path in refused:
            return False
        refused.append(handler.path)
        handler.refuse(status, "BUSY", Retry_After="0")
        return True

    registry.intercept = intercept
    pull()
    assert len(refused) >= 4


def test_a_server_that_stays_busy_is_named(pull: Pull, registry: Front) -> None:
    registry.intercept = lambda handler: bool(
        "/manifests/" in handler.path and handler.refuse(500, "UNKNOWN") is None
    )
    with pytest.raises(RegistryError, match="at the moment") as raised:
        pull()
    assert "answered 500: UNKNOWN unknown" in raised.value.evidence
    assert len(registry.paths("/manifests/")) == IMPATIENT.attempts


def test_a_rate_limit_is_shown_with_the_servers_numbers(pull: Pull, registry: Front) -> None:
    def intercept(handler: Any) -> bool:
        if "/manifests/" not in handler.path:
            return False
        limits = {"RateLimit_Limit": "100;w=21600", "RateLimit_Remaining": "0;w=21600"}
        handler.refuse(429, "TOOMANYREQUESTS", Retry_After="3600", **limits)
        return True

    registry.intercept = intercept
    with pytest.raises(RateLimitError) as raised:
        pull()
    assert "ratelimit-limit: 100;w=21600" in raised.value.evidence
    assert "retry-after: 3600" in raised.value.evidence
    # An hour is not waited for, and asking again would make it longer.
    assert len(registry.paths("/manifests/")) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(403, ForbiddenError), (412, TermsError), (451, RegionError)]
)
def test_refusals_are_told_apart(
    pull: Pull, registry: Front, status: int, error: type[SampanError]
) -> None:
    registry.intercept = lambda handler: bool(
        "/manifests/" in handler.path and handler.refuse(status) is None
    )
    with pytest.raises(error) as raised:
        pull()
    assert f"answered {status}: DENIED" in raised.value.evidence


def test_an_endless_row_of_401_ends(pull: Pull, registry: Front) -> None:
    registry.asks = True
    registry.public = {"team/image"}

    def intercept(handler: Any) -> bool:
        registry.expire_tokens()
        return False

    registry.intercept = intercept
    with pytest.raises(UnauthorizedError):
        pull()
    assert len(registry.seen) < 10


def test_a_redirect_loop_ends(pull: Pull, registry: Front, layout: LayoutMaker) -> None:
    on_big_blob(
        registry, layout, lambda handler, _: handler.answer(307, {"Location": handler.path})
    )
    with pytest.raises(RegistryError, match="circles"):
        pull()
    assert len(registry.paths(big_blob(layout))) <= 11


def test_a_redirect_to_a_file_is_not_followed(
    pull: Pull, registry: Front, layout: LayoutMaker
) -> None:
    on_big_blob(
        registry, layout, lambda handler, _: handler.answer(307, {"Location": "file:///etc/passwd"})
    )
    with pytest.raises(RegistryError, match="where we do not go"):
        pull()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>log in here</html>", "text/html"),
        (b"{}", "application/json"),
        (b'{"schemaVersion": 2, "mediaType": "%s"}' % OCI_MANIFEST.encode(), OCI_INDEX),
        (b"[" * 100_000, OCI_MANIFEST),
        (b'{"schemaVersion": 2, "layers": [], "layers": []}', OCI_MANIFEST),
        (b'{"schemaVersion": 2, "layers": 7, "config": {}}', OCI_MANIFEST),
        (b'{"schemaVersion": 2, "manifests": [], "layers": []}', OCI_INDEX),
        (b'{"schemaVersion": 1, "fsLayers": []}', "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (b'{"schemaVersion": 2, "layers": [], "config": {"mediaType": "x", "size": 2, "digest": "sha256:../../etc"}}', OCI_MANIFEST),
        (b" " * (5 << 20), OCI_MANIFEST),
    ],
    ids=["html", "no type", "two types", "deep", "twice", "list", "both", "schema1", "path", "huge"],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused(
    pull: Pull, registry: Front, store: StoreLayout, body: bytes, content_type: str
) -> None:
    def intercept(handler: Any) -> bool:
        if "/manifests/" in handler.path:
            handler.answer(200, {"Content-Type": content_type}, body)
        return "/manifests/" in handler.path

    registry.intercept = intercept
    with pytest.raises((RegistryError, SourceError)) as raised:
        pull()
    assert raised.value.evidence
    assert nothing_is_visible(store)


def test_another_manifest_than_the_pinned_one_is_refused(
    pull: Pull, registry: Front, layout: LayoutMaker
) -> None:
    wrong = layout.add_image([SMALL])
    pinned = "sha256:" + "0" * 64

    def intercept(handler: Any) -> bool:
        if pinned in handler.path:
            body = layout.blob_path(wrong["digest"]).read_bytes()
            handler.answer(200, {"Content-Type": OCI_MANIFEST}, body)
        return pinned in handler.path

    registry.intercept = intercept
    with pytest.raises(RegistryError, match="another manifest"):
        pull(f"team/image@{pinned}")


def test_a_missing_tag_names_those_that_there_are(pull: Pull) -> None:
    with pytest.raises(NotFoundError) as raised:
        pull("team/image:v2")
    assert raised.value.evidence.endswith("v1")
    assert "team/image:v1" in raised.value.remedy


def test_the_platform_is_chosen_and_a_missing_one_is_refused_with_a_list(
    pull: Pull, layout: LayoutMaker
) -> None:
    arm = on_platform(layout.add_image([SMALL], architecture="arm64"), "arm64")
    amd = on_platform(layout.add_image([NOISE]), "amd64")
    layout.write_index([named(layout.add_list([arm, amd]), "v1")])
    image = pull(platform=parse_platform("linux/arm64"))
    assert json.loads(Path(image.config_path).read_bytes())["architecture"] == "arm64"
    with pytest.raises(SourceError) as raised:
        pull(platform=parse_platform("linux/s390x"))
    assert raised.value.evidence == "there is: linux/amd64, linux/arm64"


def test_nobody_listening_is_said_at_once(store: StoreLayout, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="accepts no connection"):
        pull_image(
            f"127.0.0.1:{free_port()}/a:b",
            store=store,
            environment={"HOME": str(tmp_path)},
            options=PullOptions(settings=IMPATIENT),
        )


def test_a_name_that_nobody_has_is_said(store: StoreLayout, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="there is no host"):
        pull_image(
            "registry.invalid/a:b",
            store=store,
            environment={"HOME": str(tmp_path)},
            options=PullOptions(settings=IMPATIENT),
        )


def test_ten_thousand_layers_are_refused_before_one_is_fetched(
    pull: Pull, registry: Front, layout: LayoutMaker, store: StoreLayout
) -> None:
    entry = layout.add_image([SMALL])
    manifest = json.loads(layout.blob_path(entry["digest"]).read_bytes())
    manifest["layers"] *= 10_000
    layout.write_index([named(layout.add_document(manifest, OCI_MANIFEST), "many")])
    with pytest.raises(SourceError, match="too many layers") as raised:
        pull("team/image:many")
    assert "10,000" in raised.value.evidence
    assert registry.paths("/blobs/") == []
    assert nothing_is_visible(store)


def test_a_foreign_layer_comes_from_its_own_address(
    pull: Pull, registry: Front, layout: LayoutMaker
) -> None:
    """Docker's manifests of Windows bases and of restricted layers are like that."""
    entry = layout.add_image(
        [SMALL], layer_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    )
    manifest = json.loads(layout.blob_path(entry["digest"]).read_bytes())
    layer = manifest["layers"][0]
    content = layout.blob_path(layer["digest"]).read_bytes()
    layout.blob_path(layer["digest"]).unlink()
    layer["urls"] = [f"http://{registry.host}/mirror/layer"]
    layout.write_index([named(layout.add_document(manifest, OCI_MANIFEST), "foreign")])

    def intercept(handler: Any) -> bool:
        if handler.path == "/mirror/layer":
            handler.answer(200, {}, content)
        return bool(handler.path == "/mirror/layer")

    registry.intercept = intercept
    assert pull("team/image:foreign").digest
