"""Names of images in Docker's grammar: ``[registry/]repository[:tag][@digest]``, normalised.

The grammar is distribution/reference's, the defaults are docker's: ``docker.io``, ``library/`` and
``latest``. Other programs' spellings of the same names come in by ``spellings``. Written without
``re``: a name is parsed at every container start.
"""

from typing import NamedTuple

from sampan.errors import SampanError
from sampan.model.spellings import ARTIFACT_PREFIX, SpellingError, read_spelling

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
MAXIMUM_NAME = 255
MAXIMUM_TAG = 128

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_WORD = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_HEX = frozenset("0123456789abcdef")
_DIGEST_LENGTHS = {"sha256": 64, "sha512": 128}


class ImageNameError(SampanError):
    """The text is no image name."""

    id = "image-name"


class Reference(NamedTuple):
    """A normalised image name.

    Attributes:
        registry: host, with the port when one was given, e.g. ``nvcr.io``, ``localhost:5000``.
        repository: path in the registry, e.g. ``library/debian``.
        tag: empty only when a digest is there instead.
        digest: ``sha256:<hex>`` of the manifest; empty when not given.
        is_artifact: written ``oras://``: a single file, not a container image.
    """

    registry: str
    repository: str
    tag: str
    digest: str = ""
    is_artifact: bool = False

    def __str__(self) -> str:
        """The full form, e.g. ``docker.io/library/debian:latest``; reads back as the same."""
        return self._prefix() + self.name + self._suffix()

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """The name as docker prints it: without what the defaults would add.

        Never one that would be read as another: ``docker.io/evil.example/tool`` stays as it is.
        """
        if self.registry == DEFAULT_REGISTRY:
            for short in (self.repository.removeprefix("library/"), self.repository):
                if _split_registry(short) == (self.registry, self.repository):
                    return short
        return self.name

    @property
    def familiar(self) -> str:
        """The short form with tag and digest, e.g. ``debian:latest``."""
        return self._prefix() + self.familiar_name + self._suffix()

    def _prefix(self) -> str:
        return ARTIFACT_PREFIX if self.is_artifact else ""

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Read an image name as docker does and fill in docker's defaults.

    Args:
        text: in docker's grammar, or as Apptainer, skopeo and Enroot write it (``docker://…``,
            ``oras://…``, ``nvcr.io#nvidia/…``).

    Raises:
        ImageNameError: the text does not follow the grammar; the evidence says where.
    """
    try:
        name, is_artifact = read_spelling(text)
    except SpellingError as error:
        raise _refusal(text, error.evidence, remedy=error.remedy) from None
    rest, _, digest = name.partition("@")
    if "@" in name:
        _check_digest(text, digest)
    # A colon after the last slash begins the tag; one before it belongs to a port.
    slash = rest.rfind("/")
    colon = rest.find(":", slash + 1)
    tag = ""
    if colon >= 0:
        rest, tag = rest[:colon], rest[colon + 1 :]
        _check_tag(text, tag)
    registry, repository = _split_registry(rest)
    _check_registry(text, registry)
    _check_repository(text, repository)
    if len(registry) + 1 + len(repository) > MAXIMUM_NAME:
        raise _refusal(text, f"the name is longer than {MAXIMUM_NAME} characters")
    tag = tag or ("" if digest else DEFAULT_TAG)
    return Reference(registry, repository, tag, digest, is_artifact)


def is_hex(text: str) -> bool:
    """Whether the text is lower-case hexadecimal, as digests and image ids are."""
    return bool(text) and not set(text) - _HEX


def _split_registry(rest: str) -> tuple[str, str]:
    first, slash, others = rest.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not is_host:
        registry, repository = DEFAULT_REGISTRY, rest
    else:
        registry, repository = first, others
    if registry in ("index.docker.io", DEFAULT_REGISTRY):
        registry = DEFAULT_REGISTRY
        if "/" not in repository:
            repository = f"library/{repository}"
    return registry, repository


def _check_registry(text: str, registry: str) -> None:
    host, colon, port = registry.rpartition(":")
    if not colon or registry.endswith("]"):
        host, port = registry, "0"
    if not (port.isascii() and port.isdigit()):
        raise _refusal(text, f"{port!r} is no port number")
    if host.startswith("[") and host.endswith("]"):
        if not is_hex(host[1:-1].lower().replace(":", "")):
            raise _refusal(text, f"{host!r} is no IPv6 address")
        return
    for label in host.split("."):
        if (
            not label
            or set(label.lower()) - _LOWER - {"-"}
            or label.startswith("-")
            or label.endswith("-")
        ):
            raise _refusal(text, f"{host!r} is no host name")


def _check_repository(text: str, repository: str) -> None:
    for part in repository.split("/"):
        if not part:
            raise _refusal(text, "a part of the name is empty")
        if part != part.lower():
            raise _refusal(
                text,
                f"{part!r} has capital letters, names are lower case",
                remedy=f"did you mean {text.lower()}",
            )
        if strange := sorted(set(part) - _LOWER - set("._-")):
            raise _refusal(text, f"{strange[0]!r} cannot stand in a name")
        if part[0] not in _LOWER or part[-1] not in _LOWER or not _separators_fit(part):
            raise _refusal(
                text,
                f"{part!r}: letters and digits, with one '.', one or two '_', or '-' between them",
            )
    alone = repository.removeprefix("library/")
    if len(alone) == 64 and is_hex(alone):
        raise _refusal(text, "64 hexadecimal digits are an image id, not a name")


def _separators_fit(part: str) -> bool:
    run = ""
    for character in part:
        if character in _LOWER:
            if run and run not in (".", "_", "__") and set(run) != {"-"}:
                return False
            run = ""
        else:
            run += character
    return True


def _check_tag(text: str, tag: str) -> None:
    if not tag:
        raise _refusal(text, "the tag after ':' is empty")
    if len(tag) > MAXIMUM_TAG:
        raise _refusal(text, f"the tag is longer than {MAXIMUM_TAG} characters")
    if tag[0] not in _WORD or set(tag) - _WORD - {".", "-"}:
        raise _refusal(text, f"{tag!r} is no tag: letters, digits, '_', '.', '-', not first '.-'")


def _check_digest(text: str, digest: str) -> None:
    algorithm, _, value = digest.partition(":")
    length = _DIGEST_LENGTHS.get(algorithm)
    if length is None:
        raise _refusal(text, f"{digest!r} is no digest: sha256:<64 hexadecimal digits>")
    if len(value) != length or not is_hex(value):
        raise _refusal(text, f"{algorithm} has {length} hexadecimal digits in lower case")


def _refusal(text: str, evidence: str, remedy: str = "") -> ImageNameError:
    def hide(said: str) -> str:
        return said.replace(password, ":********@") if password else said

    password = _password_in(text)
    return ImageNameError(
        hide(f"{text!r} is not an image name"),
        evidence=hide(evidence),
        remedy=hide(remedy or "write NAME[:TAG], e.g. my/image:1.0"),
    )


def _password_in(text: str) -> str:
    """``:PASSWORD@`` of ``[SCHEME://]USER:PASSWORD@HOST``, which nobody shall read in a log; else empty."""
    authority = (text.partition("://")[2] or text).partition("/")[0]
    user, at, host = authority.rpartition("@")
    _, colon, password = user.partition(":")
    return f":{password}@" if at and colon and not host.startswith("sha") else ""
