"""The hook's work on root file systems that are plain directories; mounts are tested elsewhere."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.dropin.hook import HookError, run_hook
from sampan.dropin.state import StateError
from sampan.injection.ldcache import render_loader_cache
from sampan.kernel.libc import RESOLVE_IN_ROOT, openat2
from sampan.model.hook import (
    HookArgumentsError,
    HookFile,
    HookLibrary,
    HookLink,
    HookRequest,
    render_hook_arguments,
)
from sampan.model.ldcache import FLAGS_BY_MACHINE, LoaderCache, LoaderEntry, parse_loader_cache

X86 = FLAGS_BY_MACHINE["x86_64"]
CUDA = HookLibrary("x86_64", "/usr/lib64", "libcuda.so.580.1", ("libcuda.so.1", "libcuda.so"))
Run = Callable[..., list[str]]


@pytest.fixture(scope="session", autouse=True)
def _openat2_works() -> None:
    try:
        os.close(openat2(-100, "/", os.O_PATH, resolve=RESOLVE_IN_ROOT))
    except OSError as error:
        pytest.skip(f"openat2 does not work here: {error.strerror}")


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A glibc image's root, bare."""
    root = tmp_path / "rootfs"
    for name in ("etc", "usr/lib64", "dev", "tmp"):
        (root / name).mkdir(parents=True)
    (root / "lib64").symlink_to("usr/lib64")
    (root / "usr/lib64/ld-linux-x86-64.so.2").write_bytes(b"\x7fELF")
    return root


@pytest.fixture
def run(rootfs: Path) -> Run:
    """Run the hook for a request; what it said."""

    def call(request: HookRequest, config: dict[str, object] | None = None) -> list[str]:
        return call_words(rootfs, render_hook_arguments(request), config)

    return call


def call_words(
    rootfs: Path, words: tuple[str, ...], config: dict[str, object] | None = None
) -> list[str]:
    bundle = rootfs.parent
    (bundle / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}, **(config or {})}))
    said: list[str] = []
    state = bundle / "state.json"
    state.write_text(json.dumps({"ociVersion": "1.0.2", "bundle": str(bundle)}))
    descriptor = os.open(state, os.O_RDONLY)
    try:
        run_hook(words, descriptor, said.append)
    finally:
        os.close(descriptor)
    return said


def entries(rootfs: Path) -> list[tuple[str, str]]:
    cache = parse_loader_cache((rootfs / "etc/ld.so.cache").read_bytes())
    return [(entry.name.decode(), entry.path.decode()) for entry in cache.entries]


def test_libraries_get_their_links_and_cache_entries(rootfs: Path, run: Run) -> None:
    assert run(HookRequest(libraries=(CUDA,))) == []
    assert os.readlink(rootfs / "usr/lib64/libcuda.so.1") == "libcuda.so.580.1"
    assert os.readlink(rootfs / "usr/lib64/libcuda.so") == "libcuda.so.1"
    assert sorted(entries(rootfs)) == [
        ("libcuda.so", "/usr/lib64/libcuda.so"),
        ("libcuda.so.1", "/usr/lib64/libcuda.so.1"),
        ("libcuda.so.580.1", "/usr/lib64/libcuda.so.580.1"),
    ]


def test_the_images_own_entries_stay_and_the_drivers_come_first(rootfs: Path, run: Run) -> None:
    own = LoaderCache(
        (
            LoaderEntry(b"libz.so.1", b"/usr/lib64/libz.so.1", X86),
            LoaderEntry(b"libcuda.so.1", b"/opt/old/libcuda.so.1", X86),
        )
    )
    (rootfs / "etc/ld.so.cache").write_bytes(render_loader_cache(own))
    run(HookRequest(libraries=(CUDA,)))
    found = dict(entries(rootfs))
    assert found["libz.so.1"] == "/usr/lib64/libz.so.1"
    assert found["libcuda.so.1"] == "/usr/lib64/libcuda.so.1"


