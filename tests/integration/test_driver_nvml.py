"""NVML is asked through its real binding and a libnvidia-ml of ours; its failures cost little."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.driver.cache import current_inventory, locate_cache
from sampan.driver.nvml import NvmlError, query_nvml
from sampan.model.inventory import Inventory
from support.compiled import compile_library
from support.driver_host import FakeHost

pytestmark = pytest.mark.integration
SOURCE = Path(__file__).parent.parent / "testdata" / "mock_nvml.c"
V = "580.159.04"


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("nvml")
    return compile_library(SOURCE, directory / f"libnvidia-ml.so.{V}", "libnvidia-ml.so.1")


@pytest.fixture
def host(tmp_path: Path, mock: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.load_module(V)
    host.add_control_nodes()
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    host.add_file(f"/usr/lib64/libnvidia-ml.so.{V}", mock.read_bytes())
    host.add_gpu(0)
    host.add_gpu(1)
    return host


def test_nvml_describes_the_gpus(mock: Path) -> None:
    answer = query_nvml(str(mock))
    assert (answer.driver_version, answer.cuda_version) == (V, "13.0")
    first, second = answer.gpus
    assert first.uuid == "GPU-mock-0"
    assert (first.architecture, first.brand, first.memory_bytes) == ("9.0", "nvidia", 1 << 37)
    assert first.pci_bus_id == "00000000:18:00.0"
    assert (second.minor, second.memory_bytes, second.mig_enabled) == (1, 0, True)


def test_the_driver_roots_library_is_asked_whatever_the_library_path_says(
    mock: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.c"
    other.write_text("int nvmlInitWithFlags(unsigned f) { return 9; }")
    compile_library(other, tmp_path / "libnvidia-ml.so.1", "libnvidia-ml.so.1")
    program = (
        f"from sampan.driver.nvml import query_nvml; print(query_nvml({str(mock)!r}).cuda_version)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "13.0"


def test_the_library_does_not_stay_in_our_process(mock: Path) -> None:
    query_nvml(str(mock))
    assert mock.name not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(
    ("word", "evidence"), [("crash", "SIGSYS"), ("unloaded", "Driver Not Loaded")]
)
def test_a_failing_nvml_is_an_error_with_its_own_words(
    mock: Path, word: str, evidence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOCK_NVML", word)
    with pytest.raises(NvmlError) as refusal:
        query_nvml(str(mock))
    assert evidence in refusal.value.evidence


def test_a_hanging_nvml_is_given_up(mock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCK_NVML", "hang")
    with pytest.raises(NvmlError, match="gave no answer") as refusal:
        query_nvml(str(mock), timeout_s=0.5)
    assert "0.5 s" in refusal.value.evidence


def test_a_file_that_is_no_library_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "lib").write_text("nothing")
    with pytest.raises(NvmlError, match="cannot be used"):
        query_nvml(str(tmp_path / "lib"))


def test_a_gpu_that_nvml_denies_is_dropped_with_a_warning(
    mock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOCK_NVML", "denied")
    answer = query_nvml(str(mock))
    assert len(answer.gpus) == 2
    assert "GPU 2 is left out" in answer.warnings[0]


def test_the_inventory_takes_gpus_from_nvml(host: FakeHost) -> None:
    inventory = host.take(nvml=True)
    assert [gpu.name for gpu in inventory.gpus] == ["NVIDIA Mock A", "NVIDIA Mock B"]
    assert [gpu.nodes[0].path for gpu in inventory.gpus] == ["/dev/nvidia0", "/dev/nvidia1"]
    assert inventory.warnings == ()


def test_without_a_working_nvml_the_gpus_come_from_proc(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOCK_NVML", "unloaded")
    inventory = host.take(nvml=True)
    assert [gpu.name for gpu in inventory.gpus] == ["NVIDIA H200", "NVIDIA H200"]
    assert inventory.cuda_version == "13.0"
    assert "Driver Not Loaded" in inventory.warnings[0]


class CachedHost:
    """A host with real device nodes, whose inventory is cached below it."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.environment = {"XDG_CACHE_HOME": str(host.base / "cache")}
        for name, minor in (("nvidia0", 0), ("nvidia1", 1), ("nvidiactl", 255)):
            node = host.root / "dev" / name
            node.unlink(missing_ok=True)
            try:
                os.mknod(node, 0o20666, os.makedev(195, minor))
            except PermissionError:
                pytest.skip("device nodes cannot be made here (mknod: operation not permitted)")
        # A node of a driver that is not there can be looked at all the same.
        if not os.access(host.root / "dev/nvidia0", os.R_OK | os.W_OK):
            pytest.skip("the device cgroup forbids nodes of major 195 here")

    def take(self) -> Inventory:
        root = str(self.host.root)
        return current_inventory(
            root,
            root,
            proc_root=str(self.host.proc),
            sys_root=str(self.host.sys),
            machine="x86_64",
            environment=self.environment,
        )

    def file(self) -> Path:
        (found,) = (self.host.base / "cache/sampan").glob("driver-*.json")
        return found


