"""Making a damaged store whole: what can be made again is, the rest is set aside, nothing deleted.

Damaged files go to ``quarantine/``, where a prune frees them. Each step can be killed: a pack loses
its index first, an image its record, and what a repair has not reached the next one finds.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sampan.errors import SampanError
from sampan.images.catalogue import (
    IMAGE_SUFFIXES,
    ImageRecord,
    find_record,
    write_record,
)
from sampan.images.documents import DamagedStoreError, read_document, read_json
from sampan.images.examining import Examination, Finding, Progress, examine_store
from sampan.images.facts_json import dump_facts
from sampan.images.pack_file import load_index
from sampan.images.store_access import names_lock, prune_lock, store_errors
from sampan.images.store_layout import PACK_SUFFIXES, StoreLayout, hex_of
from sampan.images.verifying import can_relink, relink
from sampan.kernel.atomic import write_atomic


class Repaired(NamedTuple):
    """What was done about a finding.

    Attributes:
        kind: as of the finding.
        name: likewise.
        action: ``quarantined``, ``linked anew``, ``written anew``.
        problem: what was wrong.
        remedy: what the user should type to have it back; empty when it is back.
    """

    kind: str
    name: str
    action: str
    problem: str
    remedy: str


def repair(
    layout: StoreLayout, *, is_quick: bool, progress: Callable[[Progress], None] = lambda _: None
) -> tuple[Examination, list[Repaired]]:
    """Examine a store and mend what is damaged; waits for running imports to end.

    Args:
        layout: a store that exists.
        is_quick: look at the structure only, so only such damage is mended.
        progress: of the examination.

    Raises:
        StoreError: the store cannot be written.
    """
    with prune_lock(layout), store_errors(layout):
        found = examine_store(layout, is_quick=is_quick, progress=progress)
        with names_lock(layout):
            return found, list(_Repair(layout, found).run())


class _Repair:
    """One repair at work; the store belongs to it."""

    def __init__(self, layout: StoreLayout, found: Examination) -> None:
        self._layout = layout
        self._found = found
        self._names = self._names_of_images()
        self._now = time.strftime("%Y%m%dT%H%M%S")

    def run(self) -> Iterator[Repaired]:
        # Whom a pack belongs to is asked before images go.
        users = self._users_of_packs()
        for finding in self._of("pack"):
            if finding.is_damage:
                self._set_aside(
                    self._layout.pack_file(finding.compression, finding.name, suffix)
                    for suffix in PACK_SUFFIXES
                )
                self._set_aside(self._notes_of(finding))
                ways = users.get((finding.compression, finding.name), [])[:3]
                remedy = f"for push, save and derived images: {' && '.join(ways)}" if ways else ""
                yield self._done(finding, "quarantined", remedy)
        for finding in self._of("note"):
            self._mend_note(finding)
            yield self._done(finding, "written anew", "")
        for finding in self._of("image"):
            if finding.is_damage:
                yield self._mend_image(finding)
        gone = [one for one in self._of("name") if one.is_damage and os.path.lexists(one.path)]
        for finding in gone:
            name = self._name_in(finding.path)
            self._set_aside([finding.path])
            yield self._done(finding, "quarantined", f"sampan pull {name}" if name else "")

    def _of(self, kind: str) -> list[Finding]:
        return [finding for finding in self._found.findings if finding.kind == kind]

    def _done(self, finding: Finding, action: str, remedy: str) -> Repaired:
        return Repaired(finding.kind, finding.name, action, finding.problem, remedy)

    def _set_aside(self, paths: "Iterator[str] | list[str]") -> None:
        os.makedirs(self._layout.quarantine, mode=0o700, exist_ok=True)
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.rename(
                    path, f"{self._layout.quarantine}/{self._now}.{os.path.basename(path)[:200]}"
                )

    def _names_of_images(self) -> dict[str, list[tuple[str, str]]]:
        """Image id -> its names, each with the path of its file."""
        names: dict[str, list[tuple[str, str]]] = {}
        for file_name in sorted(os.listdir(self._layout.refs)):
            path = f"{self._layout.refs}/{file_name}"
            with contextlib.suppress(DamagedStoreError, OSError, KeyError):
                ref = read_json(path) or {}
                names.setdefault(str(ref["image"]), []).append((str(ref["name"]), path))
        return names

    def _users_of_packs(self) -> dict[tuple[str, str], list[str]]:
        """For each pack how the images that have it are made once more."""
        users: dict[tuple[str, str], list[str]] = {}
        for digest, names in sorted(self._names.items()):
            record = self._find_record(digest)
            if record is None:
                continue
            name = names[0][0]
            way = f"sampan rmi -f {name} && {_again(record.source, name)}"
            for layer in record.layers:
                users.setdefault((record.compression, layer.pack), []).append(way)
        return users

    def _notes_of(self, finding: Finding) -> list[str]:
        directory = Path(self._layout.diffs(finding.compression))
        notes = (path for path in directory.iterdir() if not path.name.startswith("."))
        return [str(path) for path in notes if path.read_bytes() == finding.name.encode()]

    def _find_record(self, digest: str) -> ImageRecord | None:
        with contextlib.suppress(DamagedStoreError, OSError, KeyError, TypeError, ValueError):
            return find_record(self._layout, digest)
        return None

    def _mend_note(self, finding: Finding) -> None:
        """Let the note name a good pack with its diffID, or take it away."""
        layout, compression = self._layout, finding.compression
        for name in sorted(os.listdir(layout.packs(compression))):
            if name.endswith(".index") and not name.startswith("."):
                with contextlib.suppress(SampanError, OSError):
                    index = load_index(Path(layout.packs(compression), name))
                    if hex_of(index.diff_id) == finding.name:
                        write_atomic(Path(finding.path), index.digest.encode())
                        return
        self._set_aside([finding.path])

    def _mend_image(self, finding: Finding) -> Repaired:
        layout = self._layout
        names = self._names.get(finding.name, [])
        record = self._find_record(finding.name)
        if record is not None and can_relink(layout, record):
            # It fails where the configuration is damaged too, or a pack that looked good.
            with contextlib.suppress(SampanError):
                self._relink(record, names[0][0] if names else "")
                return self._done(finding, "linked anew", "")
        self._set_aside(layout.image_file(finding.name, suffix) for suffix in IMAGE_SUFFIXES)
        self._set_aside([path for _, path in names])
        source = record.source if record is not None else ""
        remedy = " && ".join(_again(source, name) for name, _ in names)
        return self._done(finding, "quarantined", remedy)

    def _relink(self, record: ImageRecord, name: str) -> None:
        """Make SIF and facts again; the record, which has the size, is written last."""
        layout = self._layout
        config = read_document(layout.image_file(record.digest, "config.json"))
        sif = Path(layout.image_file(record.digest, "sif"))
        _check_configuration(record, config)
        facts = relink(layout, record, config, sif, name)
        write_atomic(Path(layout.image_file(record.digest, "facts.json")), dump_facts(facts))
        write_record(layout, record._replace(size=sif.stat().st_size))

    def _name_in(self, path: str) -> str:
        with contextlib.suppress(DamagedStoreError, OSError):
            return str((read_json(path) or {}).get("name", ""))
        return ""


def _check_configuration(record: ImageRecord, config: bytes) -> None:
    if f"sha256:{hashlib.sha256(config).hexdigest()}" != record.digest:
        raise DamagedStoreError("the configuration of an image is damaged", evidence=record.digest)


def _again(source: str, name: str) -> str:
    if not source or source.startswith("docker://"):
        return f"sampan pull {name}"
    return f"sampan import {source} {name}"