def test_a_restarted_container_is_left_as_it_is(rootfs: Path, run: Run) -> None:
    request = HookRequest(
        libraries=(CUDA,),
        links=(HookLink("/usr/lib64/gbm/nvidia-drm_gbm.so", "../libnvidia-allocator.so.1"),),
        files=(HookFile("/etc/vulkan/icd.d/nvidia_icd.json", "{}\n"),),
        application_profile=True,
    )
    config = {"linux": {"devices": [{"path": "/dev/nvidia3"}]}}
    run(request, config)
    before = snapshot(rootfs)
    assert run(request, config) == []
    assert snapshot(rootfs) == before


def snapshot(rootfs: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in sorted(rootfs.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


def test_an_image_without_a_loader_cache_gets_one(rootfs: Path, run: Run) -> None:
    assert not (rootfs / "etc/ld.so.cache").exists()
    run(HookRequest(libraries=(CUDA,)))
    assert stat.S_IMODE((rootfs / "etc/ld.so.cache").stat().st_mode) == 0o644


@pytest.mark.parametrize("content", [b"rubbish", b"glibc-ld.so.cache1.1" + b"\xff" * 200])
def test_a_malformed_loader_cache_is_replaced_and_said(
    rootfs: Path, run: Run, content: bytes
) -> None:
    (rootfs / "etc/ld.so.cache").write_bytes(content)
    assert "is unusable" in run(HookRequest(libraries=(CUDA,)))[0]
    assert len(entries(rootfs)) == 3


def test_a_fifo_as_loader_cache_keeps_nobody_waiting(rootfs: Path, run: Run) -> None:
    os.mkfifo(rootfs / "etc/ld.so.cache")
    assert "is unusable" in run(HookRequest(libraries=(CUDA,)))[0]
    assert len(entries(rootfs)) == 3


def test_a_musl_image_is_told_so_and_gets_no_cache(rootfs: Path, run: Run) -> None:
    (rootfs / "usr/lib64/ld-linux-x86-64.so.2").unlink()
    (rootfs / "lib").mkdir()
    (rootfs / "lib/ld-musl-x86_64.so.1").write_bytes(b"\x7fELF")
    said = run(HookRequest(libraries=(CUDA,)))
    assert said == [
        "the driver's libraries need glibc, which the image lacks: its C library is musl"
    ]
    assert not (rootfs / "etc/ld.so.cache").exists()


def test_an_image_of_one_static_program_is_told_that_it_has_no_loader(
    rootfs: Path, run: Run
) -> None:
    (rootfs / "usr/lib64/ld-linux-x86-64.so.2").unlink()
    assert "it has no /lib64/ld-linux-x86-64.so.2" in run(HookRequest(libraries=(CUDA,)))[0]


def test_a_library_of_another_machine_has_its_own_entries(rootfs: Path, run: Run) -> None:
    narrow = HookLibrary("i386", "/usr/lib32", "libcuda.so.580.1", ("libcuda.so.1",))
    run(HookRequest(libraries=(CUDA, narrow)))
    cache = parse_loader_cache((rootfs / "etc/ld.so.cache").read_bytes())
    found = {(entry.name, entry.flags): entry.path for entry in cache.entries}
    assert found[b"libcuda.so.1", FLAGS_BY_MACHINE["i386"]] == b"/usr/lib32/libcuda.so.1"
    assert found[b"libcuda.so.1", X86] == b"/usr/lib64/libcuda.so.1"


def test_links_planted_in_the_image_lead_nowhere_outside(
    rootfs: Path, run: Run, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (rootfs / "etc/vulkan").symlink_to(outside)
    (rootfs / "usr/lib64/gbm").symlink_to("../../../../../../../../.." + str(outside))
    (rootfs / "etc/ld.so.cache").symlink_to(outside / "cache")
    run(
        HookRequest(
            libraries=(CUDA,),
            links=(HookLink("/usr/lib64/gbm/x.so", "../y.so"),),
            files=(HookFile("/etc/vulkan/icd.d/nvidia_icd.json", "{}"),),
        )
    )
    assert list(outside.iterdir()) == []
    inside = rootfs / str(outside).lstrip("/")
    assert (inside / "icd.d/nvidia_icd.json").read_text() == "{}"
    assert os.readlink(inside / "x.so") == "../y.so"
    assert not (rootfs / "etc/ld.so.cache").is_symlink()


def test_a_wrong_link_or_file_in_the_place_is_replaced(rootfs: Path, run: Run) -> None:
    (rootfs / "usr/lib64/libcuda.so.1").write_bytes(b"")
    (rootfs / "usr/lib64/libcuda.so").symlink_to("/etc/passwd")
    run(HookRequest(libraries=(CUDA,)))
    assert os.readlink(rootfs / "usr/lib64/libcuda.so.1") == "libcuda.so.580.1"
    assert os.readlink(rootfs / "usr/lib64/libcuda.so") == "libcuda.so.1"


def test_a_library_whose_link_cannot_be_made_is_found_by_its_file(rootfs: Path, run: Run) -> None:
    (rootfs / "usr/lib64/libcuda.so.1").mkdir()
    said = run(HookRequest(libraries=(CUDA,)))
    assert said == ["the link /usr/lib64/libcuda.so.1 (Is a directory) cannot be made"]
    assert dict(entries(rootfs))["libcuda.so.1"] == "/usr/lib64/libcuda.so.580.1"
    assert os.readlink(rootfs / "usr/lib64/libcuda.so") == "libcuda.so.580.1"


def test_what_a_killed_hook_left_behind_is_cleared_away(rootfs: Path, run: Run) -> None:
    (rootfs / "etc/.ld.so.cache.sampan").write_bytes(b"half")
    run(HookRequest(libraries=(CUDA,)))
    assert sorted(entry.name for entry in (rootfs / "etc").iterdir()) == ["ld.so.cache"]


def test_the_application_profile_names_the_containers_own_gpus(rootfs: Path, run: Run) -> None:
    config = {
        "linux": {"devices": [{"path": "/dev/nvidia1"}, {"path": "/dev/nvidiactl"}]},
        "mounts": [{"destination": "/dev/nvidia4"}, {"destination": "/dev/nvidia-uvm"}],
    }
    run(HookRequest(application_profile=True), config)
    path = rootfs / "etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf"
    assert "0x12" in path.read_text()


def test_without_gpus_there_is_no_application_profile(rootfs: Path, run: Run) -> None:
    run(HookRequest(application_profile=True), {"linux": {"devices": []}})
    assert not (rootfs / "etc/nvidia").exists()


def make_compat(rootfs: Path, *names: str) -> None:
    directory = rootfs / "usr/local/cuda/compat"
    directory.mkdir(parents=True)
    for name in names:
        (directory / name).write_bytes(b"no ELF")
    (directory / "libcuda.so.1").symlink_to(names[0])


def test_newer_compatibility_libraries_of_the_image_come_first(rootfs: Path, run: Run) -> None:
    make_compat(rootfs, "libcuda.so.590.10")
    run(HookRequest(libraries=(CUDA,), driver_version="580.1"))
    found = dict(entries(rootfs))
    assert found["libcuda.so.1"] == "/usr/local/cuda/compat/libcuda.so.1"
    assert found["libcuda.so.580.1"] == "/usr/lib64/libcuda.so.580.1"


def test_compatibility_libraries_are_those_of_the_directory_that_was_told(
    rootfs: Path, run: Run
) -> None:
    make_compat(rootfs, "libcuda.so.590.10")
    directory = "/usr/local/cuda/compat_orin"
    (rootfs / "usr/local/cuda/compat").rename(rootfs / directory.lstrip("/"))
    request = HookRequest(libraries=(CUDA,), driver_version="580.1")
    run(request)
    assert dict(entries(rootfs))["libcuda.so.1"] == "/usr/lib64/libcuda.so.1"
    run(request._replace(compat_directory=directory))
    assert dict(entries(rootfs))["libcuda.so.1"] == f"{directory}/libcuda.so.1"


@pytest.mark.parametrize(
    ("names", "version"),
    [(("libcuda.so.570.10",), "580.1"), (("libcuda.so.590.10", "libcuda.so.600.1"), "580.1"),
     (("libcuda.so.590.10",), "")],
    ids=["older", "two of them", "consumer GPUs"],
)  # fmt: skip
def test_compatibility_libraries_that_do_not_fit_are_not_used(
    rootfs: Path, run: Run, names: tuple[str, ...], version: str
) -> None:
    make_compat(rootfs, *names)
    run(HookRequest(libraries=(CUDA,), driver_version=version))
    assert dict(entries(rootfs))["libcuda.so.1"] == "/usr/lib64/libcuda.so.1"


def test_an_option_of_a_newer_document_is_warned_of(rootfs: Path) -> None:
    words = (*render_hook_arguments(HookRequest(libraries=(CUDA,))), "--teleport", "now")
    assert call_words(rootfs, words) == [
        "--teleport now is passed over: the CDI document is newer than this hook"
    ]
    assert len(entries(rootfs)) == 3


def test_without_params_in_its_proc_a_container_needs_no_cover(rootfs: Path, run: Run) -> None:
    assert run(HookRequest(params=True)) == []


def test_directories_of_nodes_are_opened_to_everybody(rootfs: Path, run: Run) -> None:
    if os.stat(rootfs).st_dev == os.stat("/dev").st_dev:
        pytest.skip("the temporary directory lies on the file system of /dev")
    (rootfs / "dev/dri").mkdir(mode=0o700)
    run(HookRequest())
    assert stat.S_IMODE((rootfs / "dev/dri").stat().st_mode) == 0o755


def test_the_machines_own_root_is_never_touched(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text(json.dumps({"bundle": str(tmp_path), "root": "/"}))
    with state.open() as stream, pytest.raises(HookError, match="this system's own"):
        run_hook(render_hook_arguments(HookRequest()), stream.fileno(), lambda _: None)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"bundle": 5}', '{"bundle": "relative"}', '{"bundle": "/no/such"}',
     "[" * 100_000],
)  # fmt: skip
def test_a_state_that_names_no_container_is_refused(tmp_path: Path, text: str) -> None:
    state = tmp_path / "state"
    state.write_text(text)
    with state.open() as stream, pytest.raises(StateError):
        run_hook(render_hook_arguments(HookRequest()), stream.fileno(), lambda _: None)


def test_a_state_without_end_is_refused(tmp_path: Path) -> None:
    with open("/dev/zero", "rb") as stream, pytest.raises(StateError, match="longer than"):
        run_hook(render_hook_arguments(HookRequest()), stream.fileno(), lambda _: None)


def test_arguments_of_another_form_are_refused() -> None:
    with pytest.raises(HookArgumentsError):
        run_hook(("sampan-hook", "prestart"), 0, lambda _: None)


def test_nothing_but_the_standard_library_and_a_few_modules_is_imported(tmp_path: Path) -> None:
    from sampan.dropin.stub import MODULES

    code = "import sys\nimport sampan.dropin.hook\nprint(*sorted(sys.modules))"
    source = Path(__file__).parents[3] / "src"
    done = subprocess.run(
        [sys.executable, "-IS", "-c", f"import sys; sys.path.append({str(source)!r})\n{code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = done.stdout.split()
    assert {name for name in loaded if name.startswith("sampan")} == set(MODULES)
    foreign = {name.partition(".")[0] for name in loaded} - {"sampan", "__main__"}
    assert foreign <= set(sys.stdlib_module_names)
    assert not foreign & {"argparse", "subprocess", "pathlib", "logging", "inspect", "site"}


def test_a_further_link_to_a_library_is_a_name_that_the_loader_knows(
    rootfs: Path, run: Run
) -> None:
    library = HookLibrary("x86_64", "/usr/lib64", "libcuda.so.580.1", ("libcuda.so.1",))
    run(HookRequest((library,), (HookLink("/usr/lib64/libcuda.so", "libcuda.so.1"),)))
    assert os.readlink(rootfs / "usr/lib64/libcuda.so") == "libcuda.so.1"
    assert dict(entries(rootfs))["libcuda.so"] == "/usr/lib64/libcuda.so"
