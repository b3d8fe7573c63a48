"""The tests' NGC: docker-registry with its images once, a front with fresh state for each test."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support.layouts import LayoutMaker, make_tar, named, on_platform
from support.ngc_server import HOSTS, LEGACY_KEY, Ngc, serve_ngc
from support.ngc_tokens import Signer, put_signature
from support.registries import (
    NGC_KEY,
    connect_proxy,
    docker_registry,
    make_certificate,
    push,
)
from support.sampan_shell import Shell

WRONG_KEY = "nvapi-a-wrong-key-that-must-not-leak-either"
REQUIREMENT = "cuda>=12.4 brand=tesla,driver>=470,driver<471"


class Storage(NamedTuple):
    """What is stored: the registry's host, who signs its tokens, and what signs its images."""

    host: str
    signer: Signer
    tls: tuple[Path, Path]
    digest: str
    image_key: Path


@pytest.fixture(scope="session")
def ngc_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """Docker-registry that takes NGC's tokens: cuda and pytorch are public, acme's is not."""
    base = tmp_path_factory.mktemp("ngc")
    maker = LayoutMaker(base / "layout")
    plain = maker.add_image([make_tar({f"file{n}": bytes([n]) * 1000}) for n in range(3)])
    config = {"Env": ["CUDA_VERSION=12.4.1", f"NVIDIA_REQUIRE_CUDA={REQUIREMENT}",
                      "_CUDA_COMPAT_PATH=/usr/local/cuda/compat"]}  # fmt: skip
    both = [
        on_platform(maker.add_image([make_tar({name: b"x" * 5000})], architecture=name, config=config), name)
        for name in ("amd64", "arm64")
    ]  # fmt: skip
    index = maker.add_list(both)
    maker.write_index([named(plain, "12"), named(index, "24.05-py3")])
    with docker_registry(base) as host:
        push(maker.root, "12", f"{host}/nvidia/cuda:12")
        push(maker.root, "12", f"{host}/acme/team/secret:12")
        push(maker.root, "24.05-py3", f"{host}/nvidia/pytorch:24.05-py3", "--all")
        push(maker.root, "12", f"{host}/nvidia/pytorch:24.04-py3")
        payload = signing_payload(index["digest"])
        key = ec.generate_private_key(ec.SECP256R1())
        signature = key.sign(payload, ec.ECDSA(hashes.SHA256()))
        put_signature(host, "nvidia/pytorch", index["digest"], payload, signature)
    image_key = base / "image.pub"
    image_key.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    signer = Signer(base)
    with docker_registry(base, auth=signer.auth) as host:
        yield Storage(host, signer, make_certificate(base, HOSTS), index["digest"], image_key)


def signing_payload(digest: str) -> bytes:
    """What cosign signs."""
    critical: dict[str, Any] = {
        "identity": {"docker-reference": "nvcr.io/nvidia/pytorch"},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    return json.dumps({"critical": critical, "optional": {}}).encode()


@pytest.fixture
def ngc(ngc_storage: Storage, tmp_path: Path) -> Iterator[tuple[Ngc, Shell]]:
    """NGC's hosts, and a shell that finds them there."""
    storage = ngc_storage
    with serve_ngc(storage.signer, storage.tls, storage.host) as server:
        server.public = {"nvidia/cuda", "nvidia/pytorch"}
        server.keys.add(LEGACY_KEY)
        with connect_proxy(dict.fromkeys(HOSTS, server.host)) as (proxy, _):
            secrets = (NGC_KEY, WRONG_KEY, LEGACY_KEY)
            yield server, Shell(tmp_path, proxy, storage.tls[0], secrets)
