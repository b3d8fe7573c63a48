"""Each driver capability on real hardware: exactly its files, and programs that use them."""

import json

import pytest

pytestmark = pytest.mark.gpu

LOADED_BY = {
    "compute": ("libcuda.so.1", "libnvidia-ptxjitcompiler.so.1", "libnvidia-opencl.so.1"),
    "utility": ("libnvidia-ml.so.1", "libnvidia-cfg.so.1"),
    "video": ("libnvcuvid.so.1", "libnvidia-encode.so.1", "libnvidia-opticalflow.so.1"),
    "graphics": ("libGLX_nvidia.so.0", "libEGL_nvidia.so.0", "libnvidia-fbc.so.1"),
}
ALONE = {
    "compute": "libcudadebugger.so.1",
    "utility": "libnvidia-cfg.so.1",
    "video": "libnvcuvid.so.1",
    "graphics": "libGLX_nvidia.so.0",
}


def run_with(sampan, image, capabilities, *command, check=True):
    return sampan(
        "run", "--rm", "--gpus", f'all,"capabilities={capabilities}"', image, *command, check=check
    )


@pytest.mark.parametrize("capability", LOADED_BY)
def test_the_libraries_of_a_capability_load(sampan, debian, capability):
    code = f"import ctypes; [print(ctypes.CDLL(n)._name) for n in {LOADED_BY[capability]!r}]"
    done = run_with(sampan, debian, capability, "python3", "-c", code)
    assert tuple(done.stdout.split()) == LOADED_BY[capability]


@pytest.mark.parametrize("capability", ALONE)
def test_libraries_of_other_capabilities_are_not_there(sampan, debian, capability):
    # Video programs need CUDA, so NVIDIA's own rule gives them compute's files, too.
    given = {capability, "compute"} if capability == "video" else {capability}
    done = run_with(sampan, debian, capability, "ldconfig", "-p")
    listed = {line.split()[0] for line in done.stdout.splitlines() if "=>" in line}
    assert {name for name in ALONE if ALONE[name] in listed} == given


@pytest.mark.parametrize("capabilities", ["compute", "utility", "graphics", "video", "all"])
def test_every_planned_file_is_the_hosts_and_nothing_else_is_mounted(sampan, debian, capabilities):
    option = f'all,"capabilities={capabilities}"'
    plan = json.loads(sampan("explain", "--json", "--gpus", option, debian).stdout)
    planned = {mount["container_path"] for mount in plan["mounts"]}
    assert planned
    done = run_with(sampan, debian, capabilities, "cat", "/proc/self/mountinfo")
    mounted = {line.split()[4] for line in done.stdout.splitlines()}
    libraries = {path for path in mounted if ".so" in path or "nvidia" in path}
    devices = {path for path in libraries if path.startswith(("/dev/", "/proc/"))}
    assert libraries - devices == {
        path for path in planned if not path.startswith(("/dev/", "/proc/"))
    }


def test_vulkan_names_the_gpu(sampan, debian):
    gpu = json.loads(sampan("gpus", "--json").stdout)[0]["name"]
    done = run_with(sampan, debian, "graphics,utility", "vulkaninfo", "--summary")
    assert gpu in done.stdout, done.stdout
    assert "DRIVER_ID_NVIDIA_PROPRIETARY" in done.stdout


EGL = """
import ctypes
egl = ctypes.CDLL("libEGL.so.1")
egl.eglGetProcAddress.restype = egl.eglGetPlatformDisplay.restype = ctypes.c_void_p
egl.eglCreateContext.restype = egl.eglCreatePbufferSurface.restype = ctypes.c_void_p
query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(
    egl.eglGetProcAddress(b"eglQueryDevicesEXT"))
devices, found = (ctypes.c_void_p * 8)(), ctypes.c_int()
assert query(8, devices, ctypes.byref(found))
for device in devices[:found.value]:
    display = ctypes.c_void_p(egl.eglGetPlatformDisplay(0x313F, ctypes.c_void_p(device), None))
    if not egl.eglInitialize(display, None, None):
        continue
    config, number = ctypes.c_void_p(), ctypes.c_int()
    wanted = (ctypes.c_int * 5)(0x3033, 1, 0x3040, 8, 0x3038)
    assert egl.eglBindAPI(0x30A2)
    assert egl.eglChooseConfig(display, wanted, ctypes.byref(config), 1, ctypes.byref(number))
    surface = egl.eglCreatePbufferSurface(
        display, config, (ctypes.c_int * 5)(0x3057, 16, 0x3056, 16, 0x3038))
    context = egl.eglCreateContext(display, config, None, None)
    surface, context = ctypes.c_void_p(surface), ctypes.c_void_p(context)
    assert egl.eglMakeCurrent(display, surface, surface, context)
    string = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_uint)(egl.eglGetProcAddress(b"glGetString"))
    print(string(0x1F01).decode())
"""
"""Makes an OpenGL context on every EGL device that works and prints its renderer."""


def test_an_egl_device_context_names_the_gpu(sampan, debian):
    gpu = json.loads(sampan("gpus", "--json").stdout)[0]["name"]
    done = run_with(sampan, debian, "graphics", "python3", "-c", EGL)
    assert done.stdout.startswith(gpu), done.stdout + done.stderr


def test_without_graphics_vulkan_finds_no_driver_of_nvidia(sampan, debian):
    done = run_with(sampan, debian, "compute,utility", "vulkaninfo", "--summary", check=False)
    assert "NVIDIA" not in done.stdout
