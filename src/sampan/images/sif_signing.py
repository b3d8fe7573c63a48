"""Signing a SIF file and verifying its signatures, as ``apptainer sign`` and ``verify`` do.

One signature a group of objects. A group is verified when one signature that the given key confirms
covers each of its objects; signatures by others are told, and count neither way. Who runs a file takes
its root file system, so that one must be among what is verified.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sampan.errors import SampanError
from sampan.images import sif_format as form
from sampan.images.sif import SifError, SifFile, open_sif
from sampan.images.sif_dsse import is_envelope, key_name, open_envelope, sign_envelope
from sampan.images.sif_edit import NewObject, add_object
from sampan.images.sif_integrity import (
    MetadataError,
    check_metadata,
    group_numbers,
    group_objects,
    parse_metadata,
    render_metadata,
)
from sampan.images.sif_parts import find_primary, locate_object, read_object
from sampan.images.sif_pgp import is_clear_signed, open_clear, sign_clear
from sampan.images.sif_words import signer_of

_EXTRA = struct.Struct("<i20s")
_SHA256 = 1

Seal = Callable[[bytes], tuple[bytes, int, str]]
"""Makes a signature of a payload: the object's bytes, SIF's number of the hash, a PGP fingerprint."""

Check = Callable[[form.SifObject, bytes], "Confirmed | str"]
"""What a signature object signs and who did, or the reason why it is not confirmed."""


class SifSignatureError(SampanError):
    """A SIF file is not signed as it should be."""

    id = "sif-signature"
    exit_code = 1


class Confirmed(NamedTuple):
    """A signature that a key confirms: what was signed, and the key."""

    payload: bytes
    signer: str


class Verified(NamedTuple):
    """What was found.

    Attributes:
        objects: that are as they were signed, by number.
        signers: keys or names of those who signed them.
        unsigned: objects, signatures left out, that nothing of this speaks for.
        notes: what was seen of other signatures.
    """

    objects: tuple[form.SifObject, ...]
    signers: tuple[str, ...]
    unsigned: tuple[form.SifObject, ...]
    notes: tuple[str, ...]


def seal_with_key(private: Any) -> Seal:
    """Sign with a PEM key (``sif_dsse.load_private_key``)."""
    return lambda payload: (sign_envelope(payload, private), _SHA256, "")


def seal_with_gpg(key: str) -> Seal:
    """Sign with a key of gpg's; empty = its default."""

    def seal(payload: bytes) -> tuple[bytes, int, str]:
        signed = sign_clear(payload, key)
        return signed.data, signed.hash_number, signed.fingerprint

    return seal


def check_with_key(public: Any) -> Check:
    """Hold signatures against a PEM key (``sif_dsse.load_public_key``)."""

    def check(item: form.SifObject, data: bytes) -> Confirmed | str:
        if not is_envelope(data):
            return "of another form than those of PEM keys"
        payload = open_envelope(data, public, _EXTRA.unpack_from(item.extra)[0])
        if payload is None:
            return "by another key, or changed"
        return Confirmed(payload, key_name(public))

    return check


def check_with_gpg(item: form.SifObject, data: bytes) -> Confirmed | str:
    """Hold a signature against the keys that gpg has."""
    if not is_clear_signed(data):
        return "of another form than OpenPGP's: sampan sif verify --key FILE"
    signed = open_clear(data)
    if isinstance(signed, str):
        return signed
    if signed.fingerprint != signer_of(item):
        return f"by {signed.fingerprint}, its descriptor names {signer_of(item) or 'nobody'}"
    return Confirmed(signed.data, f"{signed.signer} {signed.fingerprint}".strip())


def sign_sif(path: str, seal: Seal, *, group: int = 0, identity: int = 0, now: int) -> list[int]:
    """Add a signature for each group of objects.

    Args:
        path: of the file.
        seal: signs.
        group: only this one; 0 = all.
        identity: only this object; 0 = all of the group.
        now: seconds since the epoch.

    Returns:
        The numbers of the new signature objects.

    Raises:
        SifError: there is nothing to sign, or no room for a signature.
        KeyFileError, GpgError: the key cannot be used.
        OSError: the file cannot be read or written.
    """
    made = []
    sif = open_sif(path)
    for one, items in _chosen(sif, group, identity):
        data, hash_number, fingerprint = seal(render_metadata(sif, one, items))
        new = NewObject(
            form.DATA_SIGNATURE,
            link=form.GROUP_BITS | one,
            extra=_EXTRA.pack(hash_number, bytes.fromhex(fingerprint)[:20]),
        )
        made.append(add_object(path, new, [data], now=now))
    return made


