"""Debian sid's apptainer as an ordinary user, with a directory of ours that it sees."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "apptainer-sid"


class Apptainer:
    """Calls it; ``directory`` is where both sides find their files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, *words: "str | Path") -> "subprocess.CompletedProcess[str]":
        """What came of a command line."""
        keys = f"APPTAINER_KEYSDIR={self.directory}/keys"
        return subprocess.run(
            [SCRIPT, *words],
            cwd=self.directory,
            capture_output=True,
            text=True,
            env={**os.environ, "SAMPAN_CHROOT_ENV": keys},
        )

    def __call__(self, *words: "str | Path") -> str:
        """Standard output of a command line that must succeed."""
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout


@contextlib.contextmanager
def apptainer_peer() -> Iterator[Apptainer]:
    """Skips, and says why, where it cannot be started."""
    # Not pytest's own temporary directory: that one is closed to other users.
    visible = Path(tempfile.mkdtemp(prefix="sampan-apptainer-"))
    try:
        visible.chmod(0o755)
        peer = Apptainer(visible)
        probe = peer.run("version")
        if probe.returncode != 0:
            said = (probe.stderr or probe.stdout).strip().splitlines()
            pytest.skip(
                f"apptainer cannot be started here: {said[-1] if said else probe.returncode}"
            )
        yield peer
    finally:
        shutil.rmtree(visible)
