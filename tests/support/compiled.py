"""Small C programs and libraries that tests compile when the machine has a compiler."""

import shutil
import subprocess
from pathlib import Path

import pytest


def compile_c(source: Path, target: Path, *options: str) -> Path:
    """Compile ``source`` with gcc; the test is skipped where there is none."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed")
    subprocess.run([compiler, "-o", target, source, *options], check=True)
    return target


def compile_library(source: Path, target: Path, soname: str) -> Path:
    """Compile a shared library with a SONAME."""
    return compile_c(source, target, "-shared", "-fPIC", f"-Wl,-soname,{soname}")