@pytest.fixture
def cached(host: FakeHost) -> CachedHost:
    return CachedHost(host)


def test_an_unchanged_host_is_answered_from_the_cache_without_nvml(
    cached: CachedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cached.take()
    assert [gpu.name for gpu in first.gpus] == ["NVIDIA Mock A", "NVIDIA Mock B"]
    monkeypatch.setenv("MOCK_NVML", "crash")
    assert cached.take() == first


def replace_library(host: FakeHost) -> None:
    host.add_library(f"/usr/lib64/libnvidia-new.so.{V}", "libnvidia-new.so.1")


def remove_node(host: FakeHost) -> None:
    (host.root / "dev/nvidia1").unlink()


def change_mode(host: FakeHost) -> None:
    (host.root / "dev/nvidia1").chmod(0o600)


def reload_module(host: FakeHost) -> None:
    host.load_module("580.200.01")


def enter_mig_mode(host: FakeHost) -> None:
    (host.proc / "driver/nvidia/capabilities/gpu0/mig").mkdir(parents=True)


def change_gpu(host: FakeHost) -> None:
    host.add_proc("gpus/0000:00:00.0/information", "GPU UUID: GPU-other\nDevice Minor: 0\n")


def add_configuration(host: FakeHost) -> None:
    host.add_file("/usr/share/glvnd/egl_vendor.d/10_nvidia.json")


def reboot(host: FakeHost) -> None:
    boot = host.proc / "sys/kernel/random"
    boot.mkdir(parents=True)
    (boot / "boot_id").write_text("another\n")


@pytest.mark.parametrize(
    "change",
    [replace_library, remove_node, change_mode, reload_module, enter_mig_mode, change_gpu,
     add_configuration, reboot],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_a_changed_host_is_looked_at_again(
    cached: CachedHost, change: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached.take()
    change(cached.host)  # type: ignore[operator]
    monkeypatch.setenv("MOCK_NVML", "unloaded")
    assert any("Driver Not Loaded" in warning for warning in cached.take().warnings)


def test_an_inventory_without_nvml_is_not_kept(
    cached: CachedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOCK_NVML", "unloaded")
    cached.take()
    monkeypatch.delenv("MOCK_NVML")
    assert cached.take().gpus[0].name == "NVIDIA Mock A"


def spoil_owner(file: Path) -> None:
    try:
        os.chown(file, 12345, 12345)
    except PermissionError:
        pytest.skip("only root can give a file away")


def spoil_mode(file: Path) -> None:
    file.chmod(0o666)


def spoil_content(file: Path) -> None:
    file.write_text('{"format": 1}')


def spoil_kind(file: Path) -> None:
    moved = file.with_name("moved")
    file.rename(moved)
    file.symlink_to(moved)


@pytest.mark.parametrize(
    "spoil",
    [spoil_owner, spoil_mode, spoil_content, spoil_kind],
    ids=lambda spoil: spoil.__name__,
)
def test_a_cache_that_somebody_else_could_have_written_is_not_believed(
    cached: CachedHost, spoil: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached.take()
    spoil(cached.file())  # type: ignore[operator]
    monkeypatch.setenv("MOCK_NVML", "unloaded")
    assert any("Driver Not Loaded" in warning for warning in cached.take().warnings)


def test_an_unwritable_cache_home_costs_nothing_but_time(cached: CachedHost) -> None:
    (cached.host.base / "cache").write_text("a file where the directory should be")
    assert cached.take().gpus[0].name == "NVIDIA Mock A"


def test_the_cache_needs_a_home() -> None:
    assert locate_cache(["/"], {}) == ""
    assert locate_cache(["/"], {"HOME": "relative"}) == ""
    assert locate_cache(["/"], {"HOME": "/h"}).startswith("/h/.cache/sampan/driver-")
    assert locate_cache(["/"], {"HOME": "/h"}) != locate_cache(["/other"], {"HOME": "/h"})
