"""Signatures of images: where they lie in a registry, and whether a public key confirms them.

Cosign keeps them under the tag ``sha256-HEX.sig``: a manifest whose layers are simple-signing
payloads, each with its signature in an annotation (cosign's specs/SIGNATURE_SPEC.md). Newer forms
hang on the image as referrers (distribution-spec 1.1). A signature that nobody has verified is a
claim, and is called one. Which host or name signs for whom is the user's to say, with a key.
"""

import base64
import binascii
import hashlib
import json
import sys
from typing import Any, NamedTuple

from sampan.errors import SampanError
from sampan.model.manifest import Descriptor, parse_index
from sampan.model.source import SourceError
from sampan.registry.client import RegistryClient
from sampan.registry.failures import RegistryError, clean_text
from sampan.registry.referrers import ask_referrers

_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
_ANNOTATION = "dev.cosignproject.cosign/signature"
_PAYLOAD_KINDS = ("cosign container image signature", "atomic container signature")
_SIGNATURE_KINDS = ("signature", "sigstore.bundle", "cosign")
_MAXIMUM_MANIFEST = 4 << 20
_MAXIMUM_PAYLOAD = 1 << 20
_MOST_SIGNATURES = 64


class KeyFileError(SampanError):
    """A file is no public key that signatures can be held against."""

    id = "public-key"


class SignatureError(SampanError):
    """No signature of the image is confirmed by the key."""

    id = "signature"


class Signature(NamedTuple):
    """A claim about a digest.

    Attributes:
        payload: the signed bytes; empty for forms that only a sigstore client verifies.
        signature: over the payload.
        kind: for people.
    """

    payload: bytes
    signature: bytes
    kind: str


def find_signatures(
    client: RegistryClient, repository: str, digests: tuple[str, ...]
) -> list[Signature]:
    """Signatures of any of some digests (an index and its image); empty when there are none.

    Raises:
        RegistryError: the registry cannot be asked.
        SourceError: a signature's manifest is malformed.
    """
    found: list[Signature] = []
    for digest in digests:
        found += _read_cosign_tag(client, repository, digest)
        found += _read_referrers(client, repository, digest)
    return found


def verify_signatures(signatures: list[Signature], digests: tuple[str, ...], key: bytes) -> str:
    """Find a signature of one of some digests that a public key confirms.

    Args:
        signatures: as they were found.
        digests: of the index or the image, any of which will do.
        key: PEM: ECDSA (NGC's is P-256), RSA or Ed25519.

    Returns:
        The digest that was signed.

    Raises:
        KeyFileError: it is no such key, or the library that reads it is not installed.
        SignatureError: none is confirmed.
    """
    public = _load_key(key)
    refused = []
    for signature in signatures:
        if not signature.payload:
            refused.append(f"{signature.kind}: not of a form that a key alone can verify")
            continue
        if not _is_confirmed(public, signature):
            refused.append(f"{signature.kind}: by another key, or changed")
            continue
        signed = _signed_digest(signature.payload)
        if signed in digests:
            return signed
        refused.append(f"{signature.kind}: of another image, {signed[:19] or 'none named'}")
    raise SignatureError(
        "no signature of the image is confirmed by the key",
        evidence="; ".join(refused) or "the registry has no signature of it",
        remedy="is it the publisher's key? do not run an image that you must be able to trust",
    )


def _read_cosign_tag(client: RegistryClient, repository: str, digest: str) -> list[Signature]:
    answer = client.server.ask(
        repository,
        f"manifests/{digest.replace(':', '-')}.sig",
        headers={"Accept": _MANIFEST_TYPE},
        limit=_MAXIMUM_MANIFEST,
    )
    if answer.status != 200:
        return []
    found = []
    for layer in _layers(answer.body)[:_MOST_SIGNATURES]:
        text = layer.annotations.get(_ANNOTATION, "")
        try:
            signature = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            continue
        if signature and layer.media_type == _PAYLOAD_TYPE and layer.size <= _MAXIMUM_PAYLOAD:
            payload = client.get_document(repository, layer, is_blob=True)
            if f"sha256:{hashlib.sha256(payload).hexdigest()}" == layer.digest:
                found.append(Signature(payload, signature, "cosign"))
    return found


def _layers(body: bytes) -> tuple[Descriptor, ...]:
    # Not an image's manifest: its layers are of types that the image model refuses.
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(document, dict) or not isinstance(document.get("layers"), list):
        return ()
    return tuple(parse_index({"manifests": document["layers"]}, "the signature's manifest"))


def _read_referrers(client: RegistryClient, repository: str, digest: str) -> list[Signature]:
    try:
        referrers = ask_referrers(client, repository, digest) or []
    except (RegistryError, SourceError):
        # Older registries answer anything at all to a path they do not know.
        return []
    return [
        Signature(b"", b"", clean_text(each.kind))
        for each in referrers[:_MOST_SIGNATURES]
        if any(word in each.kind for word in _SIGNATURE_KINDS)
    ]


def _signed_digest(payload: bytes) -> str:
    """What a simple-signing payload is about (containers/image, docs/atomic-signature.md)."""
    try:
        critical = json.loads(payload)["critical"]
        if critical["type"] not in _PAYLOAD_KINDS:
            return ""
        return str(critical["image"]["docker-manifest-digest"])
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""


def _load_key(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise KeyFileError(
            "signatures cannot be verified here",
            evidence="the Python package cryptography is not installed",
            remedy=f"{sys.executable} -m pip install cryptography",
        ) from error
    try:
        public = load_pem_public_key(key)
    except (ValueError, TypeError) as error:
        raise KeyFileError(
            "the key cannot be read",
            evidence="it is no PEM public key (-----BEGIN PUBLIC KEY-----)",
            remedy="openssl pkey -pubin -in FILE -text shows what it is",
        ) from error
    if not isinstance(public, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey)):  # fmt: skip
        raise KeyFileError(
            "the key is of a kind that signs no images",
            evidence=type(public).__name__,
            remedy="ECDSA, RSA and Ed25519 keys are known",
        )
    return public


def _is_confirmed(public: Any, signature: Signature) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    parts = (signature.signature, signature.payload)
    try:
        if isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(*parts, ec.ECDSA(hashes.SHA256()))
        elif isinstance(public, rsa.RSAPublicKey):
            public.verify(*parts, padding.PKCS1v15(), hashes.SHA256())
        else:
            public.verify(*parts)
    except InvalidSignature:
        return False
    return True
