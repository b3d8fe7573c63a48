"""From the store to a registry: what is there is left, the rest compressed while it is sent.

The rooms images and registry meet here, as in ``pull``.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import NamedTuple, TypeVar

from sampan.errors import UsageError
from sampan.images.compressing import check_level, open_compressed
from sampan.images.outgoing import KnownBlob, OutgoingImage, OutgoingLayer, note_blob, open_outgoing
from sampan.images.store_layout import StoreLayout
from sampan.model.manifest import Descriptor
from sampan.model.manifest_render import layer_type, render_manifest
from sampan.model.reference import Reference, parse_reference
from sampan.model.transfer import Hear, TransferEvent
from sampan.registry.client import RegistryClient
from sampan.registry.failures import RegistryError
from sampan.registry.origins import open_origin
from sampan.registry.push import mount_blob, push_manifest
from sampan.registry.settings import DEFAULT_SETTINGS, Settings
from sampan.registry.shared_clients import shared_client
from sampan.registry.upload import BlobToPush, Upload, find_blob
from sampan.registry.upload_channel import UploadChannel

DEFAULT_JOBS = 3

_INTERRUPTED_S = 1.0
"""How long tasks may take to end after Ctrl-C."""

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}

Result = TypeVar("Result")


class PushOptions(NamedTuple):
    """How to push.

    Attributes:
        compression: ``gzip``, ``zstd``, ``none``; empty = gzip for what has to be sent, and
            whatever the registry has of the rest.
        level: of the compression; None = its default.
        form: ``oci`` or ``v2s2``.
        jobs: blobs sent at once.
        settings: patience and trust of the registry client.
    """

    compression: str = ""
    level: int | None = None
    form: str = "oci"
    jobs: int = DEFAULT_JOBS
    settings: Settings = DEFAULT_SETTINGS


class PushResult(NamedTuple):
    """What a registry has now: the name there, the manifest's digest, bytes that were sent."""

    reference: Reference
    digest: str
    sent_bytes: int


class Stopped(Exception):  # noqa: N818 - not a failure of its own
    """Another blob of the same transfer has failed."""


def push_image(
    name: str,
    destination: str,
    *,
    store: StoreLayout,
    environment: Mapping[str, str],
    options: PushOptions | None = None,
    hear: Hear = lambda _: None,
) -> PushResult:
    """Give an image of the store to a registry.

    Args:
        name: of the image, or its id.
        destination: the name there; empty = the image's own.
        store: that has it.
        environment: variables: credentials, proxies, homes.
        options: defaults when None.
        hear: called by several threads.

    Raises:
        SampanError: whatever stands in the way, with its remedy.
    """
    chosen = options or PushOptions()
    compression = chosen.compression or "gzip"
    check_level(compression, chosen.level)
    layer_type(chosen.form, compression)
    outgoing = open_outgoing(store, name)
    reference = _destination(name, destination or outgoing.image.name)
    with open_channel(reference, environment, chosen.settings) as channel:
        task = _Push(channel, chosen, hear)
        # An image may have the same layer twice.
        layers = {layer.packed.diff_id: layer for layer in outgoing.layers}
        given = run_all(
            chosen.jobs,
            hear,
            [
                lambda hear, layer=layer: task.give_layer(layer, hear)  # type: ignore[misc]
                for layer in layers.values()
            ],
        )
        found = dict(zip(layers, given, strict=True))
        media_type, manifest = render_manifest(
            outgoing.config,
            [found[layer.packed.diff_id] for layer in outgoing.layers],
            chosen.form,
        )
        task.give_config(outgoing)
        hear(TransferEvent("manifest", reference.familiar))
        digest = push_manifest(channel, reference.tag, media_type, manifest)
        for note in channel.client.notes:
            hear(TransferEvent("warning", note))
    return PushResult(reference, digest, task.sent_bytes)


def _destination(name: str, destination: str) -> Reference:
    """Where an image goes: under a tag, since its digest there is made by the push."""
    if not destination:
        raise UsageError(
            "under which name is the image to be pushed?",
            evidence=f"{name} is an id",
            remedy=f"sampan push {name} REGISTRY/NAME:TAG",
        )
    reference = parse_reference(destination)
    if reference.digest:
        raise UsageError(
            f"{reference.familiar} pins a digest",
            evidence="the manifest is made anew, and so is its digest",
            remedy=f"sampan push {name} {reference.familiar_name}:TAG    or, to keep the digest: "
            "sampan copy",
        )
    return reference


@contextlib.contextmanager
def open_channel(
    reference: Reference, environment: Mapping[str, str], settings: Settings
) -> Iterator[UploadChannel]:
    """A repository that is written to; its connections last as long as the context.

    Raises:
        SampanError: this machine's configuration cannot be read, or forbids it.
    """
    with open_origin(reference, environment, settings, is_push=True) as origin:
        yield UploadChannel(shared_client(origin), reference.repository)


