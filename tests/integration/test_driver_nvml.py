"""NVML is asked through its real binding and a libnvidia-ml of ours; its failures cost little."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.driver.cache import current_inventory, locate_cache
from sampan.driver.nvml import NvmlError, query_nvml
from sampan.driver.usage import read_usage
from sampan.model.inventory import Inventory
from support.compiled import compile_library
from support.described_host import (
    add_mig_device,
    describe,
    install_nvml,
    instance_minor,
    make_described_host,
)
from support.driver_host import FakeHost

pytestmark = pytest.mark.integration
V = "580.159.04"
H200_MEMORY = 141 << 30


def nvml_of(host: FakeHost) -> str:
    return str(host.root / f"usr/lib64/libnvidia-ml.so.{V}")


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return make_described_host(tmp_path / "host", "two-gpus")


def silence(host: FakeHost) -> None:
    """From now on NVML finds no driver."""
    install_nvml(host, describe("not-loaded"))


def test_nvml_describes_the_gpus(host: FakeHost) -> None:
    answer = query_nvml(nvml_of(host))
    assert (answer.driver_version, answer.cuda_version) == (V, "13.0")
    first, second = answer.gpus
    assert first.uuid == "GPU-00000001-aaaa-bbbb-cccc-000000000001"
    assert (first.architecture, first.brand, first.memory_bytes) == ("8.9", "nvidia", 24 << 30)
    assert first.pci_bus_id == "00000000:18:00.0"
    assert (second.minor, second.brand, second.mig_enabled) == (1, "tesla", False)


def test_what_nvml_does_not_support_stays_unknown(tmp_path: Path) -> None:
    (gpu,) = make_described_host(tmp_path / "host", "silent").take(nvml=True).gpus
    assert (gpu.name, gpu.architecture, gpu.memory_bytes) == ("NVIDIA Tesla K80", "", 0)
    assert not gpu.mig_enabled


def test_eight_gpus_are_listed_in_nvmls_order(tmp_path: Path) -> None:
    inventory = make_described_host(tmp_path / "host", "eight-gpus").take(nvml=True)
    assert [gpu.nvml_index for gpu in inventory.gpus] == list(range(8))
    assert {gpu.memory_bytes for gpu in inventory.gpus} == {H200_MEMORY}
    assert inventory.warnings == ()


def test_the_driver_roots_library_is_asked_whatever_the_library_path_says(
    host: FakeHost, tmp_path: Path
) -> None:
    other = tmp_path / "other.c"
    other.write_text("int nvmlInitWithFlags(unsigned f) { return 9; }")
    compile_library(other, tmp_path / "libnvidia-ml.so.1", "libnvidia-ml.so.1")
    library = nvml_of(host)
    program = (
        f"from sampan.driver.nvml import query_nvml; print(query_nvml({library!r}).cuda_version)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "13.0"


def test_the_library_does_not_stay_in_our_process(host: FakeHost) -> None:
    query_nvml(nvml_of(host))
    assert "libnvidia-ml" not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(
    ("description", "evidence", "remedy"),
    [
        ("mismatch", "Driver/library version mismatch", "reboot"),
        ("not-loaded", "Driver Not Loaded", "sudo modprobe nvidia"),
        ("no-permission", "Insufficient Permissions", "device cgroup"),
        ("unknown-error", "Unknown Error", "daemon-reload"),
        ("crash", "SIGSYS", ""),
    ],
)
def test_a_failing_nvml_is_an_error_with_its_own_words_and_a_remedy(
    tmp_path: Path, description: str, evidence: str, remedy: str
) -> None:
    host = make_described_host(tmp_path / "host", description)
    with pytest.raises(NvmlError) as refusal:
        query_nvml(nvml_of(host))
    assert evidence in refusal.value.evidence
    assert remedy in refusal.value.remedy
    (warning, *_) = host.take(nvml=True).warnings
    assert evidence in warning
    assert remedy in warning


def test_a_hanging_nvml_is_given_up(tmp_path: Path) -> None:
    host = make_described_host(tmp_path / "host", "hang")
    with pytest.raises(NvmlError, match="gave no answer") as refusal:
        query_nvml(nvml_of(host), timeout_s=0.5)
    assert "0.5 s" in refusal.value.evidence


def test_a_file_that_is_no_library_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "lib").write_text("nothing")
    with pytest.raises(NvmlError, match="cannot be used"):
        query_nvml(str(tmp_path / "lib"))


@pytest.mark.parametrize(
    ("description", "said"),
    [("vanished", ("GPU is lost", "xid")), ("denied", ("Insufficient Permissions", "cgroup"))],
)
def test_a_gpu_that_nvml_will_not_describe_is_dropped_alone_with_its_bus_address(
    tmp_path: Path, description: str, said: tuple[str, ...]
) -> None:
    inventory = make_described_host(tmp_path / "host", description).take(nvml=True)
    assert 1 not in [gpu.nvml_index for gpu in inventory.gpus]
    assert inventory.gpus
    (warning,) = inventory.warnings
    assert warning.startswith("GPU 1 (0000:28:00.0) is left out")
    assert all(word in warning for word in said)


def test_the_inventory_takes_gpus_from_nvml(host: FakeHost) -> None:
    inventory = host.take(nvml=True)
    assert [gpu.name for gpu in inventory.gpus] == ["NVIDIA L4", "Tesla T4"]
    assert [gpu.nodes[0].path for gpu in inventory.gpus] == ["/dev/nvidia0", "/dev/nvidia1"]
    assert inventory.warnings == ()


def test_without_a_working_nvml_the_gpus_come_from_proc(host: FakeHost) -> None:
    silence(host)
    inventory = host.take(nvml=True)
    assert [gpu.name for gpu in inventory.gpus] == ["NVIDIA L4", "Tesla T4"]
    assert [gpu.architecture for gpu in inventory.gpus] == ["", ""]
    assert inventory.cuda_version == "13.0"
    assert "Driver Not Loaded" in inventory.warnings[0]


def test_gpus_that_only_nvml_or_only_the_module_knows_are_named(tmp_path: Path) -> None:
    inventory = make_described_host(tmp_path / "host", "proc-differs").take(nvml=True)
    assert [gpu.minor for gpu in inventory.gpus] == [0, 2]
    unlisted, unknown, without_node = inventory.warnings
    assert "0000:28:00.0" in unlisted
    assert "NVML does not list it" in unlisted
    assert "known to NVML, but not to" in unknown
    assert "/dev/nvidia3 is missing" in without_node


def test_a_gpu_that_a_batch_job_may_not_use_is_no_news(tmp_path: Path) -> None:
    description = describe("two-gpus")
    description["gpus"][0]["nvml"] = False
    host = make_described_host(tmp_path / "host", description)
    host.forbidden.add("/dev/nvidia0")
    inventory = host.take(nvml=True)
    assert [(gpu.nvml_index, gpu.minor) for gpu in inventory.gpus] == [(0, 1)]
    assert inventory.warnings == ()


def test_minors_and_pci_domains_need_not_follow_the_index(tmp_path: Path) -> None:
    first, second = make_described_host(tmp_path / "h", "unusual-numbers").take(nvml=True).gpus
    assert [node.path for node in first.nodes] == [
        "/dev/nvidia3", "/dev/dri/card0", "/dev/dri/renderD130",
    ]  # fmt: skip
    assert [node.path for node in second.nodes][1:] == ["/dev/dri/card3", "/dev/dri/renderD128"]
    assert [link.path.rpartition("/")[2] for link in second.links] == [
        "pci-10000:af:00.0-card",
        "pci-10000:af:00.0-render",
    ]


def test_use_is_read_from_nvml_for_each_gpu(tmp_path: Path) -> None:
    inventory = make_described_host(tmp_path / "host", "eight-gpus").take(nvml=True)
    usage = read_usage(inventory)
    assert len(usage) == 8
    busy, idle = usage[0], usage[1]
    assert (busy.memory_used_bytes >> 30, busy.utilization_percent, busy.process_count) == (
        120,
        97,
        3,
    )
    assert (idle.uuid, idle.memory_used_bytes, idle.process_count) == (inventory.gpus[1].uuid, 0, 0)


def test_use_of_mig_devices_is_listed_with_their_parent(tmp_path: Path) -> None:
    usage = read_usage(make_described_host(tmp_path / "host", "mig").take(nvml=True))
    assert [(one.nvml_index, one.mig_position) for one in usage] == [
        (0, -1), (0, 0), (0, 1), (0, 2), (0, 3), (1, -1), (2, -1), (2, 0), (2, 2), (3, -1),
    ]  # fmt: skip
    assert usage[1].uuid == "MIG-00000010-aaaa-bbbb-cccc-000000000010"
    assert (usage[0].utilization_percent, usage[5].utilization_percent) == (-1, 0)


def test_use_without_nvml_is_an_error_that_names_the_library(tmp_path: Path) -> None:
    with pytest.raises(NvmlError, match="there is no NVML") as refusal:
        read_usage(FakeHost(tmp_path).take())
    assert "libnvidia-ml.so.1" in refusal.value.evidence


class CachedHost:
    """A host with real device nodes, whose inventory is cached below it."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.environment = {"XDG_CACHE_HOME": str(host.base / "cache")}
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
            config_search_paths=("/opt/share",),
        )

    def file(self) -> Path:
        (found,) = (self.host.base / "cache/sampan").glob("driver-*.json")
        return found


