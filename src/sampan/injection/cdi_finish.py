"""The last step of making a document: its version, its mark, and whether it is one at all."""

from sampan.errors import SampanError
from sampan.injection.cdi_checks import spec_problems
from sampan.injection.cdi_document import CdiDocumentError
from sampan.injection.cdi_versions import KNOWN, required_version, version_key
from sampan.model.cdi import CdiSpec

FINGERPRINT = "sampan/fingerprint"
"""Annotation of documents of 0.6.0 and later: the inventory that they were made of."""


class CdiVersionError(SampanError):
    """A document cannot be written in the version that was asked for."""

    id = "cdi-version"


def finish_spec(spec: CdiSpec, version: str = "", fingerprint: str = "") -> CdiSpec:
    """The document in a version, checked; with the fingerprint where it has annotations anyway.

    Args:
        spec: complete but for the version.
        version: empty = the lowest that fits.
        fingerprint: of the inventory; empty = none.

    Raises:
        CdiVersionError: the version is too low, with the field that needs more.
        CdiDocumentError: a name is none of CDI's.
    """
    needed, what = required_version(spec)
    version = version or needed
    if version not in KNOWN:
        raise CdiVersionError(
            f"there is no CDI version {version}", remedy=f"choose from: {', '.join(KNOWN[2:])}"
        )
    if version_key(version) < version_key(needed):
        raise CdiVersionError(
            f"the document cannot be written as CDI {version}",
            evidence=f"{what} needs {needed}",
            remedy=_lowering(what, needed),
        )
    if fingerprint and version_key(version) >= version_key("0.6.0"):
        spec = spec._replace(annotations=((FINGERPRINT, fingerprint),))
    spec = spec._replace(version=version)
    if problems := spec_problems(spec):
        raise CdiDocumentError(problems)
    return spec


def without_gids(spec: CdiSpec) -> CdiSpec:
    """The document without the groups of nodes, which need 0.7.0."""
    return spec._replace(
        edits=spec.edits._replace(additional_gids=()),
        devices=tuple(
            device._replace(edits=device.edits._replace(additional_gids=()))
            for device in spec.devices
        ),
    )


def _lowering(what: str, needed: str) -> str:
    if what.startswith("additionalGids"):
        return "--no-additional-gids leaves the groups out"
    if what.startswith("device name"):
        return "--device-name-strategy type-index gives names that begin with a letter"
    return f"--spec-version {needed}, or none for the lowest that fits"
