"""A registry's refusal of a push, told in words that lead on."""

import json

import pytest

from sampan.registry.failures import Refusal, RegistryError
from sampan.registry.push_failures import explain_push


def explain(status: int, code: str = "", message: str = "", registry: str = "nvcr.io") -> RegistryError:  # fmt: skip
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    refusal = Refusal(status, {}, body, "POST", f"https://{registry}/v2/org/app/blobs/uploads/")
    return explain_push(refusal, registry=registry, repository="org/app", what="push to org/app")


@pytest.mark.parametrize(
    ("status", "code", "kind", "remedy"),
    [
        (403, "DENIED", "registry-forbidden", "Private Registry with the right to push"),
        (404, "NAME_UNKNOWN", "not-in-registry", "ngc registry image create"),
        (413, "", "registry", "client_max_body_size"),
        (415, "", "registry", "--format v2s2"),
        (429, "TOOMANYREQUESTS", "registry-rate-limit", "wait"),
        (507, "quota", "registry-quota", "delete images"),
        (503, "", "registry", "try again later"),
    ],
)
def test_each_refusal_of_ngcs_has_its_way_out(
    status: int, code: str, kind: str, remedy: str
) -> None:
    error = explain(status, code)
    assert error.id == kind
    assert remedy in error.remedy
    assert f"answered {status}" in error.evidence


def test_other_registries_are_not_told_of_ngc() -> None:
    for status in (403, 404):
        assert "ngc" not in explain(status, registry="registry.example").remedy.lower()
