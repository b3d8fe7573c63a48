"""Running the real `sampan` in engine tests: a store with a small image, as root or another user.

The ordinary user is a throw-away uid in a private mount namespace that has /dev/fuse and
/dev/net/tun of mode 0666 (the machine's own nodes stay as they are), lets that uid reach this
interpreter, and, when asked, lends it a range of subordinate ids.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ORDINARY_UID = 4242
REPOSITORY = Path(__file__).resolve().parents[2]
USERS = ("root", "ordinary", "ranged")
"""Real root; one uid and no more; a range of subordinate ids."""

_ENTER = """
set -e
mount --make-rprivate /
base=$1; shift
mkdir -p "$base/keep" "$base/dev"
mount -t tmpfs -o mode=0755 tmpfs "$base/dev"
if [ "$SAMPAN_TEST_FUSE" = open ]; then
  mknod -m 0666 "$base/dev/fuse" c 10 229
  mount --bind "$base/dev/fuse" /dev/fuse
fi
if [ -e /dev/net/tun ]; then
  mknod -m 0666 "$base/dev/tun" c 10 200
  mount --bind "$base/dev/tun" /dev/net/tun
fi
for hidden in $SAMPAN_TEST_HIDDEN; do
  top=${hidden%%:*}; inner=${hidden#*:}
  name=$(echo "$inner" | tr / _)
  mkdir -p "$base/keep/$name"
  mount --rbind "$inner" "$base/keep/$name"
  mount -t tmpfs -o mode=0755 tmpfs "$top"
  mkdir -p "$inner"
  mount --rbind "$base/keep/$name" "$inner"
done
if [ -n "$SAMPAN_TEST_RANGE" ]; then
  { cat /etc/passwd; echo "sampantest:x:$SAMPAN_TEST_UID:$SAMPAN_TEST_UID::/:/bin/sh"; } > "$base/dev/passwd"
  echo "sampantest:$SAMPAN_TEST_RANGE" > "$base/dev/subid"
  mount --bind "$base/dev/passwd" /etc/passwd
  for file in /etc/subuid /etc/subgid; do mount --bind "$base/dev/subid" $file; done
fi
exec setpriv --reuid "$SAMPAN_TEST_UID" --regid "$SAMPAN_TEST_UID" --clear-groups --inh-caps=-all "$@"
"""


class EngineHost:
    """A store, a state directory per user, and command lines that use them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.store = base / "store"
        self.image = "testimage"

    def command(
        self, *words: str, user: str = "root", fuse: bool = True, program: Sequence[str] = ()
    ) -> list[str]:
        """The command line of ``sampan WORDS`` (or of another program) as that user."""
        line = [*(program or (sys.executable, "-m", "sampan")), *words]
        if user == "root":
            return line
        settings = [
            f"SAMPAN_TEST_UID={ORDINARY_UID}",
            f"SAMPAN_TEST_FUSE={'open' if fuse else 'closed'}",
            f"SAMPAN_TEST_HIDDEN={' '.join(_hidden_parents())}",
            f"SAMPAN_TEST_RANGE={'300000:65536' if user == 'ranged' else ''}",
        ]
        private = ["unshare", "--mount", "sh", "-c", _ENTER, "sh", str(self.base)]
        return ["env", *settings, *private, *line]

    def environment(self, user: str = "root", **more: str) -> dict[str, str]:
        """The environment that goes with ``command``."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": str(REPOSITORY / "src"),
            "PYTHONWARNINGS": "error",
            "HOME": str(self.home(user)),
            "SAMPAN_STORE": str(self.store),
            "SAMPAN_RUNTIME": str(self.runtime(user)),
            **more,
        }

    def run(
        self, *words: str, user: str = "root", stdin: str | None = None, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run ``sampan WORDS`` to its end."""
        return subprocess.run(
            self.command(*words, user=user, fuse=more.pop("fuse", True)),
            env=self.environment(user, **more.pop("variables", {})),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=more.pop("timeout", 60),
        )

    def start(self, *words: str, user: str = "root", **more: Any) -> "subprocess.Popen[str]":
        """Start ``sampan WORDS`` and go on; the process id is the program's own."""
        streams = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        return subprocess.Popen(
            self.command(*words, user=user),
            env=self.environment(user, **more.pop("variables", {})),
            text=True,
            **{**streams, **more},
        )

    def home(self, user: str) -> Path:
        """The user's home directory."""
        return self._own(self.base / f"home-{user}", user)

    def runtime(self, user: str) -> Path:
        """The user's state directory."""
        return self._own(self.base / f"state-{user}", user)

    def containers(self, user: str) -> list[str]:
        """Ids of the containers on record, found without the program's help."""
        directory = self.runtime(user) / "containers"
        return sorted(entry.name for entry in directory.iterdir()) if directory.exists() else []

    def _own(self, path: Path, user: str) -> Path:
        if not path.exists():
            path.mkdir(mode=0o700)
            if user != "root":
                os.chown(path, ORDINARY_UID, ORDINARY_UID)
        return path


@contextlib.contextmanager
def engine_host() -> Iterator[EngineHost]:
    """A host with ``testimage`` (busybox and a few users) in its store."""
    require_tools()
    base = Path(tempfile.mkdtemp(prefix="sampan-engine-", dir="/tmp"))
    base.chmod(0o755)
    try:
        host = EngineHost(base)
        make_rootfs(base / "rootfs")
        done = host.run("import", str(base / "rootfs"), host.image, "--change", 'CMD ["/bin/sh"]')
        assert done.returncode == 0, done.stderr
        yield host
    finally:
        shutil.rmtree(base, ignore_errors=True)


def require_tools() -> None:
    """Skip where this machine cannot do what the engine tests do, saying what was tried."""
    if os.geteuid() != 0:
        pytest.skip("engine tests make users and namespaces of their own: they need root")
    for program in ("crun", "squashfuse_ll", "busybox", "setpriv", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"unshare --mount true: {tried.stderr.strip()}")


def make_rootfs(root: Path) -> None:
    """A tree with busybox, a few users, a link as /var/run, and a directory nobody else may read."""
    for name in (
        "bin",
        "dev",
        "etc",
        "home/app",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "usr/bin",
        "var",
    ):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "var/run").symlink_to("../run")
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, root / "bin/busybox")
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for applet in listed.stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"
    )
    (root / "etc/group").write_text("root:x:0:\napp:x:1000:\nextra:x:2000:app\n")
    (root / "etc/secret").mkdir(mode=0o700)
    (root / "etc/secret/word").write_text("hidden\n")
    for path in ("home/app",):
        os.chown(root / path, 1000, 1000)


def wait_until(condition: Any, *, what: str, timeout_s: float = 20.0) -> Any:
    """Poll a condition that no event announces; its value once it is true."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.02)


def _hidden_parents() -> list[str]:
    """``parent:directory`` for directories of this interpreter below a parent closed to others."""
    hidden = {}
    for needed in (sys.base_prefix, sys.prefix, str(REPOSITORY / "src")):
        path = Path(needed).resolve()
        for parent in reversed(path.parents):
            if not parent.stat().st_mode & 0o001:
                hidden[str(parent)] = f"{parent}:{path}"
                break
    return list(hidden.values())
