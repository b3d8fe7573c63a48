"""A registry's repository as an end of a copy (``model.transfer``)."""

from typing import BinaryIO

from sampan.model.manifest import Descriptor, verify_document
from sampan.model.reference import Reference
from sampan.model.transfer import Hear, ImageEnd, TransferEvent
from sampan.registry.blob import RemoteLayer
from sampan.registry.client import Origin, RegistryClient
from sampan.registry.failures import RegistryError
from sampan.registry.push import mount_blob, push_manifest
from sampan.registry.upload import BlobToPush, Upload, find_blob
from sampan.registry.upload_channel import UploadChannel

_PARALLEL = 16
_ANY_DOCUMENT = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


class RegistryEnd:
    """Reads; see ``model.transfer.ImageEnd``."""

    def __init__(self, client: RegistryClient, origin: Origin, reference: Reference) -> None:
        self._client = client
        self._origin = origin
        self._reference = reference
        self._top = b""
        self._top_digest = ""

    @property
    def place(self) -> str:
        """See ImageEnd."""
        return self._reference.name

    def find_top(self) -> Descriptor:
        """See ImageEnd."""
        document = self._client.get_manifest(self._reference)
        self._top, self._top_digest = document.content, document.digest
        return document.descriptor

    def read_document(self, descriptor: Descriptor) -> bytes:
        """See ImageEnd."""
        if descriptor.digest == self._top_digest:
            return self._top
        content = self._client.get_document(self._reference.repository, descriptor, is_blob=False)
        verify_document(content, descriptor)
        return content

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """See ImageEnd."""
        return RemoteLayer(
            descriptor.digest[7:19],
            descriptor.digest,
            "",
            descriptor.size,
            self._origin,
            self._reference.repository,
            descriptor.urls,
        ).open()


class RegistryTarget:
    """Writes; see ``model.transfer.ImageTarget``."""

    parallel = _PARALLEL

    def __init__(self, channel: UploadChannel, reference: Reference) -> None:
        self._channel = channel
        self._reference = reference

    def has_top(self, descriptor: Descriptor) -> bool:
        """See ImageTarget."""
        return self._digest_of(self._name(descriptor)) == descriptor.digest

    def has_document(self, descriptor: Descriptor) -> bool:
        """See ImageTarget."""
        return self._digest_of(descriptor.digest) == descriptor.digest

    def put_blob(self, descriptor: Descriptor, source: ImageEnd, hear: Hear, label: str) -> int:
        """See ImageTarget."""
        size = descriptor.size
        if find_blob(self._channel, descriptor.digest) is not None:
            hear(TransferEvent("present", label))
            return 0
        registry, _, repository = source.place.partition("/")
        if registry == self._reference.registry and self._mount(descriptor.digest, repository):
            hear(TransferEvent("mounted", label))
            return 0
        Upload(
            self._channel,
            BlobToPush(label, lambda: source.open_blob(descriptor), descriptor.digest, size),
            lambda done: hear(TransferEvent("sending", label, done, size)),
        ).run()
        hear(TransferEvent("sent", label, size, size))
        return size

    def put_document(self, descriptor: Descriptor, content: bytes, *, is_top: bool) -> None:
        """See ImageTarget."""
        name = self._name(descriptor) if is_top else descriptor.digest
        push_manifest(self._channel, name, descriptor.media_type, content)

    def _name(self, descriptor: Descriptor) -> str:
        """Under what the top document goes: the tag, or the digest that it has anyway."""
        if self._reference.digest and self._reference.digest != descriptor.digest:
            raise RegistryError(
                f"{self._reference.familiar} cannot become what is copied",
                evidence=f"that has the digest {descriptor.digest}",
                remedy="leave the digest out, and give a tag",
            )
        return self._reference.tag or descriptor.digest

    def _digest_of(self, name: str) -> str:
        answer = self._channel.request(
            "HEAD",
            f"manifests/{name}",
            headers={"Accept": _ANY_DOCUMENT},
        )
        if answer.status in (404, 400):
            return ""
        if answer.status != 200:
            raise self._channel.refuse(answer, "HEAD")
        return answer.headers.get("docker-content-digest", "")

    def _mount(self, digest: str, repository: str) -> bool:
        try:
            return mount_blob(self._channel, digest, repository)
        except RegistryError:
            # Whoever may not read there has to send the blob.
            return False
