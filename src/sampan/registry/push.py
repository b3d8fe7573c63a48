"""Giving a registry blobs and manifests: the push side of distribution-spec 1.1."""

import hashlib
from urllib.parse import quote

from sampan.registry.failures import RegistryError
from sampan.registry.transport import Answer
from sampan.registry.upload import check_stated
from sampan.registry.upload_channel import UploadChannel


def mount_blob(channel: UploadChannel, digest: str, source: str) -> bool:
    """Take a blob over from another repository of the same registry, if it lets us.

    Raises:
        RegistryError: the registry refuses more than the mount.
    """
    target = f"blobs/uploads/?mount={quote(digest, safe=':')}&from={quote(source, safe='/')}"
    answer = channel.request("POST", target, also_from=source)
    if answer.status == 202:
        _cancel(channel, answer)
    return answer.status == 201


def push_manifest(channel: UploadChannel, name: str, media_type: str, content: bytes) -> str:
    """Put a manifest or index under a tag or digest; everything that it names must be there.

    Returns:
        Its digest.

    Raises:
        RegistryError: the registry does not take it.
    """
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    answer = channel.request(
        "PUT", f"manifests/{name}", headers={"Content-Type": media_type}, body=content
    )
    if answer.status not in (200, 201, 202):
        raise channel.refuse(answer, "PUT")
    check_stated(channel, answer, digest)
    return digest


def _cancel(channel: UploadChannel, answer: Answer) -> None:
    """Give back an upload that was begun for us; whether it works is the registry's business."""
    try:
        channel.request("DELETE", channel.location(answer), attempts=1)
    except RegistryError:
        return
