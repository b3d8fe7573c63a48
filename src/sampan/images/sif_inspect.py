"""What a SIF says of itself: definition, labels, scripts, environment, OCI configuration.

The words are those of ``apptainer inspect``; its files lie in ``/.singularity.d`` of the root file
system. They are read from the squashfs itself, nothing is mounted or run.
"""

import json
import os
from typing import Any, NamedTuple

from sampan.images import sif_format as form
from sampan.images.sif import SifFile
from sampan.images.sif_parts import find_oci_config, find_primary, read_object
from sampan.images.squashfs.reader import SquashfsReader

_HOME = "/.singularity.d"
_MOST_BYTES = 4 << 20
"""Of one script; longer ones are cut."""

SCRIPTS = {
    "runscript": "runscript",
    "startscript": "startscript",
    "test": "test",
    "helpfile": "runscript.help",
}
"""Files of ``/.singularity.d`` by the name that ``inspect --json`` gives them."""


class SifDescription(NamedTuple):
    """What is known of a SIF.

    Attributes:
        labels: of ``labels.json``, else of the OCI configuration.
        definition: text of the definition file; empty when there is none.
        scripts: by the names of ``SCRIPTS``; those that are missing are left out.
        environment: path in the image to the script that sets variables.
        oci_config: the ``config`` member of an OCI image configuration; None when there is none.
        compression: of the root file system; empty when it is not squashfs.
    """

    labels: dict[str, str]
    definition: str
    scripts: dict[str, str]
    environment: dict[str, str]
    oci_config: dict[str, Any] | None
    compression: str


def describe_sif(sif: SifFile) -> SifDescription:
    """Read what there is; a part that is missing is empty.

    Raises:
        SquashfsError: the root file system is damaged.
        SifError: an object is.
        OSError: the file cannot be read.
    """
    files: dict[str, str] = {}
    environment: dict[str, str] = {}
    compression = ""
    primary = find_primary(sif)
    if primary is not None and primary.file_system == form.FILE_SYSTEM_SQUASHFS:
        descriptor = os.open(sif.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            reader = SquashfsReader(descriptor, primary.offset, primary.size)
            compression = reader.compression
            for name in ("labels.json", "Singularity", *SCRIPTS.values()):
                content = reader.read_file(f"{_HOME}/{name}", _MOST_BYTES)
                if content is not None:
                    files[name] = _text(content)
            for name in reader.list_directory(f"{_HOME}/env"):
                path = f"{_HOME}/env/{name}"
                # What apptainer shows: the image's own variables, not the scaffold around them.
                if name == "10-docker2singularity.sh" or name.endswith("-environment.sh"):
                    content = reader.read_file(path, _MOST_BYTES)
                    if content is not None:
                        environment[path] = _text(content)
        finally:
            os.close(descriptor)
    oci_config = find_oci_config(sif)
    labels = _strings(_parse(files.get("labels.json", "")))
    if not labels and oci_config is not None:
        labels = _strings(oci_config.get("Labels"))
    return SifDescription(
        labels,
        _read_definition(sif) or files.get("Singularity", ""),
        {word: files[name] for word, name in SCRIPTS.items() if name in files},
        environment,
        oci_config,
        compression,
    )


def render_inspection(description: SifDescription, wanted: set[str]) -> dict[str, Any]:
    """The document of ``apptainer inspect --json``.

    Args:
        description: of ``describe_sif``.
        wanted: ``labels``, ``deffile``, ``environment``, names of ``SCRIPTS``.
    """
    attributes: dict[str, Any] = {}
    if "labels" in wanted:
        attributes["labels"] = description.labels
    if "deffile" in wanted:
        attributes["deffile"] = description.definition
    if "environment" in wanted:
        attributes["environment"] = description.environment
    attributes |= {name: text for name, text in description.scripts.items() if name in wanted}
    return {"data": {"attributes": attributes}, "type": "container"}


def _read_definition(sif: SifFile) -> str:
    for item in sif.objects:
        if item.kind == form.DATA_DEFINITION:
            return read_object(sif, item).decode("utf-8", "replace")
    return ""


def _text(content: bytes) -> str:
    """A script as apptainer's shell reads it: without the newlines at its end."""
    return content.decode("utf-8", "replace").rstrip("\n")


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _strings(found: Any) -> dict[str, str]:
    if not isinstance(found, dict):
        return {}
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in found.items()
    }