def run_all(jobs: int, hear: Hear, tasks: Sequence[Callable[[Hear], Result]]) -> list[Result]:
    """Run tasks in threads; when one fails, the others stop at what they next tell.

    Args:
        jobs: tasks at once.
        hear: told of everything.
        tasks: each gets a listener of its own, which raises once another task has failed.

    Raises:
        whatever the first of them raised. After an interrupt tasks may still be at work.
    """
    stop = threading.Event()

    def tell(event: TransferEvent) -> None:
        if stop.is_set():
            raise Stopped
        hear(event)

    pool = ThreadPoolExecutor(max(1, jobs), thread_name_prefix="sampan-push")
    futures = [pool.submit(task, tell) for task in tasks]
    patience_s: float | None = _INTERRUPTED_S
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
        patience_s = None
    finally:
        stop.set()
        for future in futures:
            future.cancel()
        # Who interrupts us does not wait for a server that says nothing; the process ends anyway.
        wait(futures, timeout=patience_s)
        pool.shutdown(wait=False)
    failures = [f.exception() for f in futures if not f.cancelled() and f.exception()]
    first = next((error for error in failures if not isinstance(error, Stopped)), None)
    if first is not None:
        raise first
    return [future.result() for future in futures]


class _Push:
    """One image on its way."""

    def __init__(self, channel: UploadChannel, options: PushOptions, hear: Hear) -> None:
        self._channel = channel
        self._options = options
        self._hear = hear
        self._compression = options.compression or "gzip"
        self._level = check_level(self._compression, options.level)
        self._lock = threading.Lock()
        self.sent_bytes = 0

    def give_layer(self, layer: OutgoingLayer, hear: Hear) -> Descriptor:
        """Let the registry have a layer in one of its forms."""
        label = layer.packed.diff_id[7:19]
        for blob in layer.known:
            found = self._find(blob)
            if found is not None:
                hear(TransferEvent("present", label))
                return self._describe(found)
        for blob in layer.known:
            found = self._mount(blob)
            if found is not None:
                hear(TransferEvent("mounted", label))
                note_blob(layer, found)
                return self._describe(found)
        total = 0 if self._compression != "none" else layer.packed.tar_size()
        pushed = Upload(
            self._channel,
            BlobToPush(
                label,
                lambda: open_compressed(layer.packed.open(), self._compression, self._level),
            ),
            lambda done: hear(TransferEvent("sending", label, done, total)),
        ).run()
        hear(TransferEvent("sent", label, pushed.size, pushed.size))
        with self._lock:
            self.sent_bytes += pushed.size
        found = KnownBlob(pushed.digest, pushed.size, self._compression, self._place())
        note_blob(layer, found)
        return self._describe(found)

    def give_config(self, outgoing: OutgoingImage) -> None:
        """Let the registry have the configuration."""
        give_document(self._channel, outgoing.config, outgoing.image.digest)

    def _find(self, blob: KnownBlob) -> KnownBlob | None:
        """The blob if the repository has it and its form will do."""
        if blob.compression and not self._will_do(blob.compression):
            return None
        size = find_blob(self._channel, blob.digest)
        if size is None or size < 0:
            return None
        compression = blob.compression or self._sniff(blob.digest)
        if not self._will_do(compression):
            return None
        return blob._replace(size=size, compression=compression)

    def _mount(self, blob: KnownBlob) -> KnownBlob | None:
        registry, _, repository = blob.place.partition("/")
        if registry != self._channel.client.registry or repository == self._channel.repository:
            return None
        if blob.compression and not self._will_do(blob.compression):
            return None
        try:
            if not mount_blob(self._channel, blob.digest, repository):
                return None
        except RegistryError:
            # Whoever may not read there has to send the layer.
            return None
        return self._find(blob)

    def _will_do(self, compression: str) -> bool:
        if self._options.form == "v2s2" and compression == "zstd":
            return False
        return self._options.compression in ("", compression)

    def _sniff(self, digest: str) -> str:
        """What compressed a blob of the registry; media types lie."""
        client: RegistryClient = self._channel.client
        answer = client.open_blob(self._channel.repository, digest, 0, 4)
        assert answer.stream is not None
        head = answer.stream.read(4)
        answer.stream.close()
        return _MAGIC.get(head[:2], "none")

    def _describe(self, blob: KnownBlob) -> Descriptor:
        media_type = layer_type(self._options.form, blob.compression)
        return Descriptor(media_type, blob.digest, blob.size, None, {})

    def _place(self) -> str:
        return f"{self._channel.client.registry}/{self._channel.repository}"


def give_document(channel: UploadChannel, content: bytes, digest: str) -> None:
    """Let the registry have a small blob unless it does.

    Raises:
        RegistryError: it does not take it.
    """
    import io

    if find_blob(channel, digest) is None:
        blob = BlobToPush(digest[7:19], lambda: io.BytesIO(content), digest, len(content))
        Upload(channel, blob, lambda _: None).run()
