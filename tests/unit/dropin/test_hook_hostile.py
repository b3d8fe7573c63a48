"""The hook against images that mean harm: the classes of NVIDIA's advisories, one by one.

Each of them changed the host, or ran something of the image, through a hook of another's. Here the
host's part is a directory beside the root file system, compared before and after.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.dropin.hook import HookError, run_hook
from sampan.dropin.stub import install_hook
from sampan.injection.cdi_generate import CdiOptions, generate_spec
from sampan.injection.cdi_jobs import HookChoice
from sampan.injection.ldcache import render_loader_cache
from sampan.injection.plan import plan_import
from sampan.kernel.libc import RESOLVE_IN_ROOT, openat2
from sampan.model.facts import CudaCompat
from sampan.model.hook import (
    ENVIRONMENT,
    HookFile,
    HookLibrary,
    HookLink,
    HookRequest,
    render_hook_arguments,
)
from sampan.model.ldcache import LoaderCache, LoaderEntry, parse_loader_cache
from sampan.model.request import Request
from support.described_host import make_described_host
from support.driver_host import make_elf
from support.hostile import ODD_KINDS, plant, plant_canaries, plant_modules, swapping, take_snapshot
from support.plan_facts import make_facts

LIBRARY = HookLibrary("x86_64", "/usr/lib64", "libcuda.so.580.1", ("libcuda.so.1", "libcuda.so"))
REQUEST = HookRequest(
    libraries=(LIBRARY,),
    links=(HookLink("/usr/lib64/gbm/nvidia-drm_gbm.so", "../libnvidia-allocator.so.1"),),
    files=(
        HookFile("/etc/OpenCL/vendors/nvidia.icd", "libnvidia-opencl.so.1\n"),
        HookFile("/usr/share/vulkan/icd.d/nvidia_icd.json", "{}"),
    ),
    driver_version="535.261.03",
    cuda_version="12.2",
    params=True,
    application_profile=True,
)
CONFIG = {"linux": {"devices": [{"path": "/dev/nvidia0"}]}}
PLACES = (
    "etc", "etc/ld.so.cache", "etc/OpenCL", "etc/OpenCL/vendors", "etc/OpenCL/vendors/nvidia.icd",
    "etc/nvidia", "etc/nvidia/nvidia-application-profiles-rc.d", "usr/share/vulkan/icd.d",
    "usr/lib64/gbm", "usr/lib64/libcuda.so.1", "usr/lib64/libcuda.so", "usr/local/cuda",
    "usr/local/cuda/compat", "usr/local/cuda/compat/libcuda.so.999.1.1", "proc",
    "proc/driver/nvidia/params", "dev", "dev/dri",
)  # fmt: skip
"""Everything that the hook looks at or writes, and directories on the way there."""
ROUNDS = 60


@pytest.fixture(scope="module", autouse=True)
def _openat2_works() -> None:
    try:
        os.close(openat2(-100, "/", os.O_PATH, resolve=RESOLVE_IN_ROOT))
    except OSError as error:
        pytest.skip(f"openat2 does not work here: {error.strerror}")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host with what attacks of the past went for."""
    place = tmp_path / "host"
    for name in ("ld.so.cache", "nvidia.icd", "libcuda.so.999.1.1", "params", "icd.d/x", "dri/x"):
        file = place / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(f"the host's {name}\n")
    (place / "dri").chmod(0o700)
    # Names that can only come from here.
    (place / "libcudadebugger.so.1").write_text("the host's")
    own = LoaderCache((LoaderEntry(b"libhost.so.1", b"/host/libhost.so.1", 0x0303),))
    (place / "ld.so.cache").write_bytes(render_loader_cache(own))
    return place


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A glibc image's root with forward-compatibility libraries."""
    root = tmp_path / "rootfs"
    for name in ("etc", "usr/lib64", "dev", "tmp", "usr/local/cuda/compat", "usr/share", "proc"):
        (root / name).mkdir(parents=True)
    (root / "lib64").symlink_to("usr/lib64")
    (root / "usr/lib64/ld-linux-x86-64.so.2").write_bytes(b"\x7fELF")
    (root / "usr/local/cuda/compat/libcuda.so.999.1.1").write_bytes(make_elf("libcuda.so.1"))
    (root / "usr/local/cuda/compat/libcuda.so.1").symlink_to("libcuda.so.999.1.1")
    own = LoaderCache((LoaderEntry(b"libz.so.1", b"/usr/lib64/libz.so.1", 0x0303),))
    (root / "etc/ld.so.cache").write_bytes(render_loader_cache(own))
    return root


