"""Challenges, proxies, token hosts and error texts: what strangers write, read without a network."""

import pytest

from sampan.registry.challenges import Challenge, parse_challenges
from sampan.registry.failures import Refusal, clean_text, explain_breakage, plain_url
from sampan.registry.proxies import find_proxy, is_inside, is_loopback
from sampan.registry.settings import may_speak_plainly
from sampan.registry.tokens import is_token_realm, may_have_credential


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        # As nvcr.io sent them in 2018, 2022 and for an expired token in 2026 (field note).
        (
            'Bearer realm="https://nvcr.io/proxy_auth?scope=repository:a/b:pull,push"',
            [("bearer", {"realm": "https://nvcr.io/proxy_auth?scope=repository:a/b:pull,push"})],
        ),
        (
            'Bearer realm="https://nvcr.io/proxy_auth",scope="repository:X:pull,push"',
            [("bearer", {"realm": "https://nvcr.io/proxy_auth", "scope": "repository:X:pull,push"})],
        ),
        (
            'Bearer realm="https://authn.nvidia.com/token",service="registry",error="invalid_token"',
            [("bearer", {"realm": "https://authn.nvidia.com/token", "service": "registry", "error": "invalid_token"})],
        ),
        ('Basic realm="a, b=\\"c\\""', [("basic", {"realm": 'a, b="c"'})]),
        ("BASIC Realm=plain", [("basic", {"realm": "plain"})]),
        (
            'Negotiate, Basic realm="x", Bearer realm = "y" , service=z',
            [("negotiate", {}), ("basic", {"realm": "x"}), ("bearer", {"realm": "y", "service": "z"})],
        ),
        ("", []),
        ('Bearer realm="never ends', [("bearer", {"realm": "never ends"})]),
        ('="', []),
    ],
)  # fmt: skip
def test_challenges_are_read_as_they_come(
    header: str, expected: list[tuple[str, dict[str, str]]]
) -> None:
    assert parse_challenges([header]) == [Challenge(*one) for one in expected]


@pytest.mark.parametrize(
    ("registry", "realm", "allowed"),
    [
        ("nvcr.io", "https://nvcr.io/proxy_auth", True),
        ("nvcr.io", "https://authn.nvidia.com/token", True),
        ("nvcr.io", "http://nvcr.io/proxy_auth", False),
        ("nvcr.io", "https://nvcr.io.evil.example/token", False),
        ("nvcr.io", "https://authn.nvidia.com.evil.example/token", False),
        ("nvcr.io", "https://nvcr.io@evil.example/token", False),
        ("nvcr.io", "https://evil.example/?nvcr.io", False),
        ("nvcr.io", "ftp://nvcr.io/token", False),
        ("other.example", "https://authn.nvidia.com/token", False),
        ("docker.io", "https://auth.docker.io/token", True),
        ("docker.io", "https://auth.docker.com/token", False),
        ("registry.example:5000", "https://registry.example/token", True),
        ("127.0.0.1:5000", "http://127.0.0.1:5001/token", True),
        ("127.0.0.1:5000", "http://10.0.0.1/token", False),
        ("registry.example", "http://127.0.0.1/token", False),
    ],
)
def test_credentials_go_to_hosts_of_the_registry_alone(
    registry: str, realm: str, allowed: bool
) -> None:
    assert may_have_credential(registry, realm) is allowed


def test_a_token_host_that_the_user_allowed_is_allowed_for_its_registry_alone() -> None:
    hosts = (("git.example:5050", "git-auth.example"),)
    assert may_have_credential("git.example:5050", "https://git-auth.example/jwt", hosts)
    assert not may_have_credential("other.example", "https://git-auth.example/jwt", hosts)
    assert not may_have_credential("git.example:5050", "http://git-auth.example/jwt", hosts)


