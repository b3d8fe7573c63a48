"""Preparing a change of an engine's configuration or its undoing; writing it, or taking it back.

Nothing is written before the user has seen the whole difference. After writing, the engine is asked;
if it objects, every file is again what it was.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sampan.engines.configure.edits import Document, join_done, make_edits, take_out
from sampan.engines.configure.json_text import JsonText
from sampan.engines.configure.line_text import ListLines, PairLines
from sampan.engines.configure.plan import EngineConfigurationError, EnginePlan
from sampan.engines.configure.records import (
    FileRecord,
    digest,
    keep_backup,
    load_record,
    record_path,
    save_record,
)
from sampan.engines.configure.targets import (
    Change,
    TargetError,
    decode,
    read_target,
    remove_directories,
    write_target,
)
from sampan.engines.configure.toml_text import TomlText

_SYNTAXES: dict[str, Callable[[str, str], Document]] = {
    "json": JsonText, "toml": TomlText, "pairs": PairLines, "lines": ListLines,
}  # fmt: skip
HEADLINES = {"toml": "# Written by sampan configure; sampan configure --undo takes it away.\n"}


class Prepared(NamedTuple):
    """A change that is ready to be written.

    Attributes:
        changes: files that differ; empty = nothing to do.
        records: what will be recorded of all files of this configuration.
        notes: what was left as it is, in words.
    """

    engine: str
    record: Path
    changes: tuple[Change, ...]
    records: tuple[FileRecord, ...]
    notes: tuple[str, ...] = ()

    def diff(self) -> str:
        """All differences as one unified diff."""
        return "".join(change.diff() for change in self.changes)


def prepare_change(engine: str, plan: EnginePlan, state: Path) -> Prepared:
    """What configuring would change; nothing is written.

    Raises:
        SampanError: a file that we do not touch, or cannot edit.
    """
    record = record_path(state, engine, plan.config)
    known = {one.path: one for one in load_record(record)}
    changes = []
    for file in plan.files:
        before = read_target(file.path)
        if before is None and file.must_exist:
            raise TargetError(
                f"{file.path} does not exist", evidence=f"{engine} would bring it",
                remedy=f"install {engine}, or name its file: --config FILE",
            )  # fmt: skip
        text = decode(file.path, before)
        document = _SYNTAXES[file.syntax](text, file.path)
        done = make_edits(document, file.edits)
        if not done:
            continue
        after = document.text()
        if before is None:
            after = HEADLINES.get(file.syntax, "") + after
        change = Change(file.path, before, after.encode())
        changes.append(change)
        new = FileRecord(file.path, file.syntax, before is not None, "", "", done, ())
        known[file.path] = _joined(known.get(file.path), new, change)
    return Prepared(engine, record, tuple(changes), tuple(known.values()))


def _joined(first: FileRecord | None, new: FileRecord, change: Change) -> FileRecord:
    """The record of a file after a further change; ``backup`` "+" asks for one to be made."""
    new = new._replace(written=digest(change.after or b""))
    if first is None:
        return new._replace(backup="+" if new.existed else "")
    untouched = change.before is not None and digest(change.before) == first.written
    return first._replace(
        written=new.written,
        backup=first.backup if untouched else "",
        done=join_done(first.done, new.done),
    )


def prepare_undo(engine: str, plan_config: str, state: Path) -> Prepared:
    """What undoing would change: the backup comes back where nobody changed the file since, else
    exactly our keys go.

    Raises:
        SampanError: a file that we do not touch, or cannot edit.
    """  # noqa: D205 - one sentence
    record = record_path(state, engine, plan_config)
    changes, notes = [], []
    for one in load_record(record):
        before = read_target(one.path)
        if before is None:
            notes.append(f"{one.path} is gone already")
            continue
        after: bytes | None
        if digest(before) == one.written and not one.existed:
            after = None
        elif digest(before) == one.written and one.backup and (state / one.backup).is_file():
            after = (state / one.backup).read_bytes()
        else:
            document = _SYNTAXES[one.syntax](decode(one.path, before), one.path)
            notes += [f"{one.path}: {left}" for left in take_out(document, one.done)]
            after = document.text().encode()
            if not one.existed and not any(document.values().values()):
                after = None
        if after != before:
            changes.append(Change(one.path, before, after))
    return Prepared(engine, record, tuple(changes), (), tuple(notes))


def apply(prepared: Prepared, check: Callable[[bool], str], now: float) -> tuple[Path, ...]:
    """Keep backups, write all files, ask the engine, record; returns the backups.

    Args:
        prepared: from ``prepare_change`` or ``prepare_undo``.
        check: as in ``EnginePlan``; what it objects to takes everything back.
        now: seconds since the epoch, for the names of backups.

    Raises:
        EngineConfigurationError: the engine objects to its configuration, before or after.
        SampanError: a file changed in between, or cannot be written.
        OSError: no room for a backup.
    """
    objection = check(True)
    if objection:
        raise EngineConfigurationError(
            f"{prepared.engine} does not take its present configuration; nothing was changed",
            evidence=objection, remedy="correct that first",
        )  # fmt: skip
    state = prepared.record.parent
    old_records = load_record(prepared.record)
    backups: dict[str, str] = {}
    made: dict[str, tuple[str, ...]] = {}
    written: list[Change] = []
    try:
        for change in prepared.changes:
            if read_target(change.path) != change.before:
                raise TargetError(f"{change.path} was changed while you read", remedy="try again")
            if change.before is not None:
                backups[change.path] = keep_backup(state, change.path, change.before, now)
        if prepared.records:
            # Before the files: what a crash leaves half done can be undone.
            _record(prepared, backups, made)
        for change in prepared.changes:
            written.append(change)
            made[change.path] = write_target(change.path, change.after)
        objection = check(False)
        if objection:
            raise EngineConfigurationError(
                f"{prepared.engine} does not take the change; every file is again what it was",
                evidence=objection,
            )
        _record(prepared, backups, made)
    except BaseException:
        for change in reversed(written):
            # A file that could not be written still is what it was.
            with contextlib.suppress(TargetError):
                if read_target(change.path) != change.before:
                    write_target(change.path, change.before)
            remove_directories(made.get(change.path, ()))
        with contextlib.suppress(OSError):
            save_record(prepared.record, prepared.engine, old_records)
        raise
    if not prepared.records:
        for one in old_records:
            remove_directories(one.directories)
    return tuple(state / name for name in backups.values())


def _record(prepared: Prepared, backups: dict[str, str], made: dict[str, tuple[str, ...]]) -> None:
    records = tuple(
        one._replace(
            backup=backups[one.path] if one.backup == "+" else one.backup,
            directories=(*one.directories, *made.get(one.path, ())),
        )
        for one in prepared.records
    )
    save_record(prepared.record, prepared.engine, records)


def forget(prepared: Prepared) -> None:
    """Drop the record of a configuration that has nothing left of ours."""
    for one in load_record(prepared.record):
        remove_directories(one.directories)
    save_record(prepared.record, prepared.engine, ())
