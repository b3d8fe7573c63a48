"""Whether this host has what Vulkan, EGL and OpenGL containers need: libraries, ICD files, DRI nodes."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, info, ok, warning
from sampan.doctor.subject import Subject
from sampan.model.inventory import Inventory

NO_VULKAN = "ERROR_INCOMPATIBLE_DRIVER; Cannot create Vulkan instance"
NO_EGL = "libEGL warning: failed to open /dev/dri/card0; eglInitialize failed"
DESCRIPTIONS = (("nvidia_icd", "Vulkan", "libGLX_nvidia"), ("10_nvidia", "EGL", "libEGL_nvidia"))


def check(subject: Subject) -> Iterator[Finding]:
    """Drivers of compute servers often come without graphics: then it is only said."""
    inventory = subject.host.inventory
    if not inventory.libraries:
        yield ok("graphics", "no driver, so nothing of graphics")
        return
    found = list(_judge(subject, inventory))
    yield from found
    if not found:
        yield ok("graphics", "libraries, ICD files and DRI nodes are there")


def _judge(subject: Subject, inventory: Inventory) -> Iterator[Finding]:
    names = {library.name.partition(".so")[0] for library in inventory.libraries}
    described = {file.name for file in inventory.configurations}
    if not names & {"libGLX_nvidia", "libEGL_nvidia"}:
        yield info(
            "graphics-libraries-absent",
            "this driver was installed without graphics (no libGLX_nvidia, no libEGL_nvidia)",
            symptom=NO_VULKAN,
            remedy="sudo apt-get install nvidia-driver-libs nvidia-vulkan-icd, or the driver's"
            " .run file without --no-opengl-files",
        )
        return
    for start, what, library in DESCRIPTIONS:
        if library in names and not any(name.startswith(start) for name in described):
            yield warning(
                f"graphics-{what.lower()}-icd-absent",
                f"no {what} description ({start}*.json) was found, so containers get none",
                "looked in /etc, /usr/share and /usr/local/share, and XDG_DATA_DIRS",
                symptom=NO_VULKAN if what == "Vulkan" else NO_EGL,
                remedy="sudo apt-get install "
                + ("nvidia-vulkan-icd" if what == "Vulkan" else "nvidia-egl-icd")
                + ", or sampan driver --config-search-path DIR",
            )
    if inventory.platform != "discrete" or not inventory.gpus:
        return
    host = subject.host
    modeset = host.read("/sys/module/nvidia_drm/parameters/modeset").strip()
    if not host.exists("/sys/module/nvidia_drm"):
        yield warning(
            "graphics-drm-not-loaded",
            "the module nvidia_drm is not loaded, so there are no DRI nodes: no EGL on GBM, no Wayland",
            "no /sys/module/nvidia_drm", symptom=NO_EGL,
            remedy="sudo modprobe nvidia-drm modeset=1",
        )  # fmt: skip
    elif modeset in ("N", "0"):
        yield warning(
            "graphics-modeset-off",
            "nvidia_drm runs without mode setting: no EGL on GBM, no Wayland",
            f"/sys/module/nvidia_drm/parameters/modeset is {modeset}", symptom=NO_EGL,
            remedy="echo options nvidia-drm modeset=1 | sudo tee /etc/modprobe.d/nvidia-drm.conf,"
            " then reboot",
        )  # fmt: skip
    elif not any("/dri/renderD" in node.path for gpu in inventory.gpus for node in gpu.nodes):
        yield warning(
            "graphics-no-render-node", "no GPU has a render node /dev/dri/renderD*",
            "nvidia_drm is loaded", symptom=NO_EGL,
            remedy="ls -l /dev/dri; sudo udevadm trigger --subsystem-match=drm",
        )  # fmt: skip