def test_a_token_is_asked_for_over_https_or_on_this_machine() -> None:
    assert is_token_realm("a.example", "https://b.example/token")
    assert not is_token_realm("a.example", "http://a.example/token")
    assert not is_token_realm("a.example", "/relative")
    assert is_token_realm("localhost:5000", "http://localhost:5001/token")


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://nvcr.io/v2/", {"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        ("https://nvcr.io/v2/", {"https_proxy": "p:3128"}, "http://p:3128"),
        ("https://nvcr.io/v2/", {"HTTP_PROXY": "http://p:3128"}, None),
        ("https://nvcr.io/v2/", {"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ("https://nvcr.io/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "nvcr.io"}, None),
        ("https://a.nvcr.io/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "x, .nvcr.io"}, None),
        ("https://notnvcr.io/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "nvcr.io"}, "http://p"),
        ("https://nvcr.io/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, None),
        ("https://r:5000/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "r:5001"}, "http://p"),
        ("https://r:5000/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "r:5000"}, None),
        ("https://a.nvcr.io/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "*.nvcr.io"}, None),
        ("https://nvcr.io/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "*.nvcr.io"}, "http://p"),
        ("https://nvcr.io/", {"HTTPS_PROXY": "http://p", "NO_PROXY": ".nvcr.io"}, "http://p"),
        ("https://nvcr.io./", {"HTTPS_PROXY": "http://p", "NO_PROXY": "nvcr.io"}, None),
        ("https://NVCR.io/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "Nvcr.IO"}, None),
        ("https://[fd00::7]/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "fd00::/8"}, None),
        ("https://[fd00::7]:5/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "[fd00::7]:5"}, None),
        ("https://10.1.2.3/", {"HTTPS_PROXY": "http://p", "no_proxy": "10.0.0.0/8"}, None),
        ("https://11.1.2.3/", {"HTTPS_PROXY": "http://p", "no_proxy": "10.0.0.0/8"}, "http://p"),
        ("http://127.0.0.1:5000/", {"HTTP_PROXY": "http://p"}, None),
        ("http://localhost:5000/", {"HTTP_PROXY": "http://p"}, None),
        ("https://[::1]:5000/", {"HTTPS_PROXY": "http://p"}, None),
    ],
)
def test_proxies_are_those_that_dockers_client_would_take(
    url: str, environment: dict[str, str], proxy: str | None
) -> None:
    assert find_proxy(url, environment) == proxy


def test_only_registries_of_this_machine_may_do_without_tls() -> None:
    assert may_speak_plainly("localhost:5000")
    assert may_speak_plainly("127.1.2.3")
    assert may_speak_plainly("[::1]:5000")
    assert not may_speak_plainly("127.0.0.1.evil.example")
    assert not may_speak_plainly("10.0.0.1:5000")
    assert is_loopback("registry.localhost")


def test_a_printed_url_has_no_user_and_no_signature() -> None:
    url = "https://user:password@host:1/path?signature=secret#part"
    assert plain_url(url) == "https://host:1/path"
    assert "secret" not in str(explain_breakage(ConnectionResetError("reset"), url))


def test_a_servers_words_cannot_steer_the_terminal() -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "\\u001b[2J\\nno ' + b"x" * 5000 + b'"}]}'
    evidence = Refusal(403, {}, body, "GET", "https://a/v2/").evidence()
    assert evidence.startswith("GET https://a/v2/ answered 403: DENIED [2J no xxx")
    assert evidence.isprintable()
    assert len(evidence) < 400
    assert clean_text("a\x00b\u202ec") == "a b c"


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"[1]", b'{"errors": 5}', b"\xff\xfe"])
def test_error_bodies_of_any_kind_are_survived(body: bytes) -> None:
    assert "answered 500" in Refusal(500, {}, body, "GET", "https://a/").evidence()


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.1", True),
        ("2130706433", True),
        ("0x7f.0.0.1", True),
        ("0.0.0.0", True),
        ("169.254.169.254", True),
        ("[::1]", True),
        ("::ffff:169.254.169.254", True),
        ("fe80::1", True),
        ("nvcr.io", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("1.2.3.4.example", False),
        ("", False),
    ],
)
def test_this_machine_and_its_link_are_known_in_every_spelling(host: str, inside: bool) -> None:
    assert is_inside(host) is inside
