"""What is fuzzed: each target takes any bytes, and raises only when there is something to repair.

An input is read by one of our readers; its own refusals are fine, every other exception is a find.
Where we also write the format, what was read is written and read again. Nothing here needs the fuzzer:
``tests/unit/test_fuzz_corpus.py`` replays the inputs that it has left.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sampan.driver.cdi_yaml import CdiTextError, parse_text, render_json, render_yaml
from sampan.driver.elf import read_elf
from sampan.driver.tegra import CsvLineError, parse_csv_line
from sampan.dropin.state import StateError, gpu_minors, read_state
from sampan.errors import SampanError
from sampan.gpus.container_request import RequestSettings, resolve_container_request
from sampan.gpus.option import parse_gpus_option
from sampan.gpus.requirements import check_requirements
from sampan.gpus.variables import parse_visible_devices, resolve_extras
from sampan.images.limits import LayerError, Limits
from sampan.images.sif import SifError, locate_system_partition
from sampan.images.tar import TarReader
from sampan.injection.cdi_document import CdiDocumentError, decode_spec, encode_spec
from sampan.injection.cdi_hook_jobs import CdiHookError
from sampan.injection.cdi_plan import HostFacts, plan_edits
from sampan.injection.cdi_resolve import merge_edits
from sampan.injection.compat import decide_cuda_compat
from sampan.injection.ldcache import compare_names, merge_loader_cache, render_loader_cache
from sampan.model.elf_note import read_note
from sampan.model.facts import CudaCompat
from sampan.model.hook import HookArgumentsError, parse_hook_arguments, render_hook_arguments
from sampan.model.inventory import Gpu, Inventory
from sampan.model.ldcache import LoaderCacheError, LoaderEntry, parse_loader_cache
from sampan.model.manifest import parse_index, parse_manifest, parse_object
from sampan.model.reference import ImageNameError, parse_reference
from support.plan_facts import make_facts

FACTS = make_facts()
DRIVER_ENTRIES = (
    LoaderEntry(b"libcuda.so.1", b"/usr/lib64/libcuda.so.1", 0x0303),
    LoaderEntry(b"libnvidia-ml.so.1", b"/usr/lib64/libnvidia-ml.so.1", 0x0303),
)
TEXT_AMPLIFICATION = 64
"""A reader may hold that many times its input, not more."""


class Target(NamedTuple):
    """A fuzzed reader; ``longest`` is the input's length in bytes."""

    run: Callable[[bytes], None]
    longest: int = 4096


def fuzz_loader_cache(data: bytes) -> None:
    """The reader, the merger and the writer of ``/etc/ld.so.cache``."""
    try:
        cache = parse_loader_cache(data)
    except LoaderCacheError:
        return
    held = sum(len(entry.name) + len(entry.path) for entry in cache.entries)
    assert held <= TEXT_AMPLIFICATION * len(data), "overlapping strings were multiplied"
    assert parse_loader_cache(render_loader_cache(cache)) == cache
    for signed in (True, False):
        merged = merge_loader_cache(cache, DRIVER_ENTRIES, signed_characters=signed)
        read = parse_loader_cache(render_loader_cache(merged))
        assert read == merged
        first = next(entry for entry in read.entries if entry[0::2] == DRIVER_ENTRIES[0][0::2])
        assert first == DRIVER_ENTRIES[0]


def fuzz_loader_order(data: bytes) -> None:
    """glibc's comparison: two names, each way."""
    first, _, second = data.replace(b"\0", b"0").partition(b"\n")
    for signed in (True, False):
        order = compare_names(first, second, signed_characters=signed)
        back = compare_names(second, first, signed_characters=signed)
        # A difference of two wrapped numbers may be of either sign; equal is equal.
        assert (order == 0) == (back == 0)
        assert compare_names(first, first, signed_characters=signed) == 0


def fuzz_elf_identity(data: bytes) -> None:
    """ELF class, machine and SONAME of a library of the driver."""
    with _file(data) as path:
        found = read_elf(path)
    if found is not None:
        assert found.bits in (32, 64)
        assert found.soname.isprintable()
        assert "/" not in found.soname


