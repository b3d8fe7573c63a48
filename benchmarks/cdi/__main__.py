"""A CDI document for GPUs: `sampan cdi generate`, against reading the same facts with nvidia-smi.

    python benchmarks/cdi [--runs 21] [--gpus one-gpu|two-gpus|eight-gpus] [--real]

The host is made of directories, with real device nodes and an NVML that answers from a JSON
description (needs root and gcc). `cached` finds the inventory of an unchanged host; `fresh` asks NVML
and searches the driver's files. Rows run interleaved; printed are medians, and after the table where
the milliseconds of one cached run go. With --real the rows run on this machine's own driver, beside
its `nvidia-smi -q -x`; without a driver that row is said to be absent.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

HERE = Path(__file__).resolve().parent
WARM = 2


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=21, help="of each row")
    parser.add_argument(
        "--gpus", default="eight-gpus", help="a description of tests/testdata/mock_nvml"
    )
    parser.add_argument("--real", action="store_true", help="this machine's driver, not a mock")
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="sampan-benchmark-"))
    try:
        roots = {} if arguments.real else make_roots(base / "host", arguments.gpus)
        rows = make_rows(base, roots)
        report(measure_rows(rows, arguments.runs), arguments)
        print_profile(base, roots)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return 0


def make_roots(base: Path, description: str) -> dict[str, str]:
    from support.described_host import make_described_host

    host = make_described_host(base, description, real_nodes=True)
    return {"driver": str(host.root), "proc": str(host.proc), "sys": str(host.sys)}


def plain_environment() -> dict[str, str]:
    """Little, but what finds the modules on a machine without an installation."""
    kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", **kept}


def make_rows(base: Path, roots: dict[str, str]) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Command and environment of each row."""
    program = [sys.executable, str(HERE / "on_host.py"), json.dumps(roots)]
    words = ["generate", "--output", str(base / "cdi" / "nvidia.yaml")]
    plain = plain_environment()
    kept = {**plain, "XDG_CACHE_HOME": str(base / "cache")}
    rows = {
        "python -c pass": ([sys.executable, "-c", "pass"], plain),
        "sampan cdi generate, cached": ([*program, *words], kept),
        "sampan cdi generate, fresh": ([*program, *words], plain),
    }
    if not roots and shutil.which("nvidia-smi"):
        rows["nvidia-smi -q -x"] = (["nvidia-smi", "-q", "-x"], plain)
    return rows


def measure_rows(
    rows: dict[str, tuple[list[str], dict[str, str]]], runs: int
) -> dict[str, list[tuple[float, float]]]:
    """(wall ms, CPU ms) of each run of each row, interleaved."""
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for number in range(WARM + runs):
        for name, (command, environment) in rows.items():
            started = time.monotonic()
            child = subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.monotonic() - started
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                raise SystemExit(f"{name}: exit code {child.returncode}")
            if number >= WARM:
                results[name].append((wall * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3))
    return results


def report(results: dict[str, list[tuple[float, float]]], arguments: argparse.Namespace) -> None:
    peer = results.get("nvidia-smi -q -x")
    where = "this machine's driver" if arguments.real else f"mock: {arguments.gpus}"
    print(f"{where}; {arguments.runs} runs of each, medians in milliseconds")
    print(f"{'':<30}{'wall':>8}{'CPU':>8}{'min wall':>10}{'ratio to nvidia-smi':>21}")
    for name, figures in results.items():
        wall, cpu = median(f[0] for f in figures), median(f[1] for f in figures)
        ratio = f"{wall / median(f[0] for f in peer):.2f}" if peer else "-"
        print(f"{name:<30}{wall:>8.1f}{cpu:>8.1f}{min(f[0] for f in figures):>10.1f}{ratio:>21}")
    if peer is None:
        print("nvidia-smi -q -x: absent; it needs a driver, and --real")


def print_profile(base: Path, roots: dict[str, str]) -> None:
    """The steps of a cached run, the fastest of several for each."""
    environment = {**plain_environment(), "XDG_CACHE_HOME": str(base / "cache")}
    best: dict[str, float] = {}
    for _ in range(9):
        said = subprocess.run(
            [sys.executable, str(HERE / "on_host.py"), json.dumps(roots), "--profile"],
            env=environment, stdout=subprocess.PIPE, check=True,
        ).stdout  # fmt: skip
        for name, value in json.loads(said).items():
            best[name] = min(value, best.get(name, value))
    print("\na cached run, step by step (ms, best of 9)")
    for name, value in best.items():
        print(f"  {name:<44}{value:>7.2f}")
    print(f"  {'together':<44}{sum(best.values()):>7.2f}")


if __name__ == "__main__":
    raise SystemExit(main())
