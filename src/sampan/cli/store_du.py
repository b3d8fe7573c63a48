"""``sampan store du``: what takes the room in the store."""

import argparse
import json
import os
from typing import TYPE_CHECKING

from sampan.cli.flags import add_flag

if TYPE_CHECKING:
    from sampan.images.usage import StoreUsage


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = (
        "Shows for each image its file, the packed layers that it alone needs and those that it "
        "shares, as bytes on disk. Removing an image and pruning frees FILE and OWN."
    )
    add_flag(parser.add_argument, "--layers", "-l", help="also each packed layer and who uses it")
    add_flag(parser.add_argument, "--json", help="print all of it as JSON, in bytes")


def main(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    from sampan.images.store import check_store
    from sampan.images.store_layout import locate_store
    from sampan.images.usage import measure_usage

    store = locate_store(os.environ)
    if not check_store(store):
        print("{}" if arguments.json else f"There is no store in {store.root}")
        return 0
    usage = measure_usage(store)
    print(_document(usage) if arguments.json else _table(usage, layers=arguments.layers))
    return 0


def _document(usage: "StoreUsage") -> str:
    document = {
        "images": [image._asdict() for image in usage.images],
        "layers": [layer._asdict() for layer in usage.layers],
        "image_bytes": usage.image_bytes,
        "pack_bytes": usage.pack_bytes,
        "other_bytes": usage.other_bytes,
        "total_bytes": usage.total_bytes,
        "ratio": round(usage.ratio, 3),
    }
    return json.dumps(document, indent=2)


def _table(usage: "StoreUsage", *, layers: bool) -> str:
    from sampan.cli.columns import format_columns
    from sampan.cli.humanize import human_size

    rows = [
        [
            image.names[0] if image.names else "<none>",
            image.digest[7:19],
            human_size(image.image_bytes),
            human_size(image.own_bytes),
            human_size(image.shared_bytes),
        ]
        for image in usage.images
    ]
    parts = [format_columns(["IMAGE", "IMAGE ID", "FILE", "OWN", "SHARED"], rows)]
    if layers:
        rows = [
            [
                layer.digest[7:19],
                layer.compression,
                human_size(layer.pack_bytes),
                ", ".join(layer.images) or "<none>",
            ]
            for layer in usage.layers
        ]
        parts.append(format_columns(["LAYER", "COMPRESSION", "SIZE", "IMAGES"], rows))
    unused = sum(layer.pack_bytes for layer in usage.layers if not layer.images)
    lines = [
        f"images    {human_size(usage.image_bytes)} in {len(usage.images)} files",
        f"layers    {human_size(usage.pack_bytes)} in {len(usage.layers)} packs"
        + (f", {human_size(unused)} of them needed by no image: sampan prune" if unused else ""),
        f"other     {human_size(usage.other_bytes)}",
        f"total     {human_size(usage.total_bytes)}",
        (
            f"sharing   without it the layers would take {human_size(usage.unshared_bytes)}, "
            f"{usage.ratio:.2f} times as much"
        ),
    ]
    return "\n\n".join([*parts, "\n".join(lines)])
