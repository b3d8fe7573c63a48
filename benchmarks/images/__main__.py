"""Image in an OCI layout -> runnable: sampan import against what others do.

    python benchmarks/images [--runs 3] [--work DIRECTORY] [--apptainer COMMAND] [--only WORD]

The image (four gzip layers of Debian packages and PyPI wheels, over 1 GB, over 20,000 files) is made
once and kept. Rows are run interleaved; printed are medians, and the wall time's ratio to the first
row. Peak memory is the sum over the process tree, sampled; temporary disk is what the file system
had used at its worst beyond what stays, sampled, so let nothing else write meanwhile.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from statistics import median

from example_image import make_images
from measuring import Measure, measure
from rows import Row, make_rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="of each row")
    parser.add_argument("--work", type=Path, help="where images and results lie")
    parser.add_argument(
        "--apptainer", default="", help="command of apptainer, e.g. scripts/apptainer-sid"
    )
    parser.add_argument("--only", action="append", default=[], help="rows whose name has this word")
    parser.add_argument("--json", type=Path, help="write every measurement there")
    arguments = parser.parse_args()
    work = (arguments.work or _default_work()).absolute()
    work.mkdir(parents=True, exist_ok=True)
    example = make_images(work / "image")
    print(f"image: {example.description}; {len(os.sched_getaffinity(0))} cores\n", flush=True)
    rows, missing = make_rows(example, work, shlex.split(arguments.apptainer))
    if arguments.only:
        rows = [row for row in rows if any(word in row.name for word in arguments.only)]
    for reason in missing:
        print(f"left out: {reason}")
    results: dict[str, list[Measure]] = {row.name: [] for row in rows}
    for number in range(arguments.runs):
        for row in rows:
            row.prepare()
            done = measure(row.command, environment=row.environment, disk=work)
            row.clean()
            results[row.name].append(done)
            print(f"  run {number + 1}: {row.name}: {done.wall:.2f} s", file=sys.stderr, flush=True)
    _print_table(rows, results)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({name: [m._asdict() for m in runs] for name, runs in results.items()})
        )
    return 0


def _default_work() -> Path:
    # Not below the home directory: apptainer runs as another user and must get there.
    path = Path(f"/var/tmp/sampan-benchmarks-{os.getuid()}")
    path.mkdir(mode=0o755, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise SystemExit(f"{path} belongs to somebody else: give --work")
    return path / "images"


def _print_table(rows: list[Row], results: dict[str, list[Measure]]) -> None:
    print(
        f"{'':<46}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}{'temp MB':>9}{'stays MB':>10}{'ratio':>8}"
    )
    ours = 0.0
    for row in rows:
        runs = results[row.name]
        wall = median(run.wall for run in runs)
        ours = ours or wall
        print(
            f"{row.name:<46}{wall:>8.2f}{median(run.cpu for run in runs):>8.2f}"
            f"{median(run.peak for run in runs) / 1e6:>9.0f}"
            f"{median(run.temporary for run in runs) / 1e6:>9.0f}"
            f"{median(run.stays for run in runs) / 1e6:>10.0f}{wall / ours:>8.1f}"
        )


if __name__ == "__main__":
    sys.exit(main())
