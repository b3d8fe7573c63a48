"""``sampan inspect``: all that is known of containers and images, in docker's keys."""

import argparse
import json
import os
import sys
from typing import Any

from sampan.errors import SampanError

_NO_CONFIG: dict[str, Any] = {
    "User": "",
    "Env": None,
    "Entrypoint": None,
    "Cmd": None,
    "WorkingDir": "",
    "Volumes": None,
    "ExposedPorts": None,
    "Labels": None,
}
"""What docker shows where an image says nothing: templates that ask for it find it."""


class NoSuchObjectError(SampanError):
    """Neither a container nor an image has this name."""

    id = "no-such-object"
    exit_code = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan inspect [OPTIONS] NAME..."
    parser.add_argument(
        "--type", choices=("container", "image"), help="only look for this (default: both)"
    )
    parser.add_argument(
        "--format",
        "-f",
        metavar="TEMPLATE",
        default="",
        help="print parts instead of the JSON, e.g. '{{.Id}} {{json .Config.Env}}'",
    )
    parser.add_argument(
        "names", metavar="NAME", nargs="+", help="of a container or an image; or ids"
    )


def main(arguments: argparse.Namespace) -> int:
    """Print the JSON array; a name that is missing is said after it, as docker does."""
    from sampan.cli.inspect_format import render_template
    from sampan.cli.render import print_error

    found, missing = [], []
    for name in arguments.names:
        document = _inspect(name, arguments.type)
        if document is None:
            missing.append(name)
        else:
            found.append(document)
    if arguments.format:
        for document in found:
            print(render_template(arguments.format, document))
    else:
        print(json.dumps(found, indent=4))
    sys.stdout.flush()
    for name in missing:
        kind = arguments.type or "container or image"
        print_error(
            NoSuchObjectError(
                f"no {kind} {name}", remedy="sampan ps -a and sampan images list what there is"
            )
        )
    return 1 if missing else 0


def _inspect(name: str, kind: str | None) -> dict[str, Any] | None:
    document = None
    if kind != "image":
        from sampan.engines.native.inspect import inspect_container

        document = inspect_container(name)
    if document is None and kind != "container":
        document = _inspect_image(name)
    return document


def _inspect_image(name: str) -> dict[str, Any] | None:
    from sampan.images.catalogue import find_record, list_all_names
    from sampan.images.documents import read_config
    from sampan.images.store import find_image
    from sampan.images.store_layout import locate_store

    store = locate_store(os.environ)
    image = find_image(name, store=store)
    record = find_record(store, image.digest) if image is not None else None
    if image is None or record is None:
        return None
    config = read_config(image.config_path).raw
    names = [known for known in list_all_names(store) if known.image == image.digest]
    return {
        "Id": image.digest,
        "RepoTags": [known.reference.familiar for known in names],
        "RepoDigests": [
            f"{known.reference.familiar_name}@{known.manifest_digest}"
            for known in names
            if known.manifest_digest
        ],
        "Created": config.get("created") or "",
        "Author": config.get("author") or "",
        "Architecture": config.get("architecture") or "",
        "Variant": config.get("variant") or "",
        "Os": config.get("os") or "",
        "Size": record.size,
        "Config": {**_NO_CONFIG, **(config.get("config") or {})},
        "RootFS": {"Type": "layers", "Layers": [layer.diff_id for layer in record.layers]},
        "History": config.get("history") or [],
        "Sampan": {
            "File": image.sif_path,
            "Facts": image.facts_path,
            "Configuration": image.config_path,
            "Source": record.source,
            "Compression": record.compression,
            "Imported": record.imported,
            "LayerDigests": [layer.digest for layer in record.layers],
        },
    }