def fuzz_elf_note(data: bytes) -> None:
    """The note of a forward-compatibility library, and the decision that it leads to."""

    def read(offset: int, limit: int) -> bytes:
        assert limit <= 1 << 20
        return data[offset : offset + limit]

    note = read_note(read, b".note.cuda.fwd_compatibility", b"NVIDIA Corporation")
    _decide((note or b"").decode("utf-8", "replace"))


def fuzz_compat_note(data: bytes) -> None:
    """The note's text alone, and the file name's version."""
    note, _, version = data.decode("utf-8", "replace").partition("\n")
    _decide(note, version or "580.95.05")


def _decide(note: str, version: str = "580.95.05") -> None:
    compat = CudaCompat("/usr/local/cuda/compat", version, note, ("libcuda.so.1",))
    decide_cuda_compat(
        compat, driver_version="535.261.03", cuda_version="12.2", gpus=(), tegra=False
    )
    decide_cuda_compat(compat, driver_version="", cuda_version="12.2", gpus=(), tegra=True)


def fuzz_cdi_yaml(data: bytes) -> None:
    """A CDI document in YAML, written anew in both languages."""
    _cdi(data, is_json=False)


def fuzz_cdi_json(data: bytes) -> None:
    """A CDI document in JSON."""
    _cdi(data, is_json=True)


def _cdi(data: bytes, *, is_json: bool) -> None:
    try:
        document = parse_text(data, is_json=is_json)
    except CdiTextError as error:
        str(error).encode("utf-8", "surrogateescape")
        return
    try:
        spec = decode_spec(document)
    except CdiDocumentError:
        return
    written = encode_spec(spec)
    assert decode_spec(written) == spec
    for text, json in ((render_yaml(written), False), (render_json(written), True)):
        assert decode_spec(parse_text(text.encode(), is_json=json)) == spec
    edits = merge_edits([spec.edits, *(device.edits for device in spec.devices)])
    try:
        plan = plan_edits(
            edits, FACTS, names="fuzzed", host=HostFacts(params="ModifyDeviceFiles: 1\n")
        )
    except CdiHookError:
        return
    for path in [file.path for file in plan.files] + [link.path for link in plan.links]:
        assert path.startswith("/")
        assert ".." not in path.split("/")


def fuzz_tar(data: bytes) -> None:
    """A layer's tar: every member and its content."""
    limits = Limits(max_header_bytes=1 << 14, max_sparse_segments=512)
    reader = TarReader(_Slabs(data), layer="fuzzed", limits=limits)
    try:
        for member in reader:
            stored = sum(length for _, length in member.segments or ())
            if member.segments is None:
                stored = member.size
            assert not member.path.startswith(b"/")
            assert b".." not in member.path.split(b"/")
            while stored > 0:
                piece = reader.read(min(stored, 1000))
                stored -= len(piece)
    except LayerError:
        return


class _Slabs:
    def __init__(self, data: bytes) -> None:
        self._pieces = iter([data[at : at + 700] for at in range(0, len(data), 700)])

    def read_slab(self) -> bytes:
        return next(self._pieces, b"")


def fuzz_sif(data: bytes) -> None:
    """Header and descriptors of a SIF file."""
    with _file(data) as path, contextlib.suppress(SifError):
        offset, size = locate_system_partition(path)
        assert 0 <= offset <= offset + size <= len(data)


def fuzz_gpus_option(data: bytes) -> None:
    """The text after ``--gpus``."""
    with contextlib.suppress(SampanError):
        option = parse_gpus_option(data.decode("utf-8", "replace"))
        assert option.devices == () or option.gpu_count is None


HOST = Inventory(
    driver_root="/",
    dev_root="/",
    driver_version="580.95.05",
    module_version="580.95.05",
    cuda_version="13.0",
    platform="discrete",
    libraries=(),
    binaries=(),
    configurations=(),
    firmware=(),
    sockets=(),
    control_nodes=(),
    gpus=(),
    warnings=(),
)
GPU = Gpu(0, "GPU-0", 0, "0000:06:00.0", "NVIDIA H200", "9.0", "Nvidia", 1 << 37, ())


