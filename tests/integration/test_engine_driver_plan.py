"""An import plan becomes what the container sees: mounts, nodes, links, files, variables."""

import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from support.engine_host import USERS, EngineHost, engine_host

pytestmark = pytest.mark.integration

PROGRAM = """
import sys
from pathlib import Path
from sampan.engines import prepare
from sampan.engines.native.foreground import run_in_foreground
from sampan.model.container import ContainerSpec
from sampan.model.plan import ImportPlan, PlannedDevice, PlannedFile, PlannedLink, PlannedMount

plan = ImportPlan(
    mounts=(PlannedMount("/bin/busybox-of-host", "/opt/driver/echo", ("ro", "nosuid", "nodev", "rbind")),),
    devices=(PlannedDevice("/dev/driver0", "/dev/null", 1, 3, 0o666, 0, 0, "rwm"),),
    links=(PlannedLink("/usr/lib/libdriver.so.1", "libdriver.so.5"), PlannedLink("/usr/lib/new/deep.so", "x"),
        PlannedLink("/dev/by-name/here", "../driver0")),
    files=(
        PlannedFile("/etc/ld.so.cache", b"cache", 0o644),
        PlannedFile("/proc/version", b"replaced\\n", 0o444, mount=True),
    ),
    environment=(("NVIDIA_DRIVER_CAPABILITIES", "utility"),),
    additional_gids=(44,),
)
plan = plan._replace(mounts=(plan.mounts[0]._replace(host_path=sys.argv[1]),))
prepare._plan_driver = lambda *_: (plan, ("GPU-1",), ())
script = (
    "cat /etc/ld.so.cache; echo; cat /proc/version;"
    "readlink /usr/lib/libdriver.so.1; readlink /usr/lib/new/deep.so;"
    "/opt/driver/echo tool; echo x > /dev/driver0 && ls -l /dev/driver0 | cut -c1; echo $NVIDIA_DRIVER_CAPABILITIES;"
    "ls -ld /usr/lib/new | cut -c1-10; readlink -f /dev/by-name/here"
)
spec = ContainerSpec("testimage", ("sh", "-c", script), remove=True)
sys.exit(run_in_foreground(prepare.prepare(spec)))
"""


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with engine_host() as made:
        yield made


@pytest.mark.parametrize("user", USERS)
def test_everything_of_a_plan_is_there(host: EngineHost, user: str) -> None:

    busybox = shutil.which("busybox")
    assert busybox is not None
    done = subprocess.run(
        host.command(user=user, program=[sys.executable, "-c", PROGRAM, busybox]),
        env=host.environment(user),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert lines == [
        "cache", "replaced", "libdriver.so.5", "x", "tool", "c", "utility", "drwxr-xr-x",
        "/dev/driver0",
    ]  # fmt: skip
