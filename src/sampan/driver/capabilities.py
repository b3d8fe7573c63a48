"""Which driver capability a file of the driver belongs to: tables, no code that looks anywhere.

The rows follow field knowledge of libnvidia-container (its ``nvc_info.c``) and of newer drivers.
Implied capabilities (video needs compute, display needs graphics) are the plan's business.
"""

COMPUTE, GRAPHICS, VIDEO = ("compute",), ("graphics",), ("video",)
UTILITY, NGX, DISPLAY, COMPAT32 = ("utility",), ("ngx",), ("display",), ("compat32",)
BOTH = ("compute", "graphics")
EVERY = ("compute", "display", "graphics", "ngx", "utility", "video")
"""Whatever is asked for: parts of platforms whose files NVIDIA does not split by capability."""

LIBRARIES: dict[str, tuple[str, ...]] = {
    "libcuda": COMPUTE,
    "libcudadebugger": COMPUTE,
    "libnvidia-compiler": COMPUTE,
    "libnvidia-fatbinaryloader": COMPUTE,
    "libnvidia-nvvm": COMPUTE,
    "libnvidia-nvvm70": COMPUTE,
    "libnvidia-opencl": COMPUTE,
    "libnvidia-pkcs11": COMPUTE,
    "libnvidia-pkcs11-openssl3": COMPUTE,
    "libnvidia-ptxjitcompiler": COMPUTE,
    "libnvidia-tileiras": COMPUTE,
    "libnvidia-allocator": BOTH,
    "libnvidia-gpucomp": BOTH,
    "libEGL_nvidia": GRAPHICS,
    "libGLESv1_CM_nvidia": GRAPHICS,
    "libGLESv2_nvidia": GRAPHICS,
    "libGLX_nvidia": GRAPHICS,
    "libnvidia-api": GRAPHICS,
    "libnvidia-cbl": GRAPHICS,
    "libnvidia-egl-gbm": GRAPHICS,
    "libnvidia-egl-wayland": GRAPHICS,
    "libnvidia-egl-wayland2": GRAPHICS,
    "libnvidia-egl-xcb": GRAPHICS,
    "libnvidia-egl-xlib": GRAPHICS,
    "libnvidia-eglcore": GRAPHICS,
    "libnvidia-fbc": GRAPHICS,
    "libnvidia-glcore": GRAPHICS,
    "libnvidia-glsi": GRAPHICS,
    "libnvidia-glvkspirv": GRAPHICS,
    "libnvidia-ifr": GRAPHICS,
    "libnvidia-present": GRAPHICS,
    "libnvidia-rtcore": GRAPHICS,
    "libnvidia-tls": GRAPHICS,
    "libnvidia-vksc-core": GRAPHICS,
    "libnvidia-vulkan-producer": GRAPHICS,
    "libnvoptix": GRAPHICS,
    "libnvidia-wfb": DISPLAY,
    "libnvcuextend": COMPUTE,
    "libnvidia-ngx": NGX,
    "libnvcuvid": VIDEO,
    "libnvidia-encode": VIDEO,
    "libnvidia-opticalflow": VIDEO,
    "libvdpau_nvidia": VIDEO,
    "libnvidia-cfg": UTILITY,
    "libnvidia-ml": UTILITY,
    "libnvidia-nscq": UTILITY,
    "libnvidia-sandboxutils": UTILITY,
    "libnvsdm": UTILITY,
}
"""Library stem (the name before ``.so``) to the capabilities that ask for it."""

UNKNOWN_LIBRARY: tuple[str, ...] = BOTH
"""For a library of the driver's version that the table does not know: a newer driver has split one
of those that CUDA or OpenGL load, so it goes wherever either goes."""

OWN_VERSION: frozenset[str] = frozenset({
    "libnvidia-api", "libnvidia-egl-gbm", "libnvidia-egl-wayland", "libnvidia-egl-wayland2",
    "libnvidia-egl-xcb", "libnvidia-egl-xlib", "libnvidia-nvvm", "libnvidia-nvvm70",
    "libnvidia-vulkan-producer", "libnvsdm",
})  # fmt: skip
"""Stems of driver libraries whose file names may carry a version of their own."""