@pytest.fixture
def cached(tmp_path: Path) -> CachedHost:
    return CachedHost(make_described_host(tmp_path / "host", "mig", real_nodes=True))


@pytest.mark.parametrize("description", ["two-gpus", "mig", "eight-gpus"])
def test_an_unchanged_host_is_answered_from_the_cache_without_nvml(
    tmp_path: Path, description: str
) -> None:
    cached = CachedHost(make_described_host(tmp_path / "host", description, real_nodes=True))
    first = cached.take()
    assert all(gpu.architecture for gpu in first.gpus)
    silence(cached.host)
    assert cached.take() == first


def replace_library(host: FakeHost) -> None:
    host.add_library(f"/usr/lib64/libnvidia-new.so.{V}", "libnvidia-new.so.1")


def remove_node(host: FakeHost) -> None:
    (host.root / "dev/nvidia1").unlink()


def change_mode(host: FakeHost) -> None:
    (host.root / "dev/nvidia1").chmod(0o600)


def reload_module(host: FakeHost) -> None:
    host.load_module("580.200.01")


def create_mig_device(host: FakeHost) -> None:
    add_mig_device(host, 0, 10, 0)


def destroy_mig_device(host: FakeHost) -> None:
    shutil.rmtree(host.proc / "driver/nvidia/capabilities/gpu0/mig/gi5/ci1")


