"""Tokens and signatures for the tests' NGC: really signed, so that others can really verify them."""

import base64
import contextlib
import hashlib
import http.client
import itertools
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

REALM = "https://nvcr.io/proxy_auth"
_ISSUER, _AUDIENCE = "authn.nvidia.com", "registry"


class Signer:
    """Signs tokens with a key that docker-registry knows by its certificate."""

    def __init__(self, directory: Path) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokens")])
        now, day = datetime.now(UTC), timedelta(days=1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .sign(self._key, hashes.SHA256())
        )
        self._certificate = certificate.public_bytes(serialization.Encoding.DER)
        self.bundle = directory / "tokens.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self._numbers = itertools.count(1)

    @property
    def auth(self) -> dict[str, Any]:
        """For docker-registry's configuration."""
        return {
            "token": {
                "realm": REALM,
                "service": _AUDIENCE,
                "issuer": _ISSUER,
                "rootcertbundle": str(self.bundle),
            }
        }

    def public_key(self) -> bytes:
        """PEM."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, repository: str, life_s: float = 300) -> str:
        """A token that lets its holder pull from a repository."""
        now = int(time.time())
        header = {
            "typ": "JWT",
            "alg": "RS256",
            "x5c": [base64.b64encode(self._certificate).decode()],
        }
        access = [{"type": "repository", "name": repository, "actions": ["pull"]}]
        claims = {
            "iss": _ISSUER, "aud": _AUDIENCE, "sub": "", "jti": str(next(self._numbers)),
            "iat": now - 400, "nbf": now - 400, "exp": int(now + life_s),
            "access": access if repository else [],
        }  # fmt: skip
        body = f"{_encode(json.dumps(header).encode())}.{_encode(json.dumps(claims).encode())}"
        signature = self._key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{body}.{_encode(signature)}"


def put_signature(host: str, repository: str, digest: str, payload: bytes, signature: bytes) -> str:
    """Store a signature as cosign does; gives its tag."""
    connection = http.client.HTTPConnection(host, timeout=20)
    with contextlib.closing(connection):
        descriptors = [_upload(connection, repository, blob) for blob in (b"{}", payload)]
        encoded = base64.b64encode(signature).decode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **descriptors[0]},
            "layers": [{
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "annotations": {"dev.cosignproject.cosign/signature": encoded},
                **descriptors[1],
            }],
        }  # fmt: skip
        tag = f"{digest.replace(':', '-')}.sig"
        connection.request(
            "PUT",
            f"/v2/{repository}/manifests/{tag}",
            json.dumps(manifest),
            {"Content-Type": str(manifest["mediaType"])},
        )
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        return tag


def _upload(connection: http.client.HTTPConnection, repository: str, blob: bytes) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    connection.request("POST", f"/v2/{repository}/blobs/uploads/")
    answer = connection.getresponse()
    answer.read()
    place = urlsplit(str(answer.getheader("Location")))
    connection.request("PUT", f"{place.path}?{place.query}&digest={digest}", blob)
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    answer.read()
    return {"digest": digest, "size": len(blob)}


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
