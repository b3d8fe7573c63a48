"""Words for the numbers in a SIF file, as ``apptainer sif`` prints them (sylabs/sif, pkg/sif). Pure.

Everything is shown, also what no version of the format knows: a number then stands for itself.
"""

import struct
from datetime import UTC, datetime

from sampan.images import sif_format as form
from sampan.images.sif import SifFile, architecture_word

KINDS = {
    0x4001: "Def.FILE", 0x4002: "Env.Vars", 0x4003: "JSON.Labels", 0x4004: "FS",
    0x4005: "Signature", 0x4006: "JSON.Generic", 0x4007: "Generic/Raw",
    0x4008: "Cryptographic Message", 0x4009: "SBOM", 0x400A: "OCI.RootIndex",
    0x400B: "OCI.Blob",
}  # fmt: skip
FILE_SYSTEMS = {
    1: "Squashfs", 2: "Ext3", 3: "Archive", 4: "Raw", 5: "Encrypted squashfs",
    6: "Gocryptfs squashfs",
}  # fmt: skip
PARTITIONS = {1: "System", 2: "*System", 3: "Data", 4: "Overlay"}
HASHES = {1: "SHA-256", 2: "SHA-384", 3: "SHA-512", 4: "BLAKE2s_256", 5: "BLAKE2b_256"}
MESSAGE_FORMATS = {1: "OpenPGP", 2: "PEM"}
MESSAGES = {0x100: "Clear Signature", 0x200: "RSA-OAEP"}
SBOM_FORMATS = {
    1: "cyclonedx-json", 2: "cyclonedx-xml", 3: "github-json", 4: "spdx-json", 5: "spdx-rdf",
    6: "spdx-tag-value", 7: "spdx-yaml", 8: "syft-json",
}  # fmt: skip

_NUMBER = struct.Struct("<i")
_TWO_NUMBERS = struct.Struct("<ii")
_FINGERPRINT_BYTES = 20


def kind_word(item: form.SifObject) -> str:
    """The kind, with what belongs to it in brackets: ``FS (Squashfs/*System/amd64)``."""
    word = KINDS.get(item.kind, f"Unknown ({item.kind:#x})")
    facts = dict(kind_facts(item))
    if item.kind == form.DATA_PARTITION:
        return f"{word} ({'/'.join(facts.values())})"
    if item.kind == form.DATA_SIGNATURE:
        return f"{word} ({facts['Hash Type']})"
    return f"{word} ({'/'.join(facts.values())})" if facts else word


def kind_facts(item: form.SifObject) -> list[tuple[str, str]]:
    """What the extra of a descriptor says, as titles and words."""
    extra = item.extra.ljust(form.EXTRA_BYTES, b"\0")
    match KINDS.get(item.kind):
        case "FS":
            _, _, code = form.PARTITION_EXTRA.unpack_from(extra)
            return [
                ("Filesystem Type", _word(FILE_SYSTEMS, item.file_system)),
                ("Partition Type", _word(PARTITIONS, item.partition)),
                ("Architecture", architecture_word(code) or "unknown"),
            ]
        case "Signature":
            return [
                ("Hash Type", _word(HASHES, _NUMBER.unpack_from(extra)[0])),
                *([("Entity", fingerprint)] if (fingerprint := signer_of(item)) else []),
            ]
        case "Cryptographic Message":
            of, message = _TWO_NUMBERS.unpack_from(extra)
            return [
                ("Format Type", _word(MESSAGE_FORMATS, of)),
                ("Message Type", _word(MESSAGES, message)),
            ]
        case "SBOM":
            return [("Format", _word(SBOM_FORMATS, _NUMBER.unpack_from(extra)[0]))]
        case "OCI.RootIndex" | "OCI.Blob":
            return [("Digest", extra.split(b"\0", 1)[0].decode("utf-8", "replace"))]
    return []


def signer_of(item: form.SifObject) -> str:
    """The OpenPGP fingerprint that a signature's descriptor names, in hexadecimal; may be empty."""
    entity = item.extra[_NUMBER.size : _NUMBER.size + _FINGERPRINT_BYTES]
    return entity.hex().upper() if any(entity) else ""


def group_word(item: form.SifObject) -> str:
    """The number of an object's group, or NONE."""
    return str(item.group_number) if item.group_number else "NONE"


def link_word(item: form.SifObject) -> str:
    """What an object links to: an object's number, a group's with ``(G)``, or NONE."""
    if not item.link:
        return "NONE"
    return f"{item.linked_group} (G)" if item.linked_group else str(item.link)


def time_word(seconds: int) -> str:
    """A time as apptainer writes it; seconds that are no time stand for themselves."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} +0000 UTC"
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"


def describe_object(item: form.SifObject) -> dict[str, str]:
    """All that a descriptor says."""
    facts = dict(kind_facts(item))
    return {
        "Data Type": KINDS.get(item.kind, f"{item.kind:#x}"),
        "ID": str(item.identity),
        "Group ID": group_word(item),
        "Linked ID": link_word(item),
        "Offset": str(item.offset),
        "Size": str(item.size),
        "Created At": time_word(item.created),
        "Modified At": time_word(item.modified),
        **({"Name": item.name} if item.name else {}),
        **facts,
    }


def describe_header(sif: SifFile) -> dict[str, str]:
    """All that the global header says."""
    from uuid import UUID

    header = sif.header
    return {
        "Launch Script": header.launch.split(b"\0", 1)[0].decode("utf-8", "replace").rstrip("\n"),
        "Version": header.version.rstrip(b"\0").decode("ascii", "replace"),
        "Primary Architecture": sif.architecture or "unknown",
        "ID": str(UUID(bytes=header.identity)),
        "Created At": time_word(header.created),
        "Modified At": time_word(header.modified),
        "Descriptors Free": str(header.free),
        "Descriptors Total": str(header.total),
        "Descriptors Offset": str(header.table_at),
        "Descriptors Size": str(header.table_size),
        "Data Offset": str(header.data_at),
        "Data Size": str(header.data_size),
    }


def _word(words: dict[int, str], number: int) -> str:
    return words.get(number, f"unknown {number}" if number else "Unknown")