def replace_compute_instance(host: FakeHost) -> None:
    instance = host.proc / "driver/nvidia/capabilities/gpu0/mig/gi5/ci1"
    kept = instance.rename(instance.with_name("kept"))
    shutil.copytree(kept, instance)
    shutil.rmtree(kept)


def remove_access_node(host: FakeHost) -> None:
    (host.root / f"dev/nvidia-caps/nvidia-cap{instance_minor(0, 5)}").unlink()


def add_imex_channel(host: FakeHost) -> None:
    host.add_node("/dev/nvidia-caps-imex-channels/channel7", 242, 7)


def add_infiniband(host: FakeHost) -> None:
    host.add_node("/dev/infiniband/uverbs0", 231, 192)


def add_dri_node(host: FakeHost) -> None:
    host.add_node("/dev/dri/renderD135", 226, 135)


def add_dri_link(host: FakeHost) -> None:
    host.add_link("/dev/dri/by-path/pci-0000:18:00.0-render", "../renderD135")


def unload_module(host: FakeHost) -> None:
    shutil.rmtree(host.proc / "driver")


def change_gpu(host: FakeHost) -> None:
    host.add_proc("gpus/0000:18:00.0/information", "GPU UUID: GPU-other\nDevice Minor: 0\n")


def add_configuration(host: FakeHost) -> None:
    host.add_file("/usr/share/glvnd/egl_vendor.d/10_nvidia.json")


def add_configuration_elsewhere(host: FakeHost) -> None:
    host.add_file("/opt/share/glvnd/egl_vendor.d/10_nvidia.json")


def reboot(host: FakeHost) -> None:
    boot = host.proc / "sys/kernel/random"
    boot.mkdir(parents=True)
    (boot / "boot_id").write_text("another\n")


@pytest.mark.parametrize(
    "change",
    [replace_library, remove_node, change_mode, reload_module, create_mig_device,
     destroy_mig_device, replace_compute_instance, remove_access_node, add_imex_channel,
     add_infiniband, add_dri_node, add_dri_link, unload_module, change_gpu, add_configuration,
     add_configuration_elsewhere, reboot],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_a_changed_host_is_looked_at_again(cached: CachedHost, change: object) -> None:
    cached.take()
    change(cached.host)  # type: ignore[operator]
    silence(cached.host)
    assert any("Driver Not Loaded" in warning for warning in cached.take().warnings)


def test_an_inventory_without_nvml_is_not_kept(cached: CachedHost) -> None:
    silence(cached.host)
    cached.take()
    install_nvml(cached.host, describe("mig"))
    assert cached.take().gpus[0].architecture == "9.0"


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
    cached: CachedHost, spoil: object
) -> None:
    cached.take()
    spoil(cached.file())  # type: ignore[operator]
    silence(cached.host)
    assert any("Driver Not Loaded" in warning for warning in cached.take().warnings)


def test_an_unwritable_cache_home_costs_nothing_but_time(cached: CachedHost) -> None:
    (cached.host.base / "cache").write_text("a file where the directory should be")
    assert cached.take().gpus[0].architecture == "9.0"


def test_the_cache_needs_a_home() -> None:
    assert locate_cache(["/"], {}) == ""
    assert locate_cache(["/"], {"HOME": "relative"}) == ""
    assert locate_cache(["/"], {"HOME": "/h"}).startswith("/h/.cache/sampan/driver-")
    assert locate_cache(["/"], {"HOME": "/h"}) != locate_cache(["/other"], {"HOME": "/h"})
