"""Signatures of SIF files with PEM keys: a DSSE envelope around the metadata, as apptainer 1.2 makes it.

DSSE 1.0 (secure-systems-lab, protocol.md): what is signed is the type and the payload with their
lengths. ECDSA, RSA (PKCS #1 v1.5) and Ed25519; the key's name is the fingerprint that OpenSSH shows.
"""

import base64
import binascii
import hashlib
import json
import sys
from collections.abc import Callable
from typing import Any

from sampan.errors import SampanError

PAYLOAD_TYPE = "application/vnd.sylabs.sif-metadata+json"
_HASH_NAMES = {1: "SHA256", 2: "SHA384", 3: "SHA512"}
_MOST_SIGNATURES = 64


class KeyFileError(SampanError):
    """A file is no key that SIF files are signed or verified with."""

    id = "key-file"


def is_envelope(data: bytes) -> bool:
    """Whether a signature object is of this form."""
    return _parse(data) is not None


def load_private_key(pem: bytes, ask: Callable[[], bytes]) -> Any:
    """A private key.

    Args:
        pem: the file's content.
        ask: gives the password of a key that is encrypted.

    Raises:
        KeyFileError: it is none that can be used, or the library that reads it is not installed.
    """
    from_pem = _library().load_pem_private_key
    try:
        try:
            key = from_pem(pem, None)
        except TypeError:
            key = from_pem(pem, ask())
    except (ValueError, TypeError) as error:
        raise _unreadable("it is no PEM private key, or its password is another") from error
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    return _checked(key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey))


def load_public_key(pem: bytes) -> Any:
    """A public key.

    Raises:
        KeyFileError: see ``load_private_key``.
    """
    try:
        key = _library().load_pem_public_key(pem)
    except (ValueError, TypeError) as error:
        raise _unreadable("it is no PEM public key (-----BEGIN PUBLIC KEY-----)") from error
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    return _checked(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey))


def key_name(public: Any) -> str:
    """``SHA256:…`` of a public key, as ``ssh-keygen -l`` shows it."""
    serialization = _library()
    text = public.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    ).split()[1]
    digest = hashlib.sha256(base64.b64decode(text)).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def sign_envelope(payload: bytes, private: Any) -> bytes:
    """The signature object of a payload, signed over SHA-256."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    message = _encode(payload)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        signature = private.sign(message, ec.ECDSA(hashes.SHA256()))
    elif isinstance(private, rsa.RSAPrivateKey):
        signature = private.sign(message, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = private.sign(message)
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {
                "keyid": key_name(private.public_key()),
                "sig": base64.b64encode(signature).decode(),
            }
        ],
    }
    return json.dumps(envelope, separators=(",", ":")).encode() + b"\n"


def open_envelope(data: bytes, public: Any, hash_number: int) -> bytes | None:
    """The payload of an envelope that a key has signed; None when this key has not.

    Args:
        data: the signature object.
        public: of ``load_public_key``.
        hash_number: SIF's number of the hash, from the object's descriptor.
    """
    envelope = _parse(data)
    if envelope is None or hash_number not in _HASH_NAMES:
        return None
    payload, signatures = envelope
    message = _encode(payload)
    for signature in signatures[:_MOST_SIGNATURES]:
        if _is_confirmed(public, signature, message, _HASH_NAMES[hash_number]):
            return payload
    return None


def _parse(data: bytes) -> tuple[bytes, list[bytes]] | None:
    try:
        envelope = json.loads(data)
        if envelope["payloadType"] != PAYLOAD_TYPE:
            return None
        signatures = [_decode(one["sig"]) for one in envelope["signatures"]]
        return _decode(envelope["payload"]), signatures
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _decode(text: str) -> bytes:
    """DSSE allows both alphabets of base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return base64.b64decode(text, altchars=b"-_", validate=True)


def _encode(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _is_confirmed(public: Any, signature: bytes, message: bytes, hash_name: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    algorithm = getattr(hashes, hash_name)()
    try:
        if isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, message, ec.ECDSA(algorithm))
        elif isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, message, padding.PKCS1v15(), algorithm)
        else:
            public.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _library() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise KeyFileError(
            "signatures can be neither made nor verified here",
            evidence="the Python package cryptography is not installed",
            remedy=f"{sys.executable} -m pip install cryptography",
        ) from error
    return serialization


def _checked(key: Any, kinds: tuple[type, ...]) -> Any:
    if not isinstance(key, kinds):
        raise KeyFileError(
            "the key is of a kind that signs no SIF files",
            evidence=type(key).__name__,
            remedy="ECDSA, RSA and Ed25519 keys are known",
        )
    return key


def _unreadable(evidence: str) -> KeyFileError:
    return KeyFileError(
        "the key cannot be read",
        evidence=evidence,
        remedy="openssl pkey -in FILE -text (or -pubin -in FILE) shows what it is",
    )
