"""Names of CDI: kinds, devices, qualified names, annotation keys (CDI SPEC.md; field note, 5.3)."""

import re
from collections.abc import Mapping

from sampan.errors import SampanError

_WORD = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?", re.ASCII)
_DEVICE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?", re.ASCII)
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.ASCII)
ANNOTATION_PREFIX = "cdi.k8s.io/"
MAXIMUM_ANNOTATIONS_BYTES = 256 << 10


class CdiNameError(SampanError):
    """A word is no fully qualified CDI device name."""

    id = "cdi-name"


def kind_problem(kind: str) -> str:
    """What is wrong with ``vendor/class``; empty when nothing is."""
    vendor, separator, class_name = kind.partition("/")
    if not separator or not vendor or not class_name:
        return f"kind {kind!r} is not of the form vendor.com/class"
    for what, word in (("vendor", vendor), ("class", class_name)):
        if not _WORD.fullmatch(word):
            return (
                f"{what} {word!r}: begins with a letter, ends with a letter or digit, with"
                " letters, digits, '_', '.' and '-' between"
            )
    return ""


def device_problem(name: str) -> str:
    """What is wrong with a device's name; empty when nothing is."""
    if _DEVICE.fullmatch(name):
        return ""
    return (
        f"device name {name!r}: begins and ends with a letter or digit, with letters, digits, '_',"
        " '.', ':' and '-' between"
    )


def annotation_problems(annotations: tuple[tuple[str, str], ...]) -> list[str]:
    """What is wrong with a document's or device's annotations, which follow Kubernetes' rules."""
    problems = []
    for key, _ in annotations:
        prefix, separator, name = key.rpartition("/")
        fits = len(name) <= 63 and _KEY.fullmatch(name)
        if separator:
            fits = fits and len(prefix) <= 253 and _PREFIX.fullmatch(prefix.lower())
        if not fits:
            problems.append(f"annotation key {key!r} is not of the form [prefix/]name")
    if sum(len(key) + len(value) for key, value in annotations) > MAXIMUM_ANNOTATIONS_BYTES:
        problems.append(f"annotations are longer than {MAXIMUM_ANNOTATIONS_BYTES >> 10} KiB")
    return problems


def is_qualified(word: str) -> bool:
    """Whether a word is ``vendor.com/class=name`` (a path to a node is not)."""
    kind, separator, name = word.partition("=")
    return bool(separator) and not kind_problem(kind) and not device_problem(name)


def split_qualified(word: str) -> tuple[str, str]:
    """Kind and device name of ``vendor.com/class=name``.

    Raises:
        CdiNameError: not of that form.
    """
    kind, separator, name = word.partition("=")
    problem = kind_problem(kind) if separator else "there is no '='"
    problem = problem or device_problem(name)
    if problem:
        raise CdiNameError(
            f"{word!r} is no qualified CDI device name",
            evidence=problem,
            remedy="write vendor.com/class=name; sampan cdi list shows those of this host",
        )
    return kind, name


def requested_devices(
    annotations: Mapping[str, str], prefixes: tuple[str, ...] = (ANNOTATION_PREFIX,)
) -> tuple[str, ...]:
    """Qualified names that a container's annotations ask for, in the order of the keys.

    Args:
        annotations: of the container; ``<prefix><plugin>_<device id>`` = comma list.
        prefixes: of the keys that count.

    Raises:
        CdiNameError: one of the items is not fully qualified; then none is taken.
    """
    names: dict[str, None] = {}
    for key in sorted(annotations):
        if not key.startswith(prefixes):
            continue
        for word in annotations[key].split(","):
            split_qualified(word)
            names[word] = None
    return tuple(names)
