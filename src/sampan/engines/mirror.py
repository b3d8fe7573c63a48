"""Many images from one place to another: a list of names, a repository, a space of NGC's.

What is there already costs one question, so a mirror that was broken off, or ran yesterday, goes on
with what is new. One image that fails does not keep the others from being copied.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from sampan.engines.copy import (
    CopyOptions,
    copy_between,
    open_end,
    open_target,
    read_creation,
)
from sampan.errors import SampanError, UsageError
from sampan.model.reference import DEFAULT_REGISTRY, Reference, parse_reference
from sampan.model.transfer import Hear, TransferEvent
from sampan.registry.catalogue import list_tags
from sampan.registry.hub import list_hub_space
from sampan.registry.listings import TagListing
from sampan.registry.ngc import list_images_of_space
from sampan.registry.settings import NGC
from sampan.registry.shared_clients import kept_clients


class MirrorOptions(NamedTuple):
    """What of a source to take.

    Attributes:
        tags: patterns of the shell, or regular expressions between slashes; a tag must fit one of
            them. Empty = all.
        newer_than_s: only tags that were changed in so many seconds; where the registry does not
            tell that, images that were made in them.
        limit: the newest so many tags of a repository; 0 = all.
        copying: platforms, jobs, patience.
        dry_run: say what would be copied.
    """

    tags: tuple[str, ...] = ()
    newer_than_s: float | None = None
    limit: int = 0
    copying: CopyOptions = CopyOptions(every_platform=True)
    dry_run: bool = False


class Mirrored(NamedTuple):
    """One image's outcome.

    Attributes:
        source: its name.
        target: its name there.
        outcome: ``copied``, ``present``, ``wanted`` (a dry run's), ``failed``.
        digest: of what was copied; empty when it failed or was not asked.
        moved_bytes: over the network.
        error: why it failed.
    """

    source: str
    target: str
    outcome: str
    digest: str = ""
    moved_bytes: int = 0
    error: SampanError | None = None


def mirror(
    sources: Sequence[str],
    destination: str,
    *,
    environment: Mapping[str, str],
    options: MirrorOptions,
    hear: Hear = lambda _: None,
    tell: Callable[[Mirrored], None] = lambda _: None,
) -> list[Mirrored]:
    """Copy all that sources name below a destination.

    Args:
        sources: names with a tag or digest (one image), names without (a repository's tags, as the
            options choose them), ``REGISTRY/SPACE/`` or ``REGISTRY/SPACE/*`` (all repositories of a
            space of nvcr.io or docker.io).
        destination: ``REGISTRY[/PREFIX]``; repositories keep their path below it. Or
            ``oci:DIRECTORY``: one layout, each image under its whole name.
        environment: variables: credentials, proxies, homes.
        options: see there.
        hear: what happens to blobs; called by several threads.
        tell: hears each image's outcome.

    Returns:
        All outcomes.

    Raises:
        UsageError: a pattern, the destination or a source cannot be used.
        ImageNameError: likewise.
    """
    fits = _tag_filter(options.tags)
    parsed = [_parse(source) for source in sources]
    _check_destination(destination)
    outcomes = []
    with kept_clients():
        for source in parsed:
            for outcome in _mirror_source(source, destination, environment, options, fits, hear):
                tell(outcome)
                outcomes.append(outcome)
    return outcomes


def read_list(text: str) -> list[str]:
    """The names in a list: one a line, ``#`` begins a comment; words after the name are ignored."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return [words[0] for words in lines if words]


class _Source(NamedTuple):
    """What a user named: ``kind`` is ``image``, ``repository`` or ``space``."""

    kind: str
    text: str
    reference: Reference


def _parse(text: str) -> _Source:
    if text.endswith(("/", "/*")):
        space = text.rstrip("*").rstrip("/")
        reference = parse_reference(f"{space}/any")
        if reference.registry not in (NGC, DEFAULT_REGISTRY):
            raise UsageError(
                f"{reference.registry} does not tell what repositories it has",
                evidence=text,
                remedy="name the repositories, e.g. in a file with one a line",
            )
        return _Source("space", text, reference)
    reference = parse_reference(text)
    tail = text.rpartition("/")[2]
    kind = "image" if ":" in tail or "@" in tail else "repository"
    return _Source(kind, text, reference)


def _mirror_source(
    source: _Source,
    destination: str,
    environment: Mapping[str, str],
    options: MirrorOptions,
    fits: Callable[[str], bool],
    hear: Hear,
) -> Iterator[Mirrored]:
    try:
        references = list(_expand(source, environment, options, fits, hear))
    except SampanError as error:
        yield Mirrored(source.text, "", "failed", error=error)
        return
    for one in references:
        if isinstance(one, Mirrored):
            yield one
            continue
        target = _target_of(one, destination)
        try:
            yield _copy(one, target, environment, options, hear)
        except SampanError as error:
            yield Mirrored(one.familiar, target, "failed", error=error)


def _expand(
    source: _Source,
    environment: Mapping[str, str],
    options: MirrorOptions,
    fits: Callable[[str], bool],
    hear: Hear,
) -> Iterator[Reference | Mirrored]:
    """The images of a source; repositories that cannot be listed come as failures."""
    if source.kind == "image":
        yield source.reference
        return
    repositories = [source.reference]
    if source.kind == "space":
        repositories = [
            source.reference._replace(repository=name)
            for name in _list_space(source.reference, environment, options)
        ]
    for repository in repositories:
        try:
            tags = _choose_tags(repository, environment, options, fits, hear)
        except SampanError as error:
            yield Mirrored(repository.familiar_name, "", "failed", error=error)
            continue
        yield from (repository._replace(tag=tag) for tag in tags)


def _list_space(
    reference: Reference, environment: Mapping[str, str], options: MirrorOptions
) -> list[str]:
    space = reference.repository.rpartition("/")[0]
    settings = options.copying.settings
    if reference.registry == NGC:
        org, _, team = space.partition("/")
        images = list_images_of_space(org, team or None, environment=environment, settings=settings)
        return sorted({image.repository for image in images})
    found = list_hub_space(space, environment=environment, settings=settings)
    return sorted({each.repository for each in found})


def _choose_tags(
    repository: Reference,
    environment: Mapping[str, str],
    options: MirrorOptions,
    fits: Callable[[str], bool],
    hear: Hear,
) -> list[str]:
    found = list_tags(
        repository,
        order="date",
        limit=0,
        pattern="",
        environment=environment,
        settings=options.copying.settings,
    )
    for note in found.notes:
        hear(TransferEvent("warning", note))
    tags = [each for each in found.tags if fits(each.tag)]
    if options.newer_than_s is not None:
        tags = _newer(tags, options, repository, environment)
    return [each.tag for each in (tags[: options.limit] if options.limit else tags)]


def _newer(
    tags: list[TagListing],
    options: MirrorOptions,
    repository: Reference,
    environment: Mapping[str, str],
) -> list[TagListing]:
    if not any(each.updated for each in tags):
        tags = [
            each._replace(
                updated=_creation(repository._replace(tag=each.tag), environment, options)
            )
            for each in tags
        ]
        tags.sort(key=lambda each: each.updated, reverse=True)
    # ISO 8601 in UTC sorts as text.
    oldest = time.strftime(
        "%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - (options.newer_than_s or 0))
    )
    return [each for each in tags if each.updated >= oldest]


def _creation(reference: Reference, environment: Mapping[str, str], options: MirrorOptions) -> str:
    with open_end(str(reference), environment, options.copying.settings) as end:
        return read_creation(end, options.copying.platform, reference.familiar)


def _copy(
    reference: Reference,
    target: str,
    environment: Mapping[str, str],
    options: MirrorOptions,
    hear: Hear,
) -> Mirrored:
    settings = options.copying.settings
    name = reference.familiar
    with (
        open_end(str(reference), environment, settings) as end,
        open_target(target, environment, settings) as goal,
    ):
        if options.dry_run:
            top = end.find_top()
            outcome = "present" if goal.has_top(top) else "wanted"
            return Mirrored(name, target, outcome, top.digest)
        result = copy_between(end, goal, options.copying, name, hear)
    outcome = "copied" if result.is_new else "present"
    return Mirrored(name, target, outcome, result.digest, result.moved_bytes)


def _target_of(reference: Reference, destination: str) -> str:
    if destination.startswith("oci:"):
        return f"{destination}:{reference}"
    name = f"{destination.rstrip('/')}/{reference.repository}"
    return f"{name}:{reference.tag}" if reference.tag else f"{name}@{reference.digest}"


def _check_destination(destination: str) -> None:
    if destination.startswith("oci:"):
        if ":" in destination[4:]:
            raise UsageError(
                f"{destination} has a tag",
                evidence="each image gets its whole name there",
                remedy=f"use {destination.rpartition(':')[0]}",
            )
        return
    tail = destination.rstrip("/").rpartition("/")[2]
    first = destination.partition("/")[0]
    is_host = "." in first or ":" in first or first == "localhost"
    if "/" in destination.rstrip("/") and (":" in tail or "@" in tail):
        raise UsageError(
            f"{destination} has a tag",
            evidence="repositories and tags are the sources'",
            remedy="write REGISTRY[/PREFIX]",
        )
    if not is_host and first != DEFAULT_REGISTRY:
        raise UsageError(
            f"{destination} does not begin with a registry",
            remedy=f"write REGISTRY[/PREFIX], e.g. registry.example/mirror or docker.io/{first}",
        )


def _tag_filter(patterns: Sequence[str]) -> Callable[[str], bool]:
    tests: list[Callable[[str], bool]] = []
    for pattern in patterns:
        if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/"):
            try:
                expression = re.compile(pattern[1:-1])
            except re.error as error:
                raise UsageError(
                    f"{pattern} is no regular expression", evidence=str(error)
                ) from error
            tests.append(lambda tag, e=expression: e.search(tag) is not None)  # type: ignore[misc]
        else:
            tests.append(lambda tag, p=pattern: fnmatchcase(tag, p))  # type: ignore[misc]
    return lambda tag: not tests or any(test(tag) for test in tests)
