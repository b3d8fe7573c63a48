"""Image in a registry -> runnable: sampan pull against what others do.

    python benchmarks/pull [--runs 3] [--only WORD] [--layers gzip|zstd] [--json FILE]
    python benchmarks/pull --link 1gbit|100mbit      the registry behind a slow link, beside curl
    python benchmarks/pull --changed-layer           an image whose top layer changed, after the first
    python benchmarks/pull --sizes 100M,1G,3G,10G    ours alone, by size (the last needs 30 GB of disk)

The registry is Debian's docker-registry on loopback. The image (four gzip layers of Debian packages
and PyPI wheels, over 1 GB, over 20,000 files) is made once and kept. Peers that Debian 12 lacks run in
chroots (scripts/engines-sid, scripts/apptainer-sid), which are entered, and whose daemons are started,
before the clock is. Stores are emptied between runs; rows run interleaved; printed are medians, and the
wall time's ratio to ours. Needs root. What "peak" and "written" are: held.py. Apptainer is an ordinary
user there; all others are root.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "images"))
sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))

from example_image import ExampleImage, make_images
from held import CommandFailedError, Measure, measure
from link import LINKS, Link, open_link
from sized_images import make_sized_image, parse_size
from ways import Way, make_ways

from support.registries import docker_registry

TAGS = ("base", "derived", "changed")
OURS = "sampan pull"
Results = dict[str, list[Measure]]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="of each row")
    parser.add_argument("--work", type=Path, help="where images and stores lie")
    parser.add_argument("--only", action="append", default=[], help="rows whose name has this word")
    parser.add_argument(
        "--layers", choices=("gzip", "zstd"), default="gzip", help="in the registry"
    )
    parser.add_argument("--json", type=Path, help="write every measurement there")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--link", choices=sorted(LINKS), help="put the registry behind it")
    what.add_argument("--changed-layer", action="store_true", help="what one new top layer costs")
    what.add_argument("--sizes", metavar="SIZE,...", help="time and memory by size")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("root is needed: docker's daemon, chroots, and the figures of both")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # So that nothing is left behind: stores are gigabytes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # The image is shared with benchmarks/images.
    work = (arguments.work or Path(f"/var/tmp/sampan-benchmarks-{os.getuid()}/images")).absolute()
    work.mkdir(mode=0o755, parents=True, exist_ok=True)
    example = make_images(work / "image")
    load = os.getloadavg()[0]
    print(
        f"image: {example.description}\nmachine: {len(os.sched_getaffinity(0))} cores, "
        f"Linux {os.uname().release}, load {load:.1f} before we began\n",
        flush=True,
    )
    ways, missing = make_ways(work)
    for reason in missing:
        print(f"left out: {reason}")
    if arguments.only:
        ways = [way for way in ways if any(word in way.name for word in arguments.only)]
    elif arguments.sizes or arguments.link:
        ways = [way for way in ways if way.name == OURS]
    scratch = Path(tempfile.mkdtemp(prefix="registry-", dir=work))
    try:
        if arguments.sizes:
            results = by_size(example, scratch, ways, arguments.sizes.split(","), arguments.runs)
        else:
            with _registry(scratch, example.layout, TAGS, arguments.layers) as host:
                if arguments.changed_layer:
                    results = changed_layer(host, ways, arguments.runs)
                elif arguments.link:
                    blobs = _layer_blobs(host)
                    link = LINKS[arguments.link]
                    results = over_link(host, ways, arguments.runs, link, blobs)
                else:
                    results = interleave(ways, host, arguments.runs)
                    print_table(results)
    finally:
        shutil.rmtree(scratch)
        for way in ways:
            way.clear()
            shutil.rmtree(way.store)
    if arguments.json:
        everything = {name: [one._asdict() for one in runs] for name, runs in results.items()}
        arguments.json.write_text(json.dumps({"load": load, "rows": everything}, indent=1))
    return 0


def interleave(ways: list[Way], host: str, runs: int) -> Results:
    """First pulls, each way in turn; a way that fails is left out from then on."""
    results: Results = {way.name: [] for way in ways}
    failed = set()
    for number in range(runs):
        for way in ways:
            if way.name in failed:
                continue
            way.clear()
            done = _pull(way, host, "base", f"run {number + 1}")
            way.clear()
            if done is None:
                failed.add(way.name)
            else:
                results[way.name].append(done)
    return {name: done for name, done in results.items() if done}


def over_link(
    host: str, ways: list[Way], runs: int, link: Link, blobs: list[tuple[str, int]]
) -> Results:
    """First pulls through a link, beside curl fetching the same layers through it."""
    size = sum(size for _, size in blobs)

    def curl(host: str, _: str) -> list[str]:
        urls = [
            word
            for digest, _ in blobs
            for word in ("-o", "/dev/null", f"http://{host}/v2/bench/blobs/{digest}")
        ]
        return ["curl", "-sSfZ", *urls]

    store = ways[0].store.with_name("curl")
    with open_link(host, link) as far:
        results = interleave([*ways, Way("curl, the layers alone", curl, store, {})], far, runs)
    shutil.rmtree(store)
    print_table(results)
    print(
        f"\n{size / 1e6:.0f} MB at {link.bits_per_second / 1e6:.0f} Mbit/s and "
        f"{link.round_trip_s * 1e3:.0f} ms: {link.transfer_s(size):.2f} s by calculation"
    )
    return results


def changed_layer(host: str, ways: list[Way], runs: int) -> Results:
    """An image, then the same with another top layer into the same store."""
    results: Results = {}
    for number in range(runs):
        for way in ways:
            way.clear()
            for word, tag in (("first", "derived"), ("changed", "changed")):
                done = _pull(way, host, tag, f"run {number + 1}, {word}")
                if done is None:
                    break
                results.setdefault(f"{way.name}: {word}", []).append(done)
            way.clear()
    print(f"{'':<30}{'first s':>10}{'changed s':>10}{'ratio':>8}{'written MB':>12}")
    for way in ways:
        first, changed = (results.get(f"{way.name}: {tag}") for tag in ("first", "changed"))
        if first and changed:
            before, after = (median(one.wall for one in runs) for runs in (first, changed))
            written = median(one.written for one in changed) / 1e6
            print(
                f"{way.name:<30}{before:>10.2f}{after:>10.2f}{before / after:>8.1f}{written:>12.1f}"
            )
    return results


def by_size(
    example: ExampleImage, scratch: Path, ways: list[Way], sizes: list[str], runs: int
) -> Results:
    """Images of several sizes and one shape, one after another: disk for the largest alone."""
    everything: Results = {}
    print(
        f"{'':<30}{'GB':>7}{'files':>9}{'wall s':>8}{'s/GB':>7}{'CPU s':>8}{'peak MB':>9}"
        f"{'written MB':>12}"
    )
    for text in sizes:
        image = make_sized_image(example.merged, scratch / "layout", parse_size(text))
        with _registry(scratch, image.layout, ("base",), "gzip") as host:
            shutil.rmtree(image.layout)
            results = interleave(ways, host, runs)
        shutil.rmtree(scratch / "registry")
        for name, done in results.items():
            wall = median(one.wall for one in done)
            gigabytes = image.bytes / 1e9
            print(
                f"{f'{name}, {text}':<30}{gigabytes:>7.2f}{image.files:>9,}{wall:>8.2f}"
                f"{wall / gigabytes:>7.2f}{median(one.cpu for one in done):>8.2f}"
                f"{max(one.peak for one in done) / 1e6:>9.0f}"
                f"{median(one.written for one in done) / 1e6:>12.0f}",
                flush=True,
            )
            everything[f"{name}, {text}"] = done
    return everything


def print_table(results: Results) -> None:
    """Medians, and the ratio to the first row."""
    print(
        f"{'':<30}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}{'written MB':>12}{'stays MB':>10}{'ratio':>7}"
    )
    ours = 0.0
    for name, runs in results.items():
        wall = median(one.wall for one in runs)
        ours = ours or wall
        peak, written, stays = (median(one[column] for one in runs) / 1e6 for column in range(2, 5))
        print(
            f"{name:<30}{wall:>8.2f}{median(one.cpu for one in runs):>8.2f}{peak:>9.0f}"
            f"{written:>12.0f}{stays:>10.0f}{wall / ours:>7.2f}"
        )


def _pull(way: Way, host: str, tag: str, said: str) -> Measure | None:
    try:
        done = measure(
            way.command(host, tag),
            outer=way.outer,
            environment=way.environment,
            places=[way.store],
        )
    except CommandFailedError as error:
        print(f"left out: {way.name}: {error}", flush=True)
        return None
    print(f"  {said}: {way.name}: {done.wall:.2f} s", file=sys.stderr, flush=True)
    return done


@contextlib.contextmanager
def _registry(scratch: Path, layout: Path, tags: tuple[str, ...], layers: str) -> Iterator[str]:
    with docker_registry(scratch / "registry") as host:
        for tag in tags:
            options = [] if layers == "gzip" else ["--dest-compress-format", "zstd"]
            subprocess.run(
                ["skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", *options,
                 f"oci:{layout}:{tag}", f"docker://{host}/bench:{tag}"],
                check=True,
            )  # fmt: skip
        # What pulls first would else pay for the disk.
        for blob in scratch.rglob("data"):
            if blob.is_file():
                subprocess.run(["cat", str(blob)], stdout=subprocess.DEVNULL, check=True)
        yield host


def _layer_blobs(host: str) -> list[tuple[str, int]]:
    command = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{host}/bench:base"]
    manifest: dict[str, Any] = json.loads(subprocess.check_output(command))
    return [(one["digest"], one["size"]) for one in manifest["layers"]]


if __name__ == "__main__":
    sys.exit(main())
