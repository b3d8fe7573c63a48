"""SIF files made for tests, by our own writer around what mksquashfs writes."""

import subprocess
from pathlib import Path

from sampan.images.sif import plan_sif, render_sif_front

DEFINITION = b"bootstrap: docker\nfrom: example.org/a:1\n"
CONFIG = b'{"Cmd":["sh"],"Labels":{"kept":"in the configuration"}}'


def make_squashfs(tree: Path, target: Path, *options: str) -> Path:
    """What mksquashfs makes of a tree; all files are root's."""
    subprocess.run(
        ["mksquashfs", tree, target, "-noappend", "-quiet", "-no-progress", "-all-root", *options],
        check=True,
        capture_output=True,
    )
    return target


def make_sif(target: Path, squashfs: bytes, *, architecture: str = "amd64") -> Path:
    """A SIF with a definition, a configuration and a root file system."""
    front = render_sif_front(
        plan_sif(DEFINITION, CONFIG), len(squashfs), architecture, bytes(range(16))
    )
    target.write_bytes(front + squashfs)
    return target


def described_tree(root: Path) -> Path:
    """A root file system with what Apptainer looks for in it."""
    home = root / ".singularity.d"
    (home / "env").mkdir(parents=True)
    (home / "labels.json").write_text('{"maintainer": "me", "version": "2"}')
    (home / "runscript").write_text("#!/bin/sh\n\techo tab\n")
    (home / "env/10-docker2singularity.sh").write_text("export A=1\n")
    (home / "env/90-environment.sh").write_text("export B=2\n")
    (home / "env/99-base.sh").write_text("# a scaffold\n")
    return root
