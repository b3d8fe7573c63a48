"""``sampan images``: the images of the store."""

import argparse
import json
import os
import time
from datetime import datetime
from typing import NamedTuple

from sampan.cli.humanize import human_age, human_size
from sampan.errors import UsageError


class _Row(NamedTuple):
    repository: str
    tag: str
    digest: str
    identity: str
    created: float
    size: int
    platform: str
    store: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--quiet", "-q", action="store_true", help="print ids only")
    parser.add_argument("--digests", action="store_true", help="show the manifests' digests")
    parser.add_argument("--no-trunc", action="store_true", help="do not shorten ids")
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="table, or a JSON array"
    )
    parser.add_argument(
        "--json", dest="format", action="store_const", const="json", help="same as --format json"
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="only the images with this name (any tag of it)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Print the list."""
    rows = _rows()
    if arguments.name:
        rows = [row for row in rows if _has_name(row, arguments.name)]
    if arguments.format == "json":
        print(json.dumps([_document(row) for row in rows], indent=2))
    elif arguments.quiet:
        shown = [_identity(row, whole=arguments.no_trunc) for row in rows]
        print("\n".join(dict.fromkeys(shown)), end="\n" if shown else "")
    else:
        _print_table(rows, digests=arguments.digests, whole=arguments.no_trunc)
    return 0


def _rows() -> list[_Row]:
    from sampan.images.catalogue import list_all_names, list_records
    from sampan.images.store import check_store
    from sampan.images.store_layout import locate_store

    store = locate_store(os.environ)
    check_store(store)
    names = list_all_names(store)
    rows = []
    listed: set[str] = set()
    for home in store.stack:
        for record in list_records(home):
            if record.digest in listed:
                continue
            listed.add(record.digest)
            path = home.image_file(record.digest, "config.json")
            created = _created(path) or record.imported
            details = (record.digest, created, record.size, record.platform, home.root)
            theirs = [name for name in names if name.image == record.digest]
            rows += [
                _Row(
                    name.reference.familiar_name,
                    name.reference.tag or "<none>",
                    name.manifest_digest or "<none>",
                    *details,
                )
                for name in theirs
            ] or [_Row("<none>", "<none>", "<none>", *details)]
    return rows


def _created(config_path: str) -> float | None:
    """When the image says that it was made; None when it says nothing sensible."""
    from sampan.images.documents import DamagedStoreError, read_json

    try:
        text = str((read_json(config_path) or {}).get("created") or "")
        # Go prints nanoseconds, which Python does not read.
        seconds, _, fraction = text.partition(".")
        zone = fraction.lstrip("0123456789")
        return datetime.fromisoformat(seconds + zone).timestamp()
    except (OSError, ValueError, DamagedStoreError):
        return None


def _has_name(row: _Row, name: str) -> bool:
    from sampan.model.reference import ImageNameError, parse_reference

    try:
        wanted = parse_reference(name)
    except ImageNameError as error:
        raise UsageError(error.cause, evidence=error.evidence) from error
    has_tag = ":" in name.rpartition("/")[2]
    return row.repository == wanted.familiar_name and (not has_tag or row.tag == wanted.tag)


def _document(row: _Row) -> dict[str, object]:
    return {
        "Repository": row.repository,
        "Tag": row.tag,
        "Digest": row.digest,
        "Id": row.identity,
        "Created": int(row.created),
        "Size": row.size,
        "Platform": row.platform,
        "Store": row.store,
    }


def _identity(row: _Row, *, whole: bool) -> str:
    return row.identity if whole else row.identity[7:19]


def _print_table(rows: list[_Row], *, digests: bool, whole: bool) -> None:
    now = time.time()
    head = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
    lines = [
        [
            row.repository,
            row.tag,
            _identity(row, whole=whole),
            human_age(now - row.created),
            human_size(row.size),
        ]
        for row in rows
    ]
    if len({row.store for row in rows}) > 1:
        head.append("STORE")
        for line, row in zip(lines, rows, strict=True):
            line.append(row.store)
    if digests:
        head.insert(2, "DIGEST")
        for line, row in zip(lines, rows, strict=True):
            line.insert(2, row.digest)
    widths = [max(len(line[at]) for line in [head, *lines]) for at in range(len(head))]
    for line in [head, *lines]:
        print(
            "   ".join(
                f"{word:<{width}}" for word, width in zip(line, widths, strict=True)
            ).rstrip()
        )
