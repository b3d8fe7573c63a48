"""Driver files on a file system of their own, with links at their usual places."""

from sampan.injection.shelf import LOADER_LIST, SHELF, shelve_files
from sampan.model.hook import HookLibrary, HookLink, HookRequest
from sampan.model.plan import PlannedMount

CUDA = PlannedMount("/host/libcuda.so.580", "/usr/lib64/libcuda.so.580", ("ro",))
UDEV = PlannedMount("/run/udev", "/run/udev", ("ro",))
REQUEST = HookRequest((HookLibrary("x86_64", "/usr/lib64", "libcuda.so.580", ("libcuda.so.1",)),))


def test_files_move_and_directories_stay() -> None:
    shelved = shelve_files([CUDA, UDEV], REQUEST, {"/run/udev"})
    tmpfs, moved, kept = shelved.mounts
    assert (tmpfs.container_path, tmpfs.kind) == (SHELF, "tmpfs")
    assert moved == CUDA._replace(container_path=f"{SHELF}/usr/lib64/libcuda.so.580")
    assert kept == UDEV
    assert shelved.request is not None
    assert shelved.request.libraries == REQUEST.libraries
    assert shelved.request.links == (
        HookLink("/usr/lib64/libcuda.so.580", f"{SHELF}/usr/lib64/libcuda.so.580"),
    )
    assert [(file.path, file.text) for file in shelved.request.files] == [
        (LOADER_LIST, "/usr/lib64\n")
    ]


def test_without_a_hook_nothing_moves() -> None:
    assert shelve_files([CUDA], None, set()).mounts == (CUDA,)


def test_without_files_there_is_no_shelf() -> None:
    assert shelve_files([UDEV], REQUEST, {"/run/udev"}).mounts == (UDEV,)
