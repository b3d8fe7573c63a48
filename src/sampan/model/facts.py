"""What the driver import and the engines must know of an image, computed once when it is linked.

Facts are data about names and links inside the image. Nobody opens the image's files later to find
out; in particular nothing in it is followed on the host's behalf.
"""

from typing import NamedTuple

FACTS_VERSION = 2

MACHINES: dict[str, str] = {"amd64": "x86_64", "arm64": "aarch64"}
"""uname's word for each architecture that NVIDIA's driver runs on, by Go's word, which images use."""

RESOLVED_DIRECTORIES: tuple[str, ...] = (
    "/bin", "/dev", "/etc", "/etc/OpenCL/vendors", "/etc/X11/xorg.conf.d",
    "/etc/egl/egl_external_platform.d", "/etc/glvnd/egl_vendor.d", "/etc/ld.so.conf.d",
    "/etc/nvidia", "/etc/nvidia/nvidia-application-profiles-rc.d", "/etc/vulkan/icd.d",
    "/etc/vulkan/implicit_layer.d", "/etc/vulkansc/icd.d", "/home", "/lib",
    "/lib/aarch64-linux-gnu", "/lib/firmware", "/lib/firmware/nvidia",
    "/lib/x86_64-linux-gnu", "/lib32", "/lib64", "/opt", "/proc", "/root", "/run",
    "/run/nvidia-fabricmanager", "/run/nvidia-persistenced", "/run/udev", "/sbin", "/sys",
    "/tmp", "/usr/bin", "/usr/lib", "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu/gbm", "/usr/lib/aarch64-linux-gnu/nvidia",
    "/usr/lib/aarch64-linux-gnu/tegra", "/usr/lib/aarch64-linux-gnu/tegra-egl",
    "/usr/lib/aarch64-linux-gnu/vdpau", "/usr/lib/gbm", "/usr/lib/i386-linux-gnu",
    "/usr/lib/vdpau", "/usr/lib/wsl", "/usr/lib/wsl/drivers", "/usr/lib/wsl/lib",
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/gbm",
    "/usr/lib/x86_64-linux-gnu/vdpau", "/usr/lib/xorg/modules",
    "/usr/lib/xorg/modules/drivers", "/usr/lib/xorg/modules/extensions", "/usr/lib32",
    "/usr/lib64", "/usr/lib64/gbm", "/usr/lib64/vdpau", "/usr/lib64/xorg/modules",
    "/usr/lib64/xorg/modules/drivers", "/usr/lib64/xorg/modules/extensions", "/usr/local",
    "/usr/local/bin", "/usr/local/cuda/compat", "/usr/local/nvidia", "/usr/local/nvidia/bin",
    "/usr/local/nvidia/lib", "/usr/local/nvidia/lib64", "/usr/sbin", "/usr/share",
    "/usr/share/X11/xorg.conf.d", "/usr/share/egl/egl_external_platform.d",
    "/usr/share/glvnd/egl_vendor.d", "/usr/share/nvidia", "/usr/share/vulkan/icd.d",
    "/usr/share/vulkan/implicit_layer.d", "/usr/share/vulkansc/icd.d", "/var/run", "/var/tmp",
)  # fmt: skip
"""Directories whose every leading component is resolved in the image's index."""


COMPAT_DIRECTORY = "/usr/local/cuda/compat"
ORIN_COMPAT_DIRECTORY = "/usr/local/cuda/compat_orin"
"""Of the packages cuda-compat and cuda-compat-orin; an image for several boards may have both."""


class CudaCompat(NamedTuple):
    """Forward-compatibility libcuda of an image.

    Attributes:
        directory: real container path of the directory.
        version: driver version in the library's file name, e.g. ``550.54.15``.
        note: JSON text of ELF note ``.note.cuda.fwd_compatibility``; empty when absent.
        names: file names in the directory (``libcuda.so.1``, ...); empty when not recorded.
    """

    directory: str
    version: str
    note: str
    names: tuple[str, ...] = ()


class ImageFacts(NamedTuple):
    """One image, as far as a run needs it.

    Attributes:
        digest: the image's identity in the store, ``sha256:<hex>``.
        architecture: Go's word: ``amd64``, ``arm64``.
        libc: ``glibc``, ``musl`` or ``none``, by the dynamic loader that the image holds.
        libc_version: e.g. ``2.36``; empty when unknown.
        interpreter: container path of the dynamic loader, e.g. ``/lib64/ld-linux-x86-64.so.2``.
        resolved: for each directory of RESOLVED_DIRECTORIES its real container path after all
            links (which need not exist: then the path it would have).
        directories: those real paths that exist as directories.
        library_directories: real paths of the loader's default directories that exist, best first
            (multiarch before lib64 before lib).
        loader_cache: content of the image's /etc/ld.so.cache; empty when it has none.
        libraries: real container path of each driver-related or vendor-neutral GL, EGL, Vulkan or
            OpenCL library in a library directory, mapped to its size in bytes (0 = left-over
            mount point; links have their target's size, -1 when dangling).
        cuda_compat: of COMPAT_DIRECTORY; None when the image has none.
        passwd, group: content of /etc/passwd and /etc/group, at most 1 MiB each.
        shell: container path of a POSIX shell, empty when the image has none.
        cuda_compat_orin: of ORIN_COMPAT_DIRECTORY, for Jetson Orin alone.
    """

    digest: str
    architecture: str
    libc: str
    libc_version: str
    interpreter: str
    resolved: dict[str, str]
    directories: tuple[str, ...]
    library_directories: tuple[str, ...]
    loader_cache: bytes
    libraries: dict[str, int]
    cuda_compat: CudaCompat | None
    passwd: str
    group: str
    shell: str
    cuda_compat_orin: CudaCompat | None = None


def architecture_word(machine: str) -> str:
    """Go's word for uname's, as images and ``--platform`` say it; ``machine`` itself if unknown."""
    return next((word for word, name in MACHINES.items() if name == machine), machine)
