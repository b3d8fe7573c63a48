"""What catalogues and registries say of images, read without a network: numbers, dates, limits, claims."""

import json

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from sampan.registry.catalogue import natural_key
from sampan.registry.hub import RateLimit, read_rate_limit
from sampan.registry.listings import date_of, number_of, text_of, truth_of
from sampan.registry.ngc_api import key_kind
from sampan.registry.secret import Secret
from sampan.registry.signatures import (
    KeyFileError,
    Signature,
    SignatureError,
    verify_signatures,
)
from sampan.registry.suggestions import has_tag

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("2024-10-18T04:07:55.199Z", "2024-10-18T04:07:55Z"),
        ("2025-03-05T07:52:00.613197154Z", "2025-03-05T07:52:00Z"),
        ("2025-03-05T07:52:00+02:00", "2025-03-05T05:52:00Z"),
        ("2025-03-05", "2025-03-05T00:00:00Z"),
        ("0001-01-01T00:00:00+14:00", ""),
        ("yesterday", ""),
        (7, ""),
        (None, ""),
    ],
)
def test_dates_are_shown_in_one_form(said: object, expected: str) -> None:
    assert date_of({"d": said}, "d") == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [("6835134649", 6835134649), (5, 5), (-5, 0), ("x", 0), (True, 0), ("9" * 5000, 10**18 - 1), (1e9, 0)],
)  # fmt: skip
def test_sizes_come_as_numbers_or_as_text(said: object, expected: int) -> None:
    assert number_of({"n": said}, "n") == expected


@given(st.dictionaries(st.just("m"), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists)))  # fmt: skip
def test_whatever_a_member_holds_it_is_read_without_an_accident(
    document: dict[str, object],
) -> None:
    assert text_of(document, "m").isprintable()
    assert number_of(document, "m") >= 0
    assert isinstance(date_of(document, "m"), str)
    assert truth_of(document, "m") in (True, False, None)


@given(st.lists(st.text()))
def test_tags_of_any_form_can_be_put_in_order(tags: list[str]) -> None:
    assert len(sorted(tags, key=natural_key)) == len(tags)


def test_numbers_in_tags_count_as_numbers() -> None:
    tags = ["12.4", "9.1", "12.10", "latest", "12.4-rc1"]
    assert sorted(tags, key=natural_key) == ["latest", "9.1", "12.4", "12.4-rc1", "12.10"]


def test_docker_hubs_limit_is_read_from_its_headers() -> None:
    headers = {
        "ratelimit-limit": "100;w=21600",
        "ratelimit-remaining": "97;w=21600",
        "docker-ratelimit-source": "203.0.113.7",
    }
    limit = read_rate_limit(headers)
    assert limit is not None
    assert limit.describe() == "97 of 100 pulls in 6 hours are left for 203.0.113.7"
    assert not limit.is_short
    assert RateLimit(100, 20, 0).is_short


@pytest.mark.parametrize(
    "headers", [{}, {"ratelimit-limit": "many"}, {"ratelimit-limit": "1", "ratelimit-remaining": "²"}]
)  # fmt: skip
def test_other_registries_have_no_limit_that_we_know(headers: dict[str, str]) -> None:
    assert read_rate_limit(headers) is None


@pytest.mark.parametrize(
    ("key", "kind"),
    [("nvapi-abc", "nvapi"), ("eyJhbGc.eyJp.c2ln", "token"), ("bGVnYWN5", "legacy"), ("eyJ", "legacy")],
)  # fmt: skip
def test_kinds_of_keys_are_told_by_their_form(key: str, kind: str) -> None:
    assert key_kind(Secret(key)) == kind


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nvcr.io/nvidia/cuda", False),
        ("nvcr.io/nvidia/cuda:12", True),
        ("nvcr.io:443/nvidia/cuda", False),
        (f"nvcr.io/nvidia/cuda@{DIGEST}", True),
        ("docker://nvcr.io/nvidia/cuda", False),
        ("nvcr.io#nvidia/cuda:12", True),
        ("https://catalog.ngc.nvidia.com/orgs/nvidia/containers/cuda", False),
        ("https://catalog.ngc.nvidia.com/orgs/nvidia/containers/cuda?version=12", True),
    ],
)
def test_a_tag_is_seen_in_every_spelling_of_a_name(name: str, expected: bool) -> None:
    assert has_tag(name) == expected


def payload(digest: str = DIGEST, kind: str = "cosign container image signature") -> bytes:
    image = {"docker-manifest-digest": digest}
    return json.dumps({"critical": {"image": image, "type": kind, "identity": {}}}).encode()


def pem(key: object) -> bytes:
    assert isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey, ed25519.Ed25519PublicKey))
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_ecdsa_rsa_and_ed25519_signatures_are_confirmed_by_their_keys() -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1())
    old = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    edwards = ed25519.Ed25519PrivateKey.generate()
    signatures = [
        Signature(payload(), elliptic.sign(payload(), ec.ECDSA(hashes.SHA256())), "cosign"),
        Signature(payload(), old.sign(payload(), padding.PKCS1v15(), hashes.SHA256()), "cosign"),
        Signature(payload(), edwards.sign(payload()), "cosign"),
    ]
    for key in (elliptic.public_key(), old.public_key(), edwards.public_key()):
        assert verify_signatures(signatures, (DIGEST,), pem(key)) == DIGEST


@pytest.mark.parametrize(
    ("signed", "shown", "words"),
    [
        (payload("sha256:" + "b" * 64), None, "of another image"),
        (payload(kind="something else"), None, "of another image, none named"),
        (b"[]", None, "of another image, none named"),
        (payload(), payload() + b" ", "by another key, or changed"),
    ],
)
def test_a_signature_of_something_else_confirms_nothing(
    signed: bytes, shown: bytes | None, words: str
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signature = Signature(shown or signed, key.sign(signed, ec.ECDSA(hashes.SHA256())), "cosign")
    with pytest.raises(SignatureError) as refusal:
        verify_signatures([signature], (DIGEST,), pem(key.public_key()))
    assert words in refusal.value.evidence


def test_an_image_without_signatures_is_not_confirmed() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(SignatureError):
        verify_signatures([], (DIGEST,), pem(key))
    with pytest.raises(SignatureError) as refusal:
        verify_signatures([Signature(b"", b"", "sigstore.bundle")], (DIGEST,), pem(key))
    assert "not of a form that a key alone can verify" in refusal.value.evidence


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])  # fmt: skip
def test_a_file_that_is_no_public_key_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(KeyFileError):
        verify_signatures([], (DIGEST,), content)
