"""What sampan-runtime and sampan-hook add to `runc create` + `runc delete`.

    python benchmarks/dropin [--runs 31] [--gpus one-gpu|two-gpus|eight-gpus]

Needs root, runc and gcc. The host is made of directories, with real device nodes and an NVML that
answers from a JSON description; the drop-ins are installed as `sampan install` does. Rows run
interleaved. CPU is that of all processes of a row, the container's first one and its hooks included:
the benchmark is their reaper. Printed are medians and the best run, what is added to bare runc, and
where the milliseconds go.
"""

import argparse
import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

WARM = 3
LIMIT_MS = 40.0
OURS = "sampan-runtime and sampan-hook"
PR_SET_CHILD_SUBREAPER = 36
PYTHON = ["/usr/bin/python3", "-BIS"]
Times = list[tuple[float, float]]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=31, help="of each row")
    parser.add_argument("--gpus", default="eight-gpus", help="of tests/testdata/mock_nvml")
    arguments = parser.parse_args()
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise SystemExit("prctl: cannot become a reaper")
    base = Path(tempfile.mkdtemp(prefix="sampan-benchmark-", dir="/tmp"))
    try:
        rows = make_rows(base, arguments.gpus)
        # As an engine makes it: a bundle that nobody has edited, a root without links of ours.
        prepare = {OURS: lambda: renew(base)}
        report(measure(rows, prepare, arguments.runs))
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return 0


def make_rows(base: Path, gpus: str) -> dict[str, Callable[[], None]]:
    host = make_host(base, gpus)
    runtime = str(host.runtime)
    plain = host.make_bundle("plain")
    asking = host.make_bundle(
        "asking", NVIDIA_VISIBLE_DEVICES="all", NVIDIA_DRIVER_CAPABILITIES="all"
    )
    pristine = base / "pristine"
    shutil.copytree(asking, pristine, symlinks=True)
    done = host.run(asking)
    if done.returncode:
        raise SystemExit(done.stderr)
    without = base / "without"
    shutil.copytree(asking, without, symlinks=True)
    config = json.loads((asking / "config.json").read_text())
    hook = config["hooks"]["createContainer"][0]
    del config["hooks"]
    (without / "config.json").write_text(json.dumps(config))
    library = str(next((host.prefix / "libexec/sampan").glob("lib-*")))
    hook_library = str(next((host.prefix / "libexec/sampan").glob("hook-*")))
    alone = base / "true.toml"
    alone.write_text(
        host.config.read_text().replace(
            "[nvidia-container-runtime]\n", '[nvidia-container-runtime]\nruntimes = ["true"]\n'
        )
    )
    state = json.dumps({"ociVersion": "1.0.2", "id": "x", "pid": 1, "bundle": str(asking)})
    return {
        "runc": lambda: container("runc", plain, host.environment()),
        "sampan-runtime, nothing asked for": lambda: container(runtime, plain, host.environment()),
        OURS: lambda: container(runtime, asking, host.environment()),
        "runc, the same edits, no hook": lambda: container("runc", without, host.environment()),
        "python3 -BIS -c pass": lambda: spawn([*PYTHON, "-c", "pass"]),
        "  and the imports of the runtime": lambda: spawn(
            [*PYTHON, "-c", f"import sys; sys.path.append({library!r}); import sampan.dropin.runtime"]
        ),
        "  the whole runtime, before `true`": lambda: spawn(
            [runtime, "create", "--bundle", str(asking), "x"],
            {**host.environment(), "NVIDIA_CTK_CONFIG_FILE_PATH": str(alone)},
        ),
        "python3 and the imports of the hook": lambda: spawn(
            [*PYTHON, "-c", f"import sys; sys.path.insert(0, {hook_library!r}); import sampan.dropin.hook"]
        ),
        "  the whole hook": lambda: spawn([hook["path"], *hook["args"][1:]], stdin=state.encode()),
    }  # fmt: skip


def make_host(base: Path, gpus: str) -> Any:
    from support.dropin_host import DropinHost

    (base / "host").mkdir()
    return DropinHost(base / "host", gpus)


def renew(base: Path) -> None:
    """The bundle that asks, as it was before its first start."""
    bundle = base / "host/asking"
    shutil.rmtree(bundle)
    shutil.copytree(base / "pristine", bundle, symlinks=True)


def container(runtime: str, bundle: Path, environment: dict[str, str]) -> None:
    """Create a container and delete it."""
    name = f"sampan-benchmark-{os.getpid()}"
    words = ["create", "--bundle", str(bundle), name]
    spawn([runtime, *words], environment)
    spawn([runtime, "delete", "--force", name], environment)


def spawn(words: list[str], environment: dict[str, str] | None = None, stdin: bytes = b"") -> None:
    """Run a program to its end; what it left behind is reaped by the caller."""
    # No pipes: the container's first process would keep them open.
    with open(os.devnull, "r+b") as nothing, tempfile.TemporaryFile() as said:
        source: object = nothing
        if stdin:
            given = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
            given.write(stdin)
            given.seek(0)
            source = given
        done = subprocess.run(
            words, env=environment, stdin=source, stdout=nothing, stderr=said  # type: ignore[call-overload]
        )  # fmt: skip
        if done.returncode:
            said.seek(0)
            raise SystemExit(f"{words}: {said.read().decode()}")


def nothing() -> None:
    """Prepare nothing."""


def measure(
    rows: dict[str, Callable[[], None]], prepare: dict[str, Callable[[], None]], runs: int
) -> dict[str, Times]:
    """(wall ms, CPU ms) of each run of each row, interleaved."""
    results: dict[str, Times] = {name: [] for name in rows}
    for number in range(WARM + runs):
        for name, run in rows.items():
            prepare.get(name, nothing)()
            before, started = spent(), time.monotonic()
            run()
            wall = time.monotonic() - started
            reap()
            if number >= WARM:
                results[name].append((wall * 1e3, (spent() - before) * 1e3))
    return results


def spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reap() -> None:
    """Wait for orphans, the container's first process among them."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


def report(results: dict[str, Times]) -> None:
    bare = results["runc"]
    print(f"{'':<40}{'wall ms':>9}{'best':>7}{'CPU ms':>9}{'best':>7}{'added CPU':>11}")
    for number, (name, times) in enumerate(results.items()):
        wall, cpu = [one for one, _ in times], [one for _, one in times]
        added = f"{median(cpu) - median(one for _, one in bare):11.1f}" if 0 < number < 4 else ""
        if number == 4:
            print("where they go:")
        print(
            f"{name:<40}{median(wall):>9.1f}{min(wall):>7.1f}{median(cpu):>9.1f}{min(cpu):>7.1f}{added}"
        )
    ours = results[OURS]
    added_ms = median(one for _, one in ours) - median(one for _, one in bare)
    best_ms = min(one for _, one in ours) - min(one for _, one in bare)
    print(f"added CPU: {added_ms:.1f} ms (best runs: {best_ms:.1f}); the limit is {LIMIT_MS:.0f}")


if __name__ == "__main__":
    raise SystemExit(main())
