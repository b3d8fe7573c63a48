"""OAuth2 token servers (distribution's spec/auth/oauth.md): identity tokens, servers that want POST."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.engines.pull import PullOptions, pull_image
from sampan.images.store_layout import StoreLayout
from sampan.registry.failures import RegistryError, UnauthorizedError
from support.layouts import LayoutMaker, make_tar, named
from support.registries import IMPATIENT, Front, front, layout_backend

pytestmark = pytest.mark.integration

SECRET = "a-secret-that-must-not-leak"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Front]:
    maker = LayoutMaker(tmp_path / "layout")
    maker.write_index([named(maker.add_image([make_tar({"a": b"a"})]), "v1")])
    with front(layout_backend(maker.root)) as served:
        served.asks = True
        yield served


@pytest.fixture
def pull(registry: Front, tmp_path: Path) -> Callable[..., None]:
    def do(entry: dict[str, str]) -> None:
        (tmp_path / ".docker").mkdir()
        document = {"auths": {registry.host: entry}}
        (tmp_path / ".docker/config.json").write_text(json.dumps(document))
        pull_image(
            f"{registry.host}/team/image:v1",
            store=StoreLayout(str(tmp_path / "store")),
            environment={"HOME": str(tmp_path)},
            options=PullOptions(settings=IMPATIENT),
        )

    return do


def token_server(registry: Front, forms: list[dict[str, Any]], token: str = "fresh") -> None:
    """Give ``token`` to whoever posts a form, and nothing to those who GET."""

    def intercept(handler: Any) -> bool:
        if "proxy_auth" not in handler.path:
            return False
        if handler.command == "GET":
            handler.refuse(405, "UNSUPPORTED")
            return True
        forms.append(handler.form)
        registry.tokens.add(token)
        body = json.dumps({"access_token": token, "expires_in": 900}).encode()
        handler.answer(200, {"Content-Type": "application/json"}, body)
        return True

    registry.intercept = intercept


def test_an_identity_token_is_exchanged_by_post(registry: Front, pull: Callable[..., None]) -> None:
    forms: list[dict[str, Any]] = []
    token_server(registry, forms)
    pull({"identitytoken": SECRET})
    assert forms == [{
        "grant_type": ["refresh_token"], "refresh_token": [SECRET],
        "scope": ["repository:team/image:pull"], "client_id": ["sampan"],
    }]  # fmt: skip
    assert SECRET not in "".join(registry.paths())


def test_a_token_server_that_knows_post_alone_gets_the_password_there(
    registry: Front, pull: Callable[..., None]
) -> None:
    forms: list[dict[str, Any]] = []
    token_server(registry, forms)
    pull({"username": "jo", "password": SECRET})
    assert forms[0]["grant_type"] == ["password"]
    assert (forms[0]["username"], forms[0]["password"]) == (["jo"], [SECRET])


def test_what_is_posted_does_not_follow_a_redirect(
    registry: Front, pull: Callable[..., None]
) -> None:
    with front(registry.backend) as other:
        registry.intercept = lambda handler: bool(
            "proxy_auth" in handler.path
            and handler.answer(307, {"Location": f"http://{other.host}/take"}) is None
        )
        with pytest.raises(RegistryError, match="redirects what we post"):
            pull({"identitytoken": SECRET})
        assert other.seen == []


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"token": 5}', b'{"token": ""}', b'{"token": "a\\nb: c"}']
)
def test_a_token_that_is_none_is_refused(
    registry: Front, pull: Callable[..., None], body: bytes
) -> None:
    registry.intercept = lambda handler: bool(
        "proxy_auth" in handler.path and handler.answer(200, {}, body) is None
    )
    with pytest.raises(RegistryError, match="gives no token"):
        pull({"username": "jo", "password": SECRET})


def test_a_token_answer_without_an_end_is_refused(
    registry: Front, pull: Callable[..., None]
) -> None:
    def intercept(handler: Any) -> bool:
        if "proxy_auth" not in handler.path:
            return False
        handler.answer(200, {"Transfer-Encoding": "chunked"})
        while True:
            handler.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")

    registry.intercept = intercept
    with pytest.raises(RegistryError, match="more than we read"):
        pull({"username": "jo", "password": SECRET})


def test_a_refused_secret_is_not_in_the_error(registry: Front, pull: Callable[..., None]) -> None:
    with pytest.raises(UnauthorizedError) as raised:
        pull({"username": "jo", "password": SECRET})
    assert SECRET not in str(raised.value)
    assert ".docker/config.json" in raised.value.evidence
