"""The CDI documents of NVIDIA devices on a host, read through its root."""

from collections.abc import Iterable, Iterator, Sequence

from sampan.doctor.host import Host
from sampan.driver.cdi_files import SpecFile, find_spec_files
from sampan.engines.cdi import load_spec
from sampan.errors import SampanError
from sampan.injection.cdi_resolve import LoadedSpec
from sampan.model.cdi import CdiEdits

USUAL = ("/etc/cdi", "/run/cdi", "/var/run/cdi")
VENDOR = "nvidia.com"


def find_documents(host: Host, directories: Sequence[str] = USUAL) -> tuple[SpecFile, ...]:
    """Every document, with paths as the host has them."""
    real = [host.path(directory) for directory in directories]
    return find_spec_files(real)


def load_documents(host: Host, directories: Sequence[str] = USUAL) -> tuple[LoadedSpec, ...]:
    """The valid documents of NVIDIA's devices."""
    loaded = []
    for file in find_documents(host, directories):
        if file.error:
            continue
        try:
            spec = load_spec(file.path)
        except SampanError:
            continue
        if spec.kind.partition("/")[0].endswith(VENDOR):
            loaded.append(LoadedSpec(file.path, file.priority, spec))
    return tuple(loaded)


def list_edits(loaded: LoadedSpec) -> Iterator[CdiEdits]:
    """The document's own edits and those of its devices."""
    yield loaded.spec.edits
    for device in loaded.spec.devices:
        yield device.edits


def list_host_paths(edits: Iterable[CdiEdits]) -> dict[str, None]:
    """Paths that must be on the host: mounts, nodes, hooks."""
    paths: dict[str, None] = {}
    for one in edits:
        paths.update((mount.host_path, None) for mount in one.mounts)
        paths.update((node.host_path or node.path, None) for node in one.device_nodes)
        paths.update((hook.path, None) for hook in one.hooks)
    return paths