Run = Callable[[], list[str]]


@pytest.fixture
def run(rootfs: Path) -> Run:
    """One run of the hook, in this process; what it said."""
    bundle = rootfs.parent
    (bundle / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}, **CONFIG}))
    state = bundle / "state.json"
    state.write_text(json.dumps({"ociVersion": "1.0.2", "bundle": str(bundle)}))

    def call() -> list[str]:
        said: list[str] = []
        descriptor = os.open(state, os.O_RDONLY)
        try:
            run_hook(render_hook_arguments(REQUEST), descriptor, said.append)
        finally:
            os.close(descriptor)
        return said

    return call


def race(run: Run, *pairs: tuple[Path, Path]) -> None:
    """Run the hook again and again while others exchange what it works on."""
    with swapping(*pairs):
        for _ in range(ROUNDS):
            run()


def is_clean(cache: Path) -> bool:
    """Whether no name of the host's stands in a loader cache, be it that of a swapped directory."""
    content = b"" if cache.is_symlink() or not cache.exists() else cache.read_bytes()
    return b"libhost" not in content and b"libcudadebugger" not in content


def beside(path: Path, target: Path) -> tuple[Path, Path]:
    """The path, and a link that takes its place now and then."""
    link = path.with_name(f"{path.name}.swapped")
    link.symlink_to(target)
    return path, link


def test_cve_2024_0132_compat_libraries_swapped_for_links_bring_nothing_of_the_host_in(
    rootfs: Path, outside: Path, run: Run
) -> None:
    before = take_snapshot(outside)
    compat = rootfs / "usr/local/cuda/compat"
    race(run, beside(compat, outside), beside(rootfs / "usr/local/cuda", outside))
    assert take_snapshot(outside) == before
    assert is_clean(rootfs / "etc/ld.so.cache")
    subprocess.run(["rm", "-rf", compat, rootfs / "usr/local/cuda"], check=True)
    (rootfs / "usr/local/cuda").mkdir()
    compat.symlink_to(outside)
    run()
    assert is_clean(rootfs / "etc/ld.so.cache")


def test_cve_2024_0133_directories_swapped_for_links_make_no_files_on_the_host(
    rootfs: Path, outside: Path, run: Run
) -> None:
    run()
    before = take_snapshot(outside)
    race(
        run,
        beside(rootfs / "etc", outside),
        beside(rootfs / "usr/lib64", outside),
        beside(rootfs / "usr/share/vulkan", outside),
    )
    assert take_snapshot(outside) == before


@pytest.mark.parametrize(
    "path", ["/../../host/x", "/usr/lib64/../../../host/x", "/away/x", "/up/x", "/chain/x"]
)
def test_cve_2024_0134_links_are_made_inside_the_root_alone(
    rootfs: Path, outside: Path, path: str
) -> None:
    (rootfs / "away").symlink_to(outside)
    (rootfs / "up").symlink_to("../" * 30 + str(outside).lstrip("/"))
    (rootfs / "chain").symlink_to("up")
    before = take_snapshot(outside)
    bundle = rootfs.parent
    (bundle / "state.json").write_text(json.dumps({"bundle": str(bundle), "root": str(rootfs)}))
    words = render_hook_arguments(HookRequest(links=(HookLink(path, "/target"),)))
    said: list[str] = []
    with (bundle / "state.json").open() as state:
        run_hook(words, state.fileno(), said.append)
    assert take_snapshot(outside) == before
    made = [place for place, _, names in os.walk(rootfs) if "x" in names]
    assert len(made) == 1, said


