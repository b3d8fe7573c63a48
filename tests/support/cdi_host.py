"""A host whose driver libraries can really be loaded, its CDI document, and images to load them in."""

from pathlib import Path
from typing import Any

from sampan.engines.cdi import make_spec, render_spec
from sampan.injection.cdi_generate import CdiOptions
from sampan.injection.cdi_jobs import HookChoice
from sampan.model.cdi import CdiSpec
from support.compiled import compile_library
from support.described_host import describe, make_described_host
from support.driver_host import FakeHost

CUDA, OPENCL = 77, 78
"""What ``who()`` of these libraries says."""
LIBRARIES = (
    ("libcuda", "libcuda.so.1", CUDA),
    ("libnvidia-opencl", "libnvidia-opencl.so.1", OPENCL),
)
HIDDEN = "/opt/nvidia/lib64"
"""A library directory of the host that no loader knows by itself."""


class CdiHost:
    """A described host below ``base`` with real nodes, and the document ``base/cdi/nvidia.yaml``."""

    def __init__(self, base: Path, description: str = "two-gpus") -> None:
        said = describe(description)
        self.base = base
        self.version: str = said["driver_version"]
        self.host: FakeHost = make_described_host(base / "host", said, real_nodes=True)
        self.directory = base / "cdi"
        self.directory.mkdir()
        self.spec: CdiSpec | None = None
        for stem, soname, number in LIBRARIES:
            source = base / "who.c"
            source.write_text(f"int who(void) {{ return {number}; }}")
            target = self.host.root / f"usr/lib64/{stem}.so.{self.version}"
            target.unlink()
            compile_library(source, target, soname)

    def write(self, hook: HookChoice = HookChoice(), **options: Any) -> CdiSpec:  # noqa: B008 - immutable
        """Generate the document; ``options`` are those of CdiOptions."""
        chosen = CdiOptions(hook=hook, **options)
        self.spec = make_spec(self.host.take(nvml=True), chosen).spec
        (self.directory / "nvidia.yaml").write_text(render_spec(self.spec, as_json=False))
        return self.spec

    def paths(self, device: str) -> set[str]:
        """The nodes that a device of the document has."""
        assert self.spec is not None
        edits = next(one for one in self.spec.devices if one.name == device).edits
        return {node.path for node in (*edits.device_nodes, *self.spec.edits.device_nodes)}