def fuzz_environment(data: bytes) -> None:
    """The NVIDIA_* variables of an image, one a line."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    environment = {}
    for line in lines:
        name, _, value = line.partition("=")
        environment[name if name == "CUDA_VERSION" else f"NVIDIA_{name}"] = value
    for gpus in ((), (GPU,)):
        with contextlib.suppress(SampanError):
            check_requirements(environment, HOST, gpus)
    with contextlib.suppress(SampanError):
        resolve_extras(environment, privileged=True)
    parse_visible_devices(environment.get("NVIDIA_VISIBLE_DEVICES", "").split(","))


def fuzz_reference(data: bytes) -> None:
    """The name of an image; its printed forms name the same image."""
    try:
        name = parse_reference(data.decode("utf-8", "replace"))
    except ImageNameError:
        return
    assert parse_reference(str(name)) == name
    assert parse_reference(name.familiar) == name


def fuzz_manifest(data: bytes) -> None:
    """A registry's index or manifest."""
    with contextlib.suppress(SampanError):
        document = parse_object(data, "the document")
        for parse in (parse_index, parse_manifest):
            with contextlib.suppress(SampanError):
                parse(document, "the document")


def fuzz_csv(data: bytes) -> None:
    """A Jetson's list."""
    for line in data.decode(errors="replace").splitlines():
        with contextlib.suppress(CsvLineError):
            entry = parse_csv_line(line)
            if entry is not None:
                parts = entry.path.split("/")
                assert entry.path.startswith("/")
                assert ".." not in parts


def fuzz_hook_state(data: bytes) -> None:
    """The state on the hook's standard input, and the bundle's configuration."""
    state, _, config = data.partition(b"\n")
    bundle = tempfile.mkdtemp(dir="/dev/shm")
    try:
        with open(f"{bundle}/config.json", "wb") as stream:
            stream.write(config)
        with _file(state.replace(b"BUNDLE", bundle.encode())) as path:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                container = read_state(descriptor)
            except StateError:
                return
            finally:
                os.close(descriptor)
        assert all(0 <= minor < 10_000 for minor in gpu_minors(container.config))
        assert container.root.startswith("/")
    finally:
        shutil.rmtree(bundle)


def fuzz_container_request(data: bytes) -> None:
    """What a container that another engine describes asks for: variables, annotations, mounts."""
    words = data.decode("utf-8", "replace").split("\n")
    pairs = [(name, value) for name, _, value in (word.partition("=") for word in words)]
    for settings in (RequestSettings(), RequestSettings(accept_mounts=True, ignore_imex=True)):
        with contextlib.suppress(SampanError):
            resolve_container_request(
                environment=dict(pairs),
                annotations=dict(pairs),
                mounts=[
                    ("/dev/null", f"/var/run/nvidia-container-devices/{word}") for word in words
                ],
                bounding=(),
                settings=settings,
            )


def fuzz_hook_arguments(data: bytes) -> None:
    """The hook's argument vector: what is read can be said again."""
    words = data.decode("utf-8", "surrogateescape").split("\n")
    try:
        request = parse_hook_arguments(words)
        again = render_hook_arguments(request)
    except HookArgumentsError:
        return
    assert parse_hook_arguments(again) == request._replace(unknown=())


@contextlib.contextmanager
def _file(data: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("fuzzed")
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


TARGETS: dict[str, Target] = {
    "loader_cache": Target(fuzz_loader_cache),
    "loader_order": Target(fuzz_loader_order, 200),
    "elf_identity": Target(fuzz_elf_identity),
    "elf_note": Target(fuzz_elf_note),
    "compat_note": Target(fuzz_compat_note, 1000),
    "cdi_yaml": Target(fuzz_cdi_yaml),
    "cdi_json": Target(fuzz_cdi_json),
    "tar": Target(fuzz_tar, 8192),
    "sif": Target(fuzz_sif, 8192),
    "gpus_option": Target(fuzz_gpus_option, 5000),
    "environment": Target(fuzz_environment, 6000),
    "reference": Target(fuzz_reference, 600),
    "manifest": Target(fuzz_manifest),
    "csv": Target(fuzz_csv),
    "hook_arguments": Target(fuzz_hook_arguments),
    "hook_state": Target(fuzz_hook_state),
    "container_request": Target(fuzz_container_request, 1000),
}
