"""How other programs write an image's name, brought into docker's grammar.

Apptainer and skopeo put ``docker://`` in front, Apptainer ``oras://`` for a single file in a registry,
and Enroot writes ``docker://[USER@][REGISTRY#]IMAGE[:TAG]`` (its doc/cmd/import.md). Names of other
transports are told what they are; addresses of catalogue pages are read too. Used at every
container start: without ``re``.
"""

ARTIFACT_PREFIX = "oras://"

_IMAGE_PREFIX = "docker://"
_SHORTEST_DIGEST = 32
_HEX = frozenset("0123456789abcdefABCDEF")

# transport -> what to type instead
_FILES = ("docker-archive", "oci-archive", "oci", "dir", "tarball")
_ELSEWHERE = {
    "library": "Sylabs' library is no OCI registry: apptainer pull FILE.sif {text}",
    "shub": "Singularity Hub is gone since 2021; look for the image at docker.io or ghcr.io",
    "docker-daemon": "docker save -o FILE {rest}, then: sampan import docker-archive:FILE",
    "dockerd": "docker save -o FILE {rest}, then: sampan import docker-archive:FILE",
    "containers-storage": "podman save -o FILE {rest}, then: sampan import docker-archive:FILE",
    "podman": "podman save -o FILE {rest}, then: sampan import docker-archive:FILE",
    "http": "write the name without scheme: {rest}",
    "https": "write the name without scheme: {rest}",
}


class SpellingError(ValueError):
    """The text is written for something else than a registry.

    Attributes:
        evidence: what it is.
        remedy: what to type.
    """

    def __init__(self, evidence: str, remedy: str) -> None:
        super().__init__(evidence)
        self.evidence = evidence
        self.remedy = remedy


def read_spelling(text: str) -> tuple[str, bool]:
    """A name in docker's grammar (unchecked), and whether it was marked as an artifact.

    Enroot's ``USER@`` is read and dropped: credentials are found by registry and path.

    Raises:
        SpellingError: it names a file, another program's store, or a registry without a dot.
    """
    if text.startswith(ARTIFACT_PREFIX):
        return text.removeprefix(ARTIFACT_PREFIX), True
    if "ngc.nvidia.com/" in text or "hub.docker.com/" in text:
        text = _read_page(text)
    name = text
    has_scheme = text.startswith(_IMAGE_PREFIX)
    if has_scheme:
        name = text.removeprefix(_IMAGE_PREFIX)
    else:
        _refuse_others(text)
    before, hash_sign, after = name.partition("#")
    if hash_sign:
        return _join(before.rpartition("@")[2], after), False
    if has_scheme:
        user, at, rest = name.partition("@")
        if at and user and rest and not _is_digest(rest):
            name = rest
    return name, False


def _read_page(text: str) -> str:
    # Not on the start path: nobody pastes an address into a job script.
    from sampan.model.catalogue_page import (
        CataloguePageError,
        is_catalogue_page,
        read_catalogue_page,
    )

    if not is_catalogue_page(text):
        return text
    try:
        return read_catalogue_page(text)
    except CataloguePageError as error:
        raise SpellingError(str(error), "sampan search TERM finds images") from error


def _join(registry: str, image: str) -> str:
    if not ("." in registry or ":" in registry or registry == "localhost"):
        raise SpellingError(
            f"{registry!r} before '#' cannot be told from a name",
            f"with the port: {registry or 'registry.example'}:443/{image}",
        )
    return f"{registry}/{image}"


def _is_digest(text: str) -> bool:
    """Whether a digest was meant, though perhaps a wrong one: never read a pin as an image's name."""
    algorithm, _, value = text.partition("@")[0].partition(":")
    is_long = len(value) >= _SHORTEST_DIGEST and not set(value) - _HEX
    return is_long or algorithm in ("sha256", "sha512")


def _refuse_others(text: str) -> None:
    scheme, colon, rest = text.partition(":")
    if not colon:
        return
    path = rest.removeprefix("//")
    if scheme in _FILES and rest[:1] in ("/", "."):
        raise SpellingError("it names a file or directory", f"sampan import {text}")
    is_skopeos = scheme in ("docker-daemon", "containers-storage") and bool({":", "/"} & set(rest))
    if not (rest.startswith("//") or is_skopeos):
        return
    advice = _ELSEWHERE.get(scheme)
    if advice is not None:
        raise SpellingError(f"{scheme}: is no registry's name", advice.format(text=text, rest=path))
    raise SpellingError(f"{scheme}:// is not known", "known are docker:// and oras://")
