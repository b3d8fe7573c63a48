"""Where distributions put a driver's parts: tables, and the places that follow from where it was found.

Learnt from package file lists and installers: Debian, Ubuntu, RPM Fusion and negativo17, SUSE, Arch,
NixOS, Flatcar, Talos, Container-Optimized OS and GKE, NVIDIA's own ``.run`` files. The READMEs of
``tests/testdata/driver_roots`` name the source of each.
"""

from collections.abc import Iterable, Sequence

MULTIARCH: dict[str, str] = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}
COMPAT_MACHINE: dict[str, str] = {"x86_64": "i386"}

PROGRAM_DIRECTORIES: tuple[str, ...] = (
    "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
    "/usr/lib/nvidia/current", "/run/nvidia/bin", "/opt/bin", "/run/current-system/sw/bin",
)  # fmt: skip
"""Flatcar has the programs in ``/opt/bin``, NixOS in the system profile."""
SHARE_DIRECTORIES: tuple[str, ...] = ("/usr/local/share", "/usr/share")
FIRMWARE_DIRECTORIES: tuple[str, ...] = (
    "/lib/firmware/updates", "/lib/firmware", "/usr/lib/firmware/updates", "/usr/lib/firmware",
    "/run/current-system/firmware",
)  # fmt: skip
ETC_DIRECTORIES: tuple[str, ...] = ("/etc", "/usr/local/etc")
SOCKET_DIRECTORIES: tuple[str, ...] = ("/run", "/var/run")
MPS_DIRECTORY = "/tmp/nvidia-mps"


def known_directories(machine: str) -> tuple[str, ...]:
    """Where driver libraries of ``machine`` are, in the order of search.

    A last component with a star stands for the directories of that form: Debian's ``tesla-470`` and
    ``legacy-390xx`` beside ``current``, Ubuntu's ``nvidia-384`` of 2018 and before.
    """
    arch = MULTIARCH.get(machine, f"{machine}-linux-gnu")
    native = (
        "/usr/lib64", f"/usr/lib/{arch}", f"/usr/lib/{arch}/nvidia/current",
        f"/usr/lib/{arch}/nvidia", f"/usr/lib/{arch}/nvidia/*",
        "/lib64", f"/lib/{arch}", f"/lib/{arch}/nvidia/current",
        "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib",
        "/usr/lib64/nvidia", "/usr/lib/nvidia", "/usr/lib/nvidia/*", "/usr/lib/nvidia-*",
        "/usr/lib", "/lib",
        "/run/opengl-driver/lib",
        "/usr/local/glibc/usr/lib", "/usr/local/glibc/usr/lib64",
        "/usr/local/lib64", "/usr/local/lib",
        "/opt/nvidia/current/usr/lib64", "/opt/nvidia/lib64",
        "/opt/drivers/nvidia/lib64", "/opt/drivers/nvidia/lib",
        "/home/kubernetes/bin/nvidia/lib64", "/var/lib/nvidia/lib64",
    )  # fmt: skip
    if machine not in COMPAT_MACHINE:
        return native
    return (
        *native,
        "/usr/lib/i386-linux-gnu", "/usr/lib/i386-linux-gnu/nvidia/current",
        "/usr/lib/i386-linux-gnu/nvidia", "/usr/lib/i386-linux-gnu/nvidia/*",
        "/usr/lib32", "/usr/lib32/nvidia", "/usr/lib32/nvidia-*", "/lib32",
        "/run/opengl-driver-32/lib",
    )  # fmt: skip


def module_directories(machine: str, homes: Sequence[str]) -> tuple[str, ...]:
    """Where X.Org's modules of the driver may be; those beside the driver's own parts first."""
    arch = MULTIARCH.get(machine, f"{machine}-linux-gnu")
    return (
        *homes,
        *(f"{home}/{place}" for home in homes for place in ("xorg", "lib64/xorg/modules", "lib/xorg/modules")),
        f"/usr/lib/{arch}/nvidia/xorg", f"/usr/lib/{arch}/xorg/modules",
        "/usr/lib64/xorg/modules", "/usr/lib64/xorg/modules/updates", "/usr/lib64/nvidia/xorg",
        "/usr/lib/xorg/modules", "/usr/lib/nvidia/xorg", "/usr/lib/nvidia",
        "/usr/local/lib64/xorg/modules", "/usr/local/lib/xorg/modules",
        "/usr/X11R6/lib64/modules", "/usr/X11R6/lib/modules",
    )  # fmt: skip


def list_homes(
    library_directories: Iterable[str], program_paths: Iterable[str] = ()
) -> tuple[str, ...]:
    """Directories that belong to the driver whose libraries lie in ``library_directories``.

    A driver that was not unpacked over ``/usr`` keeps ``bin``, ``share`` and ``firmware`` beside
    ``lib``; Debian's programs lie in ``/usr/lib/nvidia/<name>`` where the libraries lie in
    ``/usr/lib/<triplet>/nvidia/<name>``; Ubuntu had all in ``/usr/lib/nvidia-<branch>``. NixOS keeps
    programs and X.Org's modules in one tree, libraries in another.

    Args:
        library_directories: inner paths of directories that hold the driver's libraries.
        program_paths: real inner paths of its programs.
    """
    homes: dict[str, None] = {}
    for directory in library_directories:
        head, _, tail = directory.rpartition("/")
        beside, _, parent = head.rpartition("/")
        if tail in ("lib", "lib64"):
            if head not in ("/usr", "/usr/lib"):
                homes[head] = None
        elif parent == "nvidia" and beside.startswith("/usr/lib/"):
            homes[f"/usr/lib/nvidia/{tail}"] = None
        elif tail.startswith("nvidia-") or parent == "nvidia":
            homes[directory] = None
    for path in program_paths:
        head, _, tail = path.rpartition("/")[0].rpartition("/")
        if tail in ("bin", "origBin") and "nvidia" in head:
            homes[head] = None
    return tuple(homes)
