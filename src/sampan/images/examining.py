"""Looking through a whole store: packs, images, names, notes, left-overs (``sampan store check``)."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sampan.images.catalogue import IMAGE_SUFFIXES, find_record
from sampan.images.documents import DamagedStoreError, read_json
from sampan.images.store_layout import COMPRESSIONS, PACK_SUFFIXES, StoreLayout, escape_name, hex_of
from sampan.images.verifying import ExamineTask, Verdict, examine
from sampan.kernel.workers import run_tasks
from sampan.model.reference import ImageNameError, is_hex, parse_reference

_WORTH_PROCESSES = 64 << 20
"""Bytes of a store that repay the start of worker processes."""


NOT_COMPARED = "{}, so its contents could not be compared"
"""What is said of an image of which only the structure was looked at."""


class Finding(NamedTuple):
    """Something in the store that is not as it should be, or could not be looked at.

    Attributes:
        kind: ``pack``, ``image``, ``name``, ``note`` (which pack has a diffID), ``left-over``.
        name: digest, name, or the file's name.
        problem: in words.
        is_damage: it must be repaired; else it is a remark.
        path: of the file, for names, notes and left-overs; of a pack its index.
        compression: of a pack or a note.
    """

    kind: str
    name: str
    problem: str
    is_damage: bool
    path: str = ""
    compression: str = ""


class Progress(NamedTuple):
    """How far an examination is: packs and images done of all, and bytes read."""

    done: int
    total: int
    read: int


class Examination(NamedTuple):
    """What was looked at and what was found."""

    packs: int
    images: int
    names: int
    findings: tuple[Finding, ...]

    @property
    def damage(self) -> tuple[Finding, ...]:
        """What must be repaired."""
        return tuple(finding for finding in self.findings if finding.is_damage)


def examine_store(
    layout: StoreLayout,
    *,
    is_quick: bool,
    processes: int | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Examination:
    """Look at everything in a store that exists. Writes at most one temporary file a process.

    Args:
        layout: the store; the caller keeps prunes away.
        is_quick: structure only: nothing is decompressed, hashed or linked.
        processes: at most so many; None = one a core.
        progress: called by this thread.

    Raises:
        WorkerError: a worker process died.
        OSError: a directory of the store cannot be read.
    """
    packs = [(c, digest) for c in COMPRESSIONS for digest in _digests(layout.packs(c), ".index")]
    images = _digests(layout.images, ".record.json")
    names = _names_in(layout.refs)
    crew = _Crew(len(packs) + len(images), processes, progress)

    tasks = [ExamineTask(layout, digest, c, is_quick) for c, digest in packs]
    verdicts = dict(zip(packs, crew.run(tasks), strict=True))
    bad = {pack for pack, verdict in verdicts.items() if verdict.problem}
    findings = [
        _judge("pack", digest, verdict, layout.pack_file(c, digest, "index"), c)
        for (c, digest), verdict in verdicts.items()
        if verdict.problem or verdict.remark
    ]
    # An image whose packs are damaged cannot be held against them.
    orphans = {digest for digest in images if bad and _needs(layout, digest, bad)}
    tasks = [ExamineTask(layout, digest, "", is_quick or digest in orphans) for digest in images]
    for digest, found in zip(images, crew.run(tasks), strict=True):
        verdict = found
        if digest in orphans and not (found.problem or found.remark):
            verdict = found._replace(remark=NOT_COMPARED.format("a layer of it is damaged"))
        if verdict.problem or verdict.remark:
            findings.append(_judge("image", digest, verdict))
    for name in names:
        findings += _examine_name(layout, name)
    for compression in COMPRESSIONS:
        known = {
            pack[1]: verdict.diff_id
            for pack, verdict in verdicts.items()
            if pack[0] == compression and pack not in bad
        }
        findings += _examine_notes(layout, compression, known)
    findings += _find_left_overs(layout)
    return Examination(len(packs), len(images), len(names), tuple(findings))


class _Crew:
    """Runs tasks, in worker processes where that pays, and counts what they have read."""

    def __init__(
        self, total: int, processes: int | None, progress: Callable[[Progress], None]
    ) -> None:
        self._total = total
        self._done = 0
        self._read = 0
        self._processes = processes or len(os.sched_getaffinity(0))
        self._progress = progress

    def run(self, tasks: Sequence[ExamineTask]) -> list[Verdict]:
        size = 0 if any(task.is_quick for task in tasks) else sum(map(_size_of, tasks))
        if self._processes < 2 or len(tasks) < 2 or size < _WORTH_PROCESSES:
            return [self._run_here(task) for task in tasks]
        # The largest first, so that no worker begins it when the others are done.
        order = sorted(range(len(tasks)), key=lambda at: -_size_of(tasks[at]))
        verdicts = run_tasks(
            examine,
            [tasks[at] for at in order],
            processes=self._processes,
            progress=lambda _, read: self._hear(read),
            finished=lambda _: self._finish(),
        )
        by_position = dict(zip(order, verdicts, strict=True))
        return [by_position[at] for at in range(len(tasks))]

    def _run_here(self, task: ExamineTask) -> Verdict:
        verdict = examine(task, self._hear)
        self._finish()
        return verdict

    def _hear(self, read: int) -> None:
        self._read += read
        self._progress(Progress(self._done, self._total, self._read))

    def _finish(self) -> None:
        self._done += 1
        self._hear(0)


def _size_of(task: ExamineTask) -> int:
    layout, digest, compression, _ = task
    path = (
        layout.pack_file(compression, digest, "pack")
        if compression
        else layout.image_file(digest, "sif")
    )
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _needs(layout: StoreLayout, digest: str, bad: set[tuple[str, str]]) -> bool:
    with contextlib.suppress(DamagedStoreError, OSError, KeyError, TypeError, ValueError):
        record = find_record(layout, digest)
        return record is not None and any(
            (record.compression, layer.pack) in bad for layer in record.layers
        )
    return False


def _judge(
    kind: str, name: str, verdict: Verdict, path: str = "", compression: str = ""
) -> Finding:
    is_damage = bool(verdict.problem)
    return Finding(kind, name, verdict.problem or verdict.remark, is_damage, path, compression)


def _digests(directory: str, suffix: str) -> list[str]:
    return [
        f"sha256:{name.removesuffix(suffix)}"
        for name in _names_in(directory)
        if name.endswith(suffix) and _is_digest(name.removesuffix(suffix))
    ]


def _is_digest(digits: str) -> bool:
    return len(digits) == 64 and is_hex(digits)


def _names_in(directory: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except FileNotFoundError:
        return []


def _examine_name(layout: StoreLayout, file_name: str) -> Iterator[Finding]:
    path = f"{layout.refs}/{file_name}"
    problem = ""
    try:
        ref = read_json(path) or {}
        reference = parse_reference(str(ref["name"]))
        image = str(ref["image"])
        if escape_name(reference) != file_name:
            problem = f"{path}: it says that it is {reference}"
        elif not os.path.exists(layout.image_home(image).image_file(image, "record.json")):
            problem = f"{path}: the image that it means is gone: {image}"
    except (DamagedStoreError, ImageNameError, OSError, KeyError) as error:
        problem = f"{path}: {getattr(error, 'evidence', '') or error}"
    if problem:
        yield Finding("name", file_name.replace("+", "/"), problem, True, path)


def _examine_notes(
    layout: StoreLayout, compression: str, diff_ids: dict[str, str]
) -> Iterator[Finding]:
    noted = set()
    for name in _names_in(layout.diffs(compression)):
        path = Path(layout.diffs(compression), name)
        pack = path.read_bytes()[:80].decode("ascii", "replace")
        noted.add(f"sha256:{name}")
        found = diff_ids.get(pack)
        if found is None and os.path.exists(layout.pack_file(compression, pack, "index")):
            # The pack is damaged, which is said already.
            continue
        if found != f"sha256:{name}":
            problem = f"{path}: it names pack {pack[:19]}, which "
            problem += "is not there" if found is None else f"has diffID {found[:19]}"
            yield Finding("note", name, problem, True, str(path), compression)
    for pack, diff_id in diff_ids.items():
        if diff_id not in noted:
            path = Path(layout.diffs(compression), hex_of(diff_id))
            # No damage: the layer is found by its digest all the same.
            problem = f"{path}: the note of pack {pack[:19]} is missing"
            yield Finding("note", hex_of(diff_id), problem, False, str(path), compression)


def _find_left_overs(layout: StoreLayout) -> Iterator[Finding]:
    places = {layout.images: ("record.json", IMAGE_SUFFIXES), layout.refs: ("", ())}
    for compression in COMPRESSIONS:
        places[layout.packs(compression)] = ("index", PACK_SUFFIXES)
        places[layout.diffs(compression)] = ("", ())
    for directory, (marker, suffixes) in places.items():
        try:
            names = set(os.listdir(directory))
        except FileNotFoundError:
            continue
        for name in sorted(names):
            stem, _, suffix = name.partition(".")
            problem = ""
            if name.startswith(".tmp-"):
                problem = "an interrupted import left it, or one at work has it open"
            elif marker and f"{stem}.{marker}" not in names:
                problem = f"{stem[:12]}.{marker} is missing, so nothing uses it"
            elif suffixes and (suffix not in suffixes or not _is_digest(stem)):
                problem = "nothing of Sampan's has such a name"
            if problem:
                yield Finding("left-over", name, problem, False, f"{directory}/{name}")
    # What was kept of layers (partial/) is no left-over: the next pull goes on with it.