def verify_sif(
    path: str, check: Check, *, group: int = 0, identity: int = 0, everything: bool = False
) -> Verified:
    """Hold a file against its signatures.

    Args:
        path: of the file.
        check: knows the key.
        group: only this one; 0 = all.
        identity: only this object; 0 = all of the group.
        everything: refuse a file with objects that no group has.

    Raises:
        SifSignatureError: nothing confirmed covers what must be.
        SifError: the file is damaged.
        GpgError: there is no gpg.
        OSError: it cannot be read.
    """
    sif = open_sif(path)
    verified: list[form.SifObject] = []
    signers: list[str] = []
    notes: list[str] = []
    for one, items in _chosen(sif, group, identity):
        signer = _verify_group(sif, one, items, check, notes, whole_group=not identity)
        verified += items
        signers += [signer] if signer not in signers else []
    numbers = {item.identity for item in verified}
    unsigned = tuple(
        item
        for item in sif.objects
        if item.identity not in numbers and item.kind != form.DATA_SIGNATURE
    )
    if everything and unsigned:
        raise SifSignatureError(
            f"object {unsigned[0].identity} is not covered by a signature",
            evidence=f"{path}: it belongs to no group that was verified",
            remedy=f"sampan sif list {path} shows the groups",
        )
    primary = find_primary(sif)
    if primary is not None and primary in unsigned and not (group or identity):
        raise SifSignatureError(
            "the root file system is not covered by a signature",
            evidence=f"{path}: object {primary.identity} belongs to no group",
            remedy="do not run a file that you must be able to trust",
        )
    return Verified(tuple(verified), tuple(signers), unsigned, tuple(notes))


def _chosen(
    sif: SifFile, group: int, identity: int
) -> Sequence[tuple[int, Sequence[form.SifObject]]]:
    """Groups, each with the objects that are meant."""
    if identity:
        item = locate_object(sif, identity)
        if not item.group_number or item.kind == form.DATA_SIGNATURE:
            raise SifError(
                f"object {identity} belongs to no group",
                evidence=f"{sif.path}: what is signed is always a group, or a part of one",
                remedy=f"sampan sif list {sif.path}",
            )
        return [(item.group_number, [item])]
    groups = [group] if group else group_numbers(sif)
    chosen = [(one, group_objects(sif, one)) for one in groups]
    if not chosen or not all(items for _, items in chosen):
        raise SifError(
            f"this SIF has no group {group}" if group else "this SIF has no groups of objects",
            evidence=f"{sif.path}: groups {group_numbers(sif) or 'none'}",
            remedy=f"sampan sif list {sif.path}",
        )
    return chosen


def _verify_group(
    sif: SifFile,
    group: int,
    items: Sequence[form.SifObject],
    check: Check,
    notes: list[str],
    *,
    whole_group: bool,
) -> str:
    """Who has signed the objects, in a signature that the key confirms."""
    refused = []
    signatures = [
        item
        for item in sif.objects
        if item.kind == form.DATA_SIGNATURE and item.linked_group == group
    ]
    for signature in signatures:
        found = check(signature, read_object(sif, signature))
        if isinstance(found, str):
            refused.append(f"signature {signature.identity}: {found}")
            continue
        try:
            metadata = parse_metadata(found.payload)
            check_metadata(sif, group, metadata, items, whole_group=whole_group)
        except MetadataError as error:
            refused.append(f"signature {signature.identity}: {error}")
            continue
        notes += refused
        return found.signer
    raise SifSignatureError(
        f"no signature of group {group} is confirmed" if signatures else "the file is not signed",
        evidence="; ".join(refused) or f"{sif.path}: no signature links to group {group}",
        remedy="is it the signer's key? do not run a file that you must be able to trust"
        if signatures
        else f"ask its maker for a signed one, or sign your own: sampan sif sign {sif.path}",
    )
