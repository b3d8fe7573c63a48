"""Every path that a plan writes, with whatever a hostile image has there: only the upper layer changes."""

import os
import stat
from pathlib import Path

import pytest

from sampan.engines.native.upper import UpperLayer
from sampan.injection.plan import plan_import
from sampan.model.inventory import CAPABILITIES
from sampan.model.plan import ImportPlan
from sampan.model.request import Request
from support.described_host import make_described_host
from support.hostile import ODD_KINDS, plant, take_snapshot
from support.plan_facts import make_facts


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> ImportPlan:
    """Of a host with two GPUs, with everything that can be asked for."""
    host = make_described_host(tmp_path_factory.mktemp("machine"), "two-gpus")
    host.add_file(
        "/usr/share/vulkan/icd.d/nvidia_icd.json",
        b'{"ICD": {"library_path": "/x/libGLX_nvidia.so.0"}}',
    )
    inventory = host.take(nvml=True)
    request = Request(True, ("all",), None, tuple(sorted(CAPABILITIES)), "test")
    made = plan_import(inventory, request, make_facts(), inventory.gpus)
    written = {file.path for file in made.files if not file.mount}
    assert {"/etc/ld.so.cache", "/etc/OpenCL/vendors/nvidia.icd"} <= written
    assert any(path.startswith("/etc/nvidia/") for path in written)
    assert any(link.path.startswith("/usr/lib/x86_64-linux-gnu/") for link in made.links)
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    place = tmp_path / "host"
    (place / "vendors").mkdir(parents=True)
    for name in ("ld.so.cache", "libcuda.so", "nvidia.icd", "vendors/nvidia.icd"):
        (place / name).write_text("the host's\n")
    return place


def written_places(plan: ImportPlan) -> list[tuple[str, bool]]:
    """Each path that the plan writes (True), and every directory on the way there."""
    paths = [file.path for file in plan.files if not file.mount]
    paths += [link.path for link in plan.links if not link.path.startswith("/dev/")]
    places = dict.fromkeys(paths, True)
    for path in paths:
        while path := path.rpartition("/")[0]:
            places.setdefault(path, False)
    return sorted(places.items())


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_odd_things_at_each_path_of_the_plan_are_covered_and_never_followed(
    plan: ImportPlan, outside: Path, tmp_path: Path, kind: str
) -> None:
    before = take_snapshot(outside)
    for number, (place, _) in enumerate(written_places(plan)):
        lower, upper = tmp_path / f"lower{number}", tmp_path / f"upper{number}"
        upper.mkdir()
        try:
            plant(lower / place.lstrip("/"), kind, outside)
        except PermissionError:
            pytest.skip("device nodes cannot be made here (mknod: operation not permitted)")
        image = take_snapshot(lower)
        with UpperLayer(str(lower), str(upper)) as layer:
            for link in plan.links:
                if not link.path.startswith("/dev/"):
                    layer.write_link(link)
            for file in plan.files:
                if not file.mount:
                    layer.write_file(file)
        for file in plan.files:
            if not file.mount:
                status = (upper / file.path.lstrip("/")).lstat()
                assert stat.S_ISREG(status.st_mode), file.path
        for link in plan.links:
            if not link.path.startswith("/dev/"):
                assert os.readlink(upper / link.path.lstrip("/")) == link.target
        assert {path: found[:3] for path, found in take_snapshot(lower).items()} == {
            path: found[:3] for path, found in image.items()
        }
        assert take_snapshot(outside) == before, place


def test_directories_of_an_image_that_give_rights_away_do_so_in_the_container_alone(
    plan: ImportPlan, tmp_path: Path
) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "etc/OpenCL").mkdir(parents=True)
    (lower / "etc").chmod(0o6777)
    upper.mkdir(mode=0o700)
    top = tmp_path.stat().st_mode
    with UpperLayer(str(lower), str(upper)) as layer:
        for file in plan.files:
            if not file.mount:
                layer.write_file(file)
    assert stat.S_IMODE((upper / "etc").stat().st_mode) == 0o6777
    for file in plan.files:
        if not file.mount:
            assert stat.S_IMODE((upper / file.path.lstrip("/")).stat().st_mode) & 0o7022 == 0
    assert tmp_path.stat().st_mode == top
