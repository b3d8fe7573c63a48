"""Why files of a driver stay on the host: rules as data, for what no other table explains.

A pattern without a slash is for a file's name, one that begins with ``/`` for its path below the
driver root, one that begins with ``~/`` for its path below a directory that is the driver's own (see
``places.list_homes``) or below a driver root that holds nothing but a driver.
"""

from fnmatch import fnmatchcase
from typing import NamedTuple


class LeftOut(NamedTuple):
    """Files of this form are not imported, for that reason."""

    pattern: str
    reason: str


KERNEL = "for the host's kernel, which the container shares"
SERVICE = "starts or configures a service of the host"
SETTINGS = "nvidia-settings is a program of the desktop: the image's own package has it"
DOCUMENTATION = "documentation"
PACKAGING = "for the package manager or the installer"
TOOLKIT = "part of another container toolkit"
LOADER = "tells the host's loader where to look; containers get their own cache"
WINE = "for Wine and Proton; Linux programs use libnvidia-ngx"
WINDOWS = "a program of Windows"
ADMINISTRATION = "a program that changes the host: not for containers"
DESKTOP = "for the host's desktop menu"
OWN_SYSTEM = "belongs to the driver tree as a system of its own, for its programs on the host"
DEVELOPMENT = "for building programs; images have their own"

RULES: tuple[LeftOut, ...] = (
    LeftOut("*.ko", KERNEL),
    LeftOut("*.ko.*", KERNEL),
    LeftOut("/usr/src/*", KERNEL),
    LeftOut("*/lib/modules/*", KERNEL),
    LeftOut("*/modprobe.d/*", KERNEL),
    LeftOut("*/modules-load.d/*", KERNEL),
    LeftOut("*/dracut*", KERNEL),
    LeftOut("*/initramfs-tools/*", KERNEL),
    LeftOut("~/modules/*", KERNEL),
    LeftOut("nvidia-blacklists-nouveau.conf", KERNEL),
    LeftOut("nvidia-load.conf", KERNEL),
    LeftOut("nvidia-modprobe.conf", KERNEL),
    LeftOut("nvidia-options.conf", KERNEL),
    LeftOut("modprobe.conf", KERNEL),
    LeftOut("*.grub-gfxpayload", KERNEL),
    LeftOut("check-for-mismatching-nvidia-module", KERNEL),
    LeftOut("nvidia-modprobe*", ADMINISTRATION),
    LeftOut("nvidia-bug-report.sh*", ADMINISTRATION),
    LeftOut("nvidia-detect*", ADMINISTRATION),
    LeftOut("nvidia-ngx-updater", ADMINISTRATION),
    LeftOut("nvidia-installer", ADMINISTRATION),
    LeftOut("nvidia-uninstall", ADMINISTRATION),
    LeftOut("nvidia-pcc", "a compiler of Vulkan SC pipelines, for building programs"),
    LeftOut("nvidia-powerd*", SERVICE),
    LeftOut("nvidia-sleep.sh", SERVICE),
    LeftOut("start-nvidia-persistenced", SERVICE),
    LeftOut("stop-nvidia-persistenced", SERVICE),
    LeftOut("create-uvm-dev-node", SERVICE),
    LeftOut("ub-device-create", SERVICE),
    LeftOut("*/systemd/*", SERVICE),
    LeftOut("*/init.d/*", SERVICE),
    LeftOut("*/udev/rules.d/*", SERVICE),
    LeftOut("*/dbus-1/*", SERVICE),
    LeftOut("*/sysusers.d/*", SERVICE),
    LeftOut("*/extension-release.d/*", SERVICE),
    LeftOut("*/nvidia-powerd/*", SERVICE),
    LeftOut("nvidia-settings*", SETTINGS),
    LeftOut("nv-control-dpy", SETTINGS),
    LeftOut("libXNVCtrl*", SETTINGS),
    LeftOut("nvidia-application-profiles*key-documentation", SETTINGS),
    LeftOut("*.desktop", DESKTOP),
    LeftOut("*/share/icons/*", DESKTOP),
    LeftOut("*/share/pixmaps/*", DESKTOP),
    LeftOut("*/share/locale/*", DESKTOP),
    LeftOut("*/share/metainfo/*", DESKTOP),
    LeftOut("*/share/doc/*", DOCUMENTATION),
    LeftOut("*/share/man/*", DOCUMENTATION),
    LeftOut("*/share/licenses/*", DOCUMENTATION),
    LeftOut("*.1.gz", DOCUMENTATION),
    LeftOut("/usr/share/bug/*", PACKAGING),
    LeftOut("/usr/share/lintian/*", PACKAGING),
    LeftOut("nvidia.ids", PACKAGING),
    LeftOut("nvidia-*.ids", PACKAGING),
    LeftOut("supported-gpus.json", PACKAGING),
    LeftOut("alternate-install-*", PACKAGING),
    LeftOut("sandboxutils-filelist.json", TOOLKIT),
    LeftOut("nvidia-container-*", TOOLKIT),
    LeftOut("nvidia-ctk*", TOOLKIT),
    LeftOut("nvidia-cdi-*", TOOLKIT),
    LeftOut("ld.so.conf", LOADER),
    LeftOut("alt_ld.so.conf", LOADER),
    LeftOut("*/ld.so.conf.d/*", LOADER),
    LeftOut("ld.so.cache", LOADER),
    LeftOut("*.dll", WINE),
    LeftOut("*.exe", WINDOWS),
    LeftOut("glamor.conf", "for X servers of before 2016"),
    LeftOut("*/nvidia/rim/*", "reference measurements, for those who attest the GPU's firmware"),
    LeftOut("*/origBin/*", "the same program again, for other interpreters' paths"),
    LeftOut("*.a", DEVELOPMENT),
    LeftOut("*.la", DEVELOPMENT),
    LeftOut("*.pc", DEVELOPMENT),
    LeftOut("/usr/include/*", DEVELOPMENT),
    LeftOut("~/glibc/*", OWN_SYSTEM),
    LeftOut("~/etc/passwd", OWN_SYSTEM),
    LeftOut("~/etc/nsswitch.conf", OWN_SYSTEM),
    LeftOut("~/version", OWN_SYSTEM),
    LeftOut("~/kernel.release", OWN_SYSTEM),
)


def find_reason(path: str, own_paths: tuple[str, ...] = ()) -> str:
    """Why a file stays on the host, by the first rule for it; empty when no rule knows it.

    Args:
        path: inner path.
        own_paths: ``path`` as seen from each directory of the driver's own that holds it.
    """
    name = path.rpartition("/")[2]
    for pattern, reason in RULES:
        if pattern.startswith("~/"):
            matched = any(fnmatchcase(own, pattern[1:]) for own in own_paths)
        else:
            matched = fnmatchcase(path if "/" in pattern else name, pattern)
        if matched:
            return reason
    return ""
