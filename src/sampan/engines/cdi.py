"""CDI as a whole: documents of this host made and kept up to date, documents of anybody looked up.

The rooms driver (files), injection (documents) and the inventory meet here, for ``sampan cdi`` and
for engines that are given qualified names.
"""

import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from sampan.driver.cdi_files import (
    SPEC_DIRECTORIES,
    find_spec_files,
    read_spec_file,
    read_spec_text,
    remove_spec_file,
    write_spec_file,
)
from sampan.driver.fingerprint import fingerprint_text
from sampan.injection.cdi_document import CdiDocumentError, decode_spec, encode_spec
from sampan.injection.cdi_finish import FINGERPRINT
from sampan.injection.cdi_generate import CdiOptions, GeneratedSpec, generate_spec
from sampan.injection.cdi_resolve import LoadedSpec, resolve_devices
from sampan.model.cdi import CdiEdits, CdiSpec
from sampan.model.hook import INSTALLED
from sampan.model.inventory import Inventory

MARK = "written by sampan cdi; inventory "
"""Begins the comment of YAML files, which is how we know ours."""


class Registry(NamedTuple):
    """All documents of the directories.

    Attributes:
        specs: the valid ones.
        problems: path and reason of each file that is not.
        warnings: who else may write them, and the like.
    """

    specs: tuple[LoadedSpec, ...]
    problems: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


def load_registry(directories: Sequence[str] = SPEC_DIRECTORIES) -> Registry:
    """Read every document; a broken one costs only its own devices."""
    specs: list[LoadedSpec] = []
    problems: list[tuple[str, str]] = []
    warnings: dict[str, None] = {}
    for file in find_spec_files(directories):
        warnings.update(dict.fromkeys(file.warnings))
        if file.error:
            problems.append((file.path, file.error))
            continue
        try:
            specs.append(LoadedSpec(file.path, file.priority, decode_spec(file.document)))
        except CdiDocumentError as error:
            problems.append((file.path, error.evidence))
    return Registry(tuple(specs), tuple(problems), tuple(warnings))


def resolve_cdi(names: Sequence[str], directories: Sequence[str] = SPEC_DIRECTORIES) -> CdiEdits:
    """The edits of qualified names, their device nodes filled from this host.

    Raises:
        CdiNameError: a word is not fully qualified.
        UnresolvableDeviceError: no document, or two of one directory, define a name.
        CdiNodeError: a device node is not on this host.
    """
    from sampan.driver.cdi_nodes import complete_nodes

    return complete_nodes(resolve_devices(names, load_registry(directories).specs))


def load_spec(path: str) -> CdiSpec:
    """One document.

    Raises:
        CdiDocumentError: it cannot be read or is not valid.
    """
    file = read_spec_file(path)
    if file.error:
        raise CdiDocumentError([f"{path}: {file.error}"])
    try:
        return decode_spec(file.document)
    except CdiDocumentError as error:
        raise CdiDocumentError([f"{path}: {problem}" for problem in error.problems]) from error


def make_spec(inventory: Inventory, options: CdiOptions) -> GeneratedSpec:
    """``generate_spec`` with the inventory's fingerprint.

    Raises:
        SampanError: as ``generate_spec``.
    """
    return generate_spec(inventory, options._replace(fingerprint=fingerprint_text(inventory)))


def render_spec(spec: CdiSpec, *, as_json: bool, fingerprint: str = "") -> str:
    """A document's text; in YAML a first line says whose it is."""
    from sampan.driver.cdi_yaml import render_json, render_yaml

    document = encode_spec(spec)
    if as_json:
        return render_json(document)
    return render_yaml(document, f"{MARK}{fingerprint}" if fingerprint else "")


def locate_hook(candidates: Sequence[str] = INSTALLED) -> str:
    """The installed ``sampan-hook``; empty when there is none that root alone may change."""
    for path in candidates:
        try:
            status = os.stat(path)
        except OSError:
            continue
        trusted = status.st_uid == 0 and not status.st_mode & 0o022
        if stat.S_ISREG(status.st_mode) and status.st_mode & 0o111 and trusted:
            return path
    return ""


def refresh_spec(path: str, text: str) -> bool:
    """Write a document unless the file says the same already; whether it was written.

    Raises:
        CdiFileError: it cannot be written.
    """
    if os.path.lexists(path) and not os.path.islink(path) and read_spec_text(path) == text:
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        if mode == 0o644:
            return False
    write_spec_file(path, text)
    return True


def remove_stale_spec(path: str, kind: str) -> bool:
    """Remove the document of a driver that is gone; whether there was one.

    A file that neither carries our mark nor is of our kind stays.

    Raises:
        CdiFileError: it cannot be read or removed.
    """
    if not os.path.lexists(path):
        return False
    if not is_ours(read_spec_text(path)):
        try:
            if load_spec(path).kind != kind:
                return False
        except CdiDocumentError:
            return False
    remove_spec_file(path)
    return True


def read_fingerprint(path: str) -> str:
    """The inventory's fingerprint that a file was made from; empty when it does not say.

    ``driver.fingerprint.fingerprint_text`` of the host's inventory now tells whether it still fits.

    Raises:
        CdiFileError: it cannot be read.
    """
    text = read_spec_text(path)
    if text.startswith(f"# {MARK}"):
        return text[len(MARK) + 2 :].partition("\n")[0].strip()
    try:
        return dict(load_spec(path).annotations).get(FINGERPRINT, "")
    except CdiDocumentError:
        return ""


def is_ours(text: str) -> bool:
    """Whether a file's text says that it was made here."""
    return text.startswith(f"# {MARK}") or f'"{FINGERPRINT}"' in text
