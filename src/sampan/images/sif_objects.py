"""From the words of a command line to an object that can be added. Pure."""

import struct

from sampan.errors import UsageError
from sampan.images import sif_format as form
from sampan.images.sif_edit import NewObject
from sampan.images.sif_words import FILE_SYSTEMS, PARTITIONS, SBOM_FORMATS

_FIRST_KIND = 0x4000
_SIGNATURE, _SBOM = 5, 9


def describe_new_object(
    number: int,
    *,
    name: str = "",
    group: int = 0,
    link: int = 0,
    alignment: int = 0,
    file_system: int = 0,
    partition: int = 0,
    architecture: str = "",
    sbom_format: str = "",
) -> NewObject:
    """An object to add.

    Args:
        number: of the kind, as ``apptainer sif add --datatype`` counts them, from 1.
        name: of the object; a path is cut to its last part by the caller.
        group: 0 = none.
        link: number of an object; 0 = none.
        alignment: see ``NewObject``.
        file_system: of a partition.
        partition: likewise.
        architecture: likewise; Go's word or SIF's number.
        sbom_format: of an SBOM.

    Raises:
        UsageError: what belongs to the kind is missing, or not of the format.
    """
    kind = _FIRST_KIND + number
    if number == _SIGNATURE:
        raise UsageError(
            "a signature is not added as a file",
            evidence="its descriptor must fit what it signs",
            remedy="sampan sif sign --key FILE",
        )
    if not 0 <= group < form.GROUP_BITS or not 0 <= link < form.GROUP_BITS:
        raise UsageError(f"group {group} or link {link} is out of range")
    if alignment < 0 or alignment > 1 << 30:
        raise UsageError(f"an alignment of {alignment} bytes cannot be had", remedy="e.g. 4096")
    extra = b""
    if kind == form.DATA_PARTITION:
        extra = form.PARTITION_EXTRA.pack(
            _known("--partfs", file_system, FILE_SYSTEMS),
            _known("--parttype", partition, PARTITIONS),
            _architecture(architecture),
        )
    elif number == _SBOM:
        formats = {word: number for number, word in SBOM_FORMATS.items()}
        if sbom_format not in formats:
            raise UsageError(
                f"--sbomformat {sbom_format or 'is missing'}", remedy=f"one of {', '.join(formats)}"
            )
        extra = struct.pack("<i", formats[sbom_format])
    return NewObject(kind, name, group, link, extra, alignment)


def _known(option: str, number: int, words: dict[int, str]) -> int:
    if number not in words:
        listed = ", ".join(f"{one} {word}" for one, word in words.items())
        raise UsageError(f"{option} {number or 'is missing'}", remedy=f"one of {listed}")
    return number


def _architecture(word: str) -> bytes:
    by_number = {str(int(code[:2])): code for code in form.ARCHITECTURES.values()}
    code = form.ARCHITECTURES.get(word) or by_number.get(word)
    if code is None:
        raise UsageError(
            f"--partarch {word or 'is missing'}", remedy=f"one of {', '.join(form.ARCHITECTURES)}"
        )
    return code