_NEUTRAL = "vendor-neutral loader: the image's own is used"
_SETTINGS = "part of nvidia-settings, a program of the desktop: the image's own package has it"
_TOOLKIT = "part of another container toolkit"
_MODULE = "a module of the X server that no driver of this version goes with"
NEVER: dict[str, str] = {
    "libEGL": _NEUTRAL,
    "libGL": _NEUTRAL,
    "libGLESv1_CM": _NEUTRAL,
    "libGLESv2": _NEUTRAL,
    "libGLX": _NEUTRAL,
    "libGLX_indirect": _NEUTRAL,
    "libGLdispatch": _NEUTRAL,
    "libOpenCL": _NEUTRAL,
    "libOpenGL": _NEUTRAL,
    "libglx": _MODULE,
    "libglxserver_nvidia": _MODULE,
    "libnvidia-container": _TOOLKIT,
    "libnvidia-container-go": _TOOLKIT,
    "libnvidia-gtk2": _SETTINGS,
    "libnvidia-gtk3": _SETTINGS,
    "libnvidia-wayland-client": _SETTINGS,
}
"""Stems of libraries that are not imported as libraries, and why. X.Org's modules are ``xorg.py``'s."""

BINARIES: dict[str, tuple[str, ...]] = {
    "nvidia-smi": UTILITY,
    "nvidia-debugdump": UTILITY,
    "nvidia-persistenced": UTILITY,
    "nv-fabricmanager": UTILITY,
    "nvidia-imex": UTILITY,
    "nvidia-imex-ctl": UTILITY,
    "nvidia-cuda-mps-control": COMPUTE,
    "nvidia-cuda-mps-server": COMPUTE,
    "nvidia-xconfig": DISPLAY,
}

CONFIGURATIONS: dict[str, tuple[str, ...]] = {
    "OpenCL/vendors/nvidia.icd": COMPUTE,
    "X11/xorg.conf.d/10-nvidia.conf": DISPLAY,
    "X11/xorg.conf.d/10-nvidia-drm-outputclass.conf": DISPLAY,
    "X11/xorg.conf.d/nvidia-drm-outputclass.conf": DISPLAY,
    "egl/egl_external_platform.d/09_nvidia_wayland2.json": GRAPHICS,
    "egl/egl_external_platform.d/10_nvidia_wayland.json": GRAPHICS,
    "egl/egl_external_platform.d/15_nvidia_gbm.json": GRAPHICS,
    "egl/egl_external_platform.d/20_nvidia_xcb.json": GRAPHICS,
    "egl/egl_external_platform.d/20_nvidia_xlib.json": GRAPHICS,
    "glvnd/egl_vendor.d/10_nvidia.json": GRAPHICS,
    "nvidia/nvidia-application-profiles-rc": GRAPHICS,
    "nvidia/nvidia-application-profiles-{version}-rc": GRAPHICS,
    "nvidia/nvoptix.bin": GRAPHICS,
    "vulkan/icd.d/nvidia_icd.aarch64.json": GRAPHICS,
    "vulkan/icd.d/nvidia_icd.i686.json": COMPAT32,
    "vulkan/icd.d/nvidia_icd.json": GRAPHICS,
    "vulkan/icd.d/nvidia_icd.x86_64.json": GRAPHICS,
    "vulkan/icd.d/nvidia_layers.json": GRAPHICS,
    "vulkan/implicit_layer.d/nvidia_layers.json": GRAPHICS,
    "vulkansc/icd.d/nvidia_icd.aarch64.json": GRAPHICS,
    "vulkansc/icd.d/nvidia_icd.json": GRAPHICS,
    "vulkansc/icd.d/nvidia_icd.x86_64.json": GRAPHICS,
    "vulkansc/icd.d/nvidia_icd_vksc.json": GRAPHICS,
}
"""Path below ``/etc`` or a ``share`` directory; ``{version}`` is the driver's."""

SOCKETS: dict[str, tuple[str, ...]] = {
    "/run/nvidia-persistenced/socket": UTILITY,
    "/run/nvidia-fabricmanager/socket": UTILITY,
    "/tmp/nvidia-mps": COMPUTE,
}
"""Path in the container; the MPS one is the directory of the control daemon's pipes."""

CUDA_BY_BRANCH: dict[int, str] = {
    418: "10.1", 440: "10.2", 450: "11.0", 455: "11.1", 460: "11.2", 465: "11.3", 470: "11.4",
    495: "11.5", 510: "11.6", 515: "11.7", 520: "11.8", 525: "12.0", 530: "12.1", 535: "12.2",
    545: "12.3", 550: "12.4", 555: "12.5", 560: "12.6", 565: "12.7", 570: "12.8", 575: "12.9",
    580: "13.0",
}  # fmt: skip
"""The highest CUDA of each driver branch, from the toolkit's release notes; used without NVML."""
