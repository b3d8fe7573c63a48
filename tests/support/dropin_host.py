"""A described host with the drop-ins installed for it, and bundles for raw runtimes."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from sampan.dropin.install import install
from support.cdi_host import CUDA, OPENCL, CdiHost
from support.small_root import SmallRoot

NODES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia1")
LIBRARIES = {"libcuda.so.1": CUDA, "libcuda.so": CUDA, "libnvidia-opencl.so.1": OPENCL}
ONE_HIERARCHY = (
    "mount --make-rprivate /; if mountpoint -q /sys/fs/cgroup/unified;"
    ' then umount -l /sys/fs/cgroup/unified; fi; exec "$@"'
)
"""crun refuses machines with both hierarchies of cgroups."""
_MOUNTS: tuple[tuple[str, str, str], ...] = (
    ("/proc", "proc", "proc"), ("/dev", "tmpfs", "tmpfs"), ("/sys", "sysfs", "sysfs"),
)  # fmt: skip


class DropinHost:
    """Below ``base``: a host, ``config.toml``, an installation, an image's root file system."""

    def __init__(self, base: Path, description: str = "two-gpus") -> None:
        self.base = base
        base.chmod(0o755)
        self.cdi = CdiHost(base, description)
        self.image = SmallRoot(base / "image")
        busybox = shutil.which("busybox")
        assert busybox is not None
        (self.image.path / "bin").mkdir(exist_ok=True)
        shutil.copy(busybox, self.image.path / "bin/busybox")
        self.prefix = base / "prefix"
        install(str(self.prefix))
        self.config = base / "config.toml"
        self.configure()

    @property
    def runtime(self) -> Path:
        return self.prefix / "bin/sampan-runtime"

    def configure(self, top: str = "", runtime: str = "") -> None:
        """Write config.toml: roots of this host, and more lines of its top and of the runtime."""
        host = self.cdi.host
        self.config.write_text(
            f'{top}\n[nvidia-container-cli]\nroot = "{host.root}"\n'
            f"[nvidia-container-runtime]\n{runtime}\n"
            f'[sampan]\nproc-root = "{host.proc}"\nsys-root = "{host.sys}"\n'
        )

    def make_bundle(self, name: str, *words: str, **variables: str) -> Path:
        """A bundle with its own copy of the image, whose process is ``/program`` with words."""
        bundle = self.base / name
        bundle.mkdir()
        shutil.copytree(self.image.path, bundle / "rootfs", symlinks=True)
        for directory in ("proc", "dev", "sys", "tmp"):
            (bundle / "rootfs" / directory).mkdir(exist_ok=True)
        config = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["/program", *words],
                "env": ["PATH=/bin", *(f"{name}={value}" for name, value in variables.items())],
                "cwd": "/",
                "noNewPrivileges": True,
                "capabilities": {"bounding": ["CAP_KILL"]},
            },
            "root": {"path": "rootfs", "readonly": False},
            "x-unknown": {"z": 1, "a": [1.5, None, "\u00e9"]},
            "mounts": [
                {"destination": place, "type": kind, "source": source, "options": ["nosuid"]}
                for place, kind, source in _MOUNTS
            ],
            "linux": {
                "resources": {"devices": [{"allow": False, "access": "rwm"}]},
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
            },
        }
        (bundle / "config.json").write_text(json.dumps(config, indent=3))
        return bundle

    def edit(self, bundle: Path, **members: Any) -> None:
        """Replace members of a bundle's configuration."""
        path = bundle / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **members}, indent=3))

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "NVIDIA_CTK_CONFIG_FILE_PATH": str(self.config),
        }

    def call(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Call the installed runtime."""
        return subprocess.run(
            [str(self.runtime), *words],
            env=self.environment(), cwd=cwd, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def run(self, bundle: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """``run`` the bundle in the foreground."""
        name = f"sampan-{os.getpid()}-{bundle.name}"
        words = (*words, "run", "--bundle", str(bundle), name)
        if '"crun"' not in self.config.read_text():
            return self.call(*words)
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", ONE_HIERARCHY, "sh",
             str(self.runtime), "--cgroup-manager=disabled", *words],
            env=self.environment(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def seen(self, *gpus: int) -> list[str]:
        """What ``/program`` says of LIBRARIES and NODES in a container with these GPUs."""
        lines = [f"{name} {number}" for name, number in LIBRARIES.items()]
        lines.append("/dev/nvidiactl 195:255")
        return lines + [f"/dev/nvidia{n} {f'195:{n}' if n in gpus else 'absent'}" for n in (0, 1)]

    def seen_nothing(self) -> list[str]:
        """The same of a container without a driver."""
        return [f"{name} -1" for name in LIBRARIES] + [f"{node} absent" for node in NODES]
