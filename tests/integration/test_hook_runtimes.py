"""crun and runc run the installed hook at createContainer, also in a user namespace of the container's."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.dropin.stub import install_hook
from sampan.model.hook import (
    ENVIRONMENT,
    STAGE,
    HookLibrary,
    HookLink,
    HookRequest,
    render_hook_arguments,
)
from support.small_root import SmallRoot

pytestmark = pytest.mark.integration
FIRST_ID = 300_000
REQUEST = HookRequest(
    libraries=(HookLibrary("x86_64", "/opt/driver", "libwho.so.5.1", ("libwho.so.5",)),),
    links=(HookLink("/opt/driver/libwho.so", "libwho.so.5"),),
    params=True,
    application_profile=True,
)
NAMESPACES = ("pid", "mount", "ipc", "uts", "network")


class Bundle:
    """A bundle whose program opens a library that only the hook makes known."""

    def __init__(self, base: Path, hook: str) -> None:
        self.base = base
        self.hook = hook
        self.root = SmallRoot(base / "rootfs")
        self.root.add_library("/opt/driver/libwho.so.5.1", 42, "libwho.so.5")

    def config(self, *, mapped: bool, read_only: bool) -> dict[str, Any]:
        kinds = [*NAMESPACES, *(["user"] if mapped else [])]
        linux: dict[str, Any] = {"namespaces": [{"type": kind} for kind in kinds]}
        if mapped:
            for name in ("uidMappings", "gidMappings"):
                linux[name] = [{"containerID": 0, "hostID": FIRST_ID, "size": 65536}]
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0}, "cwd": "/",
                "args": ["/program", "libwho.so.5", "libwho.so", "/etc/nvidia"],
                "env": ["LD_PRELOAD=/evil.so", "PYTHONHOME=/", "PATH=/"],
            },
            "root": {"path": "rootfs", "readonly": read_only},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            ],
            "linux": linux,
            "hooks": {
                STAGE: [{"path": self.hook, "args": list(render_hook_arguments(REQUEST)),
                         "env": list(ENVIRONMENT)}],
            },
        }  # fmt: skip

    def run(self, runtime: str, **choices: bool) -> "subprocess.CompletedProcess[str]":
        (self.base / "config.json").write_text(json.dumps(self.config(**choices)))
        if choices["mapped"]:
            subprocess.run(
                ["chown", "-R", f"{FIRST_ID}:{FIRST_ID}", str(self.base / "rootfs")], check=True
            )
        words = [runtime, "--root", str(self.base / "state")]
        words += ["--cgroup-manager=disabled"] if runtime == "crun" else []
        script = (
            "mount --make-rprivate /; if mountpoint -q /sys/fs/cgroup/unified;"
            ' then umount -l /sys/fs/cgroup/unified; fi; exec "$@"'
        )
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh",
             *words, "run", "--bundle", str(self.base), f"sampan-hook-{os.getpid()}"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture
def bundle() -> Iterator[Bundle]:
    if os.geteuid() != 0:
        pytest.skip("raw containers of the tests need root")
    base = Path(tempfile.mkdtemp(prefix="sampan-runtime-", dir="/tmp"))
    base.chmod(0o755)
    yield Bundle(base, install_hook(str(base / "hook")))
    shutil.rmtree(base)


@pytest.mark.parametrize("read_only", [False, True], ids=["writable", "read-only"])
@pytest.mark.parametrize("mapped", [False, True], ids=["same ids", "user namespace"])
@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_the_hook_works_below_a_runtime(
    bundle: Bundle, runtime: str, mapped: bool, read_only: bool
) -> None:
    if shutil.which(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    for _ in range(2):
        done = bundle.run(runtime, mapped=mapped, read_only=read_only)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["libwho.so.5 42", "libwho.so 42", "/etc/nvidia absent"]
        assert "evil" not in done.stderr.replace("object '/evil.so' from LD_PRELOAD", "")


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_a_hook_that_cannot_work_keeps_the_container_from_starting(
    bundle: Bundle, runtime: str
) -> None:
    if shutil.which(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    config = bundle.config
    bundle.config = lambda **choices: {  # type: ignore[method-assign]
        **config(**choices),
        "hooks": {STAGE: [{"path": bundle.hook, "args": ["sampan-hook", "prestart"],
                           "env": list(ENVIRONMENT)}]},
    }  # fmt: skip
    done = bundle.run(runtime, mapped=False, read_only=False)
    assert done.returncode != 0
    assert done.stdout == ""
