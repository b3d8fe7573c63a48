"""WSL: Windows' driver through /dev/dxg, and no Linux driver beside it."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, broken, ok, warning
from sampan.doctor.subject import Subject

STORE = "/usr/lib/wsl/lib"


def check(subject: Subject) -> Iterator[Finding]:
    """The node, the driver store, and Linux packages that hide Windows' libraries."""
    host = subject.host
    kernel = host.read("/proc/sys/kernel/osrelease").lower()
    if "microsoft" not in kernel and host.inventory.platform != "wsl":
        yield ok("wsl", "this is no WSL machine")
        return
    if not any(node.path == "/dev/dxg" for node in host.inventory.control_nodes):
        yield broken(
            "wsl-no-node", "WSL shows no GPU: /dev/dxg is missing", f"kernel {kernel.strip()}",
            symptom="Failed to initialize NVML: GPU access blocked by the operating system",
            remedy="in Windows: wsl --update, then wsl --shutdown; WSL 1 has no GPUs",
        )  # fmt: skip
        return
    if not any(name.startswith("libcuda.so") for name in host.list(STORE)):
        yield broken(
            "wsl-no-store", "Windows' driver store is not here", f"no libcuda.so in {STORE}",
            symptom="load library failed: libnvidia-ml.so.1: cannot open shared object file",
            remedy="install NVIDIA's driver in Windows, then wsl --shutdown",
        )  # fmt: skip
        return
    linux = [
        f"{directory}/{name}"
        for directory in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64")
        for name in host.list(directory)
        if name.startswith(("libcuda.so.1", "libnvidia-ml.so"))
    ]
    if linux:
        yield warning(
            "wsl-linux-driver", "a Linux driver is installed inside WSL and hides Windows' libraries",
            ", ".join(linux), symptom="Failed to initialize NVML: Driver Not Loaded",
            remedy="sudo apt-get remove --purge 'libnvidia-*' 'nvidia-*', then sudo ldconfig",
        )  # fmt: skip
        return
    yield ok("wsl", f"/dev/dxg and {STORE} are there")