def test_cve_2024_0135_no_program_of_the_image_is_run_and_none_of_the_host_written(
    rootfs: Path, outside: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    names = ("sbin/ldconfig", "sbin/ldconfig.real", "usr/bin/python3", "usr/bin/env", "bin/sh",
             "usr/bin/mount", "usr/lib64/ld-linux-x86-64.so.2", "usr/bin/nvidia-ctk")  # fmt: skip
    plant_canaries(rootfs, mark, *names)
    home = tmp_path / "libexec"
    stub = install_hook(str(home))
    installed = take_snapshot(home)
    done = start(stub, rootfs, {"PATH": f"{rootfs}/sbin:{rootfs}/usr/bin:{rootfs}/bin"})
    assert done.returncode == 0, done.stderr
    assert not mark.exists()
    assert take_snapshot(home) == installed


def test_cve_2025_23266_variables_and_modules_of_the_image_do_not_reach_the_hook(
    rootfs: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    plant_modules(rootfs, mark)
    (rootfs / "startup.py").write_text(f"open({str(mark)!r}, 'a').write('startup')\n")
    stub = install_hook(str(tmp_path / "libexec"))
    hostile = {
        "PYTHONPATH": ".:/",
        "PYTHONHOME": str(rootfs),
        "PYTHONSTARTUP": "./startup.py",
        "PYTHONINSPECT": "1",
        "PYTHONPLATLIBDIR": str(rootfs),
        "PYTHONUSERBASE": str(rootfs),
        "PYTHONPYCACHEPREFIX": str(rootfs / "tmp"),
        "HOME": str(rootfs),
        "PATH": ".",
    }
    done = start(stub, rootfs, hostile)
    assert done.returncode == 0, done.stderr
    assert not mark.exists()
    assert list((rootfs / "tmp").iterdir()) == []


def start(
    stub: str, rootfs: Path, environment: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Start the installed hook as a careless runtime would: inside the root, with its variables."""
    bundle = rootfs.parent
    (bundle / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}, **CONFIG}))
    return subprocess.run(
        [stub, *render_hook_arguments(REQUEST)[1:]],
        input=json.dumps({"ociVersion": "1.0.2", "bundle": str(bundle)}),
        cwd=rootfs,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_cve_2025_23266_every_hook_of_a_document_states_its_whole_environment(
    tmp_path: Path,
) -> None:
    inventory = make_described_host(tmp_path / "machine", "two-gpus").take(nvml=True)
    for nvidia in (False, True):
        choice = HookChoice(program="/usr/libexec/x", nvidia=nvidia)
        spec = generate_spec(inventory, CdiOptions(hook=choice)).spec
        hooks = [
            *spec.edits.hooks,
            *(hook for device in spec.devices for hook in device.edits.hooks),
        ]
        assert hooks
        for hook in hooks:
            assert hook.path.startswith("/")
            assert hook.env
            assert not any(word.startswith(("LD_", "PYTHON")) for word in hook.env)
    assert ENVIRONMENT


def test_cve_2025_23267_links_planted_for_the_loader_cache_are_not_followed(
    rootfs: Path, outside: Path, run: Run
) -> None:
    before = take_snapshot(outside)
    cache = rootfs / "etc/ld.so.cache"
    race(run, beside(cache, outside / "ld.so.cache"))
    assert is_clean(cache)
    for kind in ("absolute", "upwards", "magic", "chain"):
        plant(cache, kind, outside / "ld.so.cache")
        run()
        assert not cache.is_symlink()
        assert is_clean(cache)
    assert take_snapshot(outside) == before
    for name in ("etc/ld.so.conf", "etc/ld.so.conf.d", "etc/ld-musl-x86_64.path", "sbin/ldconfig"):
        plant(rootfs / name, "absolute", outside)
    run()
    assert take_snapshot(outside) == before


def test_cve_2025_23359_a_plan_mounts_nothing_of_the_image(tmp_path: Path) -> None:
    host = make_described_host(tmp_path, "two-gpus")
    inventory = host.take(nvml=True)
    compat = CudaCompat("/usr/local/cuda/compat", "999.1.1", "", ("libcuda.so.1",))
    facts = make_facts(cuda_compat=compat)
    request = Request(True, ("all",), None, ("compute", "utility"), "test")
    plan = plan_import(inventory, request, facts, inventory.gpus)
    assert plan.mounts
    assert all(Path(mount.host_path).is_relative_to(host.root) for mount in plan.mounts)
    assert not any("compat" in mount.container_path for mount in plan.mounts)


def test_cve_2026_24260_no_link_or_library_is_made_elsewhere_than_where_it_was_looked_up(
    rootfs: Path, outside: Path, run: Run
) -> None:
    gbm = rootfs / "usr/lib64/gbm"
    gbm.mkdir()
    before = take_snapshot(outside)
    race(
        run,
        beside(gbm, outside),
        beside(rootfs / "usr/local/cuda/compat/libcuda.so.999.1.1", outside / "libcuda.so.999.1.1"),
        beside(rootfs / "dev", outside),
    )
    assert take_snapshot(outside) == before


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_odd_things_in_every_place_of_the_image_change_nothing_outside_and_keep_nobody_waiting(
    tmp_path: Path, outside: Path, rootfs: Path, run: Run, kind: str
) -> None:
    original = tmp_path / "original"
    subprocess.run(["cp", "-a", rootfs, original], check=True)
    before = take_snapshot(outside)
    for place in PLACES:
        subprocess.run(["rm", "-rf", rootfs], check=True)
        subprocess.run(["cp", "-a", original, rootfs], check=True)
        target = rootfs / place
        if target.is_dir() and not target.is_symlink():
            subprocess.run(["rm", "-rf", target], check=True)
        try:
            plant(target, kind, outside)
        except PermissionError:
            pytest.skip("device nodes cannot be made here (mknod: operation not permitted)")
        # Without its params the container does not start: closed, not open.
        with contextlib.suppress(*([HookError] if place.startswith("proc") else [])):
            assert all(message.isprintable() for message in run())
        assert take_snapshot(outside) == before, place


def test_a_loader_cache_that_stands_for_gigabytes_costs_what_it_weighs(
    rootfs: Path, run: Run
) -> None:
    text = (b"x" * 4000 + b"\0") * 64
    number = 20_000
    start_of_text = 48 + 24 * number
    header = b"glibc-ld.so.cache1.1" + number.to_bytes(4, "little")
    header += len(text).to_bytes(4, "little") + bytes((2, 0, 0, 0)) + bytes(16)
    body = b"".join(
        (3).to_bytes(4, "little")
        + (start_of_text + at).to_bytes(4, "little")
        + (start_of_text + at + number).to_bytes(4, "little")
        + bytes(12)
        for at in range(number)
    )
    (rootfs / "etc/ld.so.cache").write_bytes(header + body + text)
    (said,) = [word for word in run() if "ld.so.cache" in word]
    assert "overlap" in said
    assert (rootfs / "etc/ld.so.cache").stat().st_size < 4096


def test_sparse_terabytes_are_not_read(rootfs: Path, run: Run) -> None:
    for name in ("etc/ld.so.cache", "usr/local/cuda/compat/libcuda.so.999.1.1"):
        os.truncate(rootfs / name, 1 << 42)
    (said,) = run()
    assert "File too large" in said or "longer than" in said
    cache = parse_loader_cache((rootfs / "etc/ld.so.cache").read_bytes())
    assert b"libcuda.so.1" in {entry.name for entry in cache.entries}


def test_a_compat_directory_of_very_many_names_is_left_alone(rootfs: Path, run: Run) -> None:
    for number in range(5000):
        (rootfs / f"usr/local/cuda/compat/libcuda.so.{number}.1").symlink_to("libcuda.so.999.1.1")
    assert run() == []
    assert b"/compat/" not in (rootfs / "etc/ld.so.cache").read_bytes()


@pytest.mark.parametrize(
    "config", ["[" * 100_000, '{"root": {"path": "rootfs"}, "linux": [1]}', '{"root": 5}', ""]
)
def test_a_bundle_that_is_a_bomb_or_nonsense_is_refused_in_one_line(
    rootfs: Path, tmp_path: Path, config: str
) -> None:
    stub = install_hook(str(tmp_path / "libexec"))
    bundle = rootfs.parent
    (bundle / "config.json").write_text(config)
    done = subprocess.run(
        [stub, *render_hook_arguments(REQUEST)[1:]],
        input=json.dumps({"bundle": str(bundle)}), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def test_the_interpreter_is_none_that_an_image_or_an_environment_can_choose(
    tmp_path: Path,
) -> None:
    stub = Path(install_hook(str(tmp_path / "libexec")))
    first = stub.read_text().splitlines()[0]
    interpreter, flags = first.removeprefix("#!").split()
    assert os.path.isabs(interpreter)
    assert {"I", "S"} <= set(flags.lstrip("-"))
    assert sys.executable not in first
