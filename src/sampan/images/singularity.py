"""The layer that Apptainer, Singularity and Enroot need to find in an image.

Apptainer and Singularity look in ``/.singularity.d`` for the environment (``env/*.sh``), what to run
(``runscript``, ``startscript``) and labels; they bind host files over paths that must exist. Enroot
reads ``/etc/rc``, ``/etc/environment`` and ``/etc/fstab``. Our own engine reads none of this.

Everything is plain POSIX shell with values in single quotes, so any byte survives but NUL, which
neither an environment nor an argument can hold and which is left out.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sampan.images.generated import GeneratedPath
from sampan.images.tree import Node, resolve
from sampan.model.image import ImageConfig
from sampan.model.layer import EntryKind

_HOME = b".singularity.d"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

_ROOT_LINKS = (
    (b"singularity", b".singularity.d/runscript"),
    (b"environment", b".singularity.d/env/90-environment.sh"),
    (b".exec", b".singularity.d/actions/exec"),
    (b".run", b".singularity.d/actions/run"),
    (b".shell", b".singularity.d/actions/shell"),
    (b".test", b".singularity.d/actions/test"),
)

_BIND_DIRECTORIES = (
    (b"dev", 0o755),
    (b"etc", 0o755),
    (b"home", 0o755),
    (b"proc", 0o555),
    (b"root", 0o700),
    (b"sys", 0o555),
    (b"tmp", 0o1777),
    (b"var/tmp", 0o1777),
)
_BIND_FILES = (b"etc/hosts", b"etc/resolv.conf")

_LOAD_ENVIRONMENT = b"""\
for part in /.singularity.d/env/*.sh; do
    if [ -f "$part" ]; then
        . "$part"
    fi
done
"""

_SHELL = b"#!/bin/sh\n"

_ACTIONS = {
    b"exec": b'exec "$@"\n',
    b"run": b'exec /.singularity.d/runscript "$@"\n',
    b"shell": b"""\
if [ -x /bin/bash ]; then
    exec /bin/bash --norc "$@"
fi
exec /bin/sh "$@"
""",
    b"start": b'exec /.singularity.d/startscript "$@"\n',
    b"test": b"""\
if [ -x /.singularity.d/test ]; then
    exec /.singularity.d/test "$@"
fi
echo 'this image has no test'
""",
}


def plan_generated_layer(root: Node, config: ImageConfig, *, reference: str) -> list[GeneratedPath]:
    """What to add to the image.

    Args:
        root: the tree of the image's own layers.
        config: of the image.
        reference: the name it is imported under, for the labels; may be empty.
    """
    paths = [
        GeneratedPath(_HOME, EntryKind.WHITEOUT),
        _directory(_HOME),
        _directory(_HOME + b"/actions"),
        _directory(_HOME + b"/env"),
        _directory(_HOME + b"/libs"),
        _file(_HOME + b"/Singularity", definition(reference), 0o644),
        _file(_HOME + b"/labels.json", _labels(config, reference), 0o644),
        _script(_HOME + b"/runscript", _runscript(config)),
        _script(_HOME + b"/startscript", _SHELL + b"# No service starts with this image.\n"),
        _script(_HOME + b"/env/01-base.sh", _SHELL + b"# The image's variables follow in 10.\n"),
        _script(_HOME + b"/env/10-docker2singularity.sh", _environment_script(config.environment)),
        _script(_HOME + b"/env/90-environment.sh", _SHELL + b"# Room for your own variables.\n"),
        _script(
            _HOME + b"/env/99-base.sh",
            _SHELL
            + b'LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/.singularity.d/libs"\n'
            + b"export LD_LIBRARY_PATH\n",
        ),
    ]
    paths += [
        _script(_HOME + b"/actions/" + name, _SHELL + _LOAD_ENVIRONMENT + body)
        for name, body in _ACTIONS.items()
    ]
    assert root.children is not None
    for name, target in _ROOT_LINKS:
        existing = root.children.get(name)
        if existing is None or existing.link.lstrip(b"/").startswith(_HOME):
            paths.append(GeneratedPath(name, EntryKind.SYMLINK, 0o777, link=target))
    enroot = {
        b"etc/rc": (_enroot_rc(config), 0o755),
        b"etc/environment": (_enroot_environment(config.environment), 0o644),
        b"etc/fstab": (b"", 0o644),
    }
    wanted = [
        *(_directory(path, mode) for path, mode in _BIND_DIRECTORIES),
        *(_file(path, b"", 0o644) for path in _BIND_FILES),
        *(_file(path, content, mode) for path, (content, mode) in enroot.items()),
    ]
    for item in wanted:
        free = _find_free(root, item.path)
        if free is not None:
            paths.append(item._replace(path=free))
    return paths


def definition(reference: str) -> bytes:
    """The text that stands for a definition file: where the image comes from."""
    return b"bootstrap: docker\nfrom: " + as_bytes(reference or "unknown") + b"\n"


def quote(word: bytes) -> bytes:
    """``word`` for a POSIX shell, whatever its bytes are.

    A quote is itself quoted by double quotes, not by a backslash: the shell interpreter inside
    Apptainer 1.4.5 keeps a backslash that stands outside of quotes in an assignment.
    """
    return b"'" + word.replace(b"\0", b"").replace(b"'", b"'\"'\"'") + b"'"


def as_bytes(text: str) -> bytes:
    """The bytes that stood in the configuration, even where they were not UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _find_free(root: Node, path: bytes) -> bytes | None:
    """Where ``path`` may be made: nothing is there, and nothing else than a directory above.

    Returns:
        its real path, since a layer's path through a link would hide the link; None when taken.
    """
    place = resolve(root, path)
    if place.node is not None or resolve(root, path, follow_last=False).node is not None:
        return None
    above = path.rpartition(b"/")[0]
    while above:
        node = resolve(root, above).node
        if node is not None:
            return None if node.children is None else place.path[1:]
        if resolve(root, above, follow_last=False).node is not None:
            return None
        above = above.rpartition(b"/")[0]
    return place.path[1:]


def _directory(path: bytes, mode: int = 0o755) -> GeneratedPath:
    return GeneratedPath(path, EntryKind.DIRECTORY, mode)


def _file(path: bytes, content: bytes, mode: int) -> GeneratedPath:
    return GeneratedPath(path, EntryKind.FILE, mode, content)


def _script(path: bytes, content: bytes) -> GeneratedPath:
    return _file(path, content, 0o755)


def _words(words: Iterable[str]) -> bytes:
    return b" ".join(quote(as_bytes(word)) for word in words)


def _runscript(config: ImageConfig) -> bytes:
    """ENTRYPOINT with CMD, which words on the command line replace (image-spec, config.md)."""
    script = _SHELL
    if config.command:
        script += b'if [ "$#" -eq 0 ]; then\n    set -- ' + _words(config.command) + b"\nfi\n"
    if config.entrypoint:
        script += b"exec " + _words(config.entrypoint) + b' "$@"\n'
    else:
        script += b'if [ "$#" -eq 0 ]; then\n    set -- /bin/sh\nfi\nexec "$@"\n'
    return script


def _variables(environment: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Names that a shell accepts, with their values."""
    for variable in environment:
        name, _, value = variable.partition("=")
        if _NAME.match(name):
            yield name, as_bytes(value)


def _environment_script(environment: Iterable[str]) -> bytes:
    """ENV: the image's PATH always, other variables unless the caller has set them."""
    lines = [_SHELL]
    for name, value in _variables(environment):
        shell_name = name.encode()
        assignment = shell_name + b"=" + quote(value) + b"\n"
        if name != "PATH":
            assignment = b'[ -n "${' + shell_name + b'-}" ] || ' + assignment
        lines.append(assignment + b"export " + shell_name + b"\n")
    return b"".join(lines)


def _labels(config: ImageConfig, reference: str) -> bytes:
    labels: dict[str, Any] = {
        "org.label-schema.schema-version": "1.0",
        "org.label-schema.usage.singularity.deffile.bootstrap": "docker",
    }
    if reference:
        labels["org.label-schema.usage.singularity.deffile.from"] = reference
    known: Mapping[str, Any] = config.labels
    return json.dumps({**labels, **known}, indent=1, sort_keys=True).encode() + b"\n"


def _enroot_rc(config: ImageConfig) -> bytes:
    """Enroot starts every container through this file."""
    directory = quote(as_bytes(config.working_directory or "/"))
    entrypoint = _words(config.entrypoint)
    return (
        _SHELL
        + b"mkdir -p " + directory + b" 2>/dev/null\n"
        + b"cd " + directory + b" || exit 1\n"
        + b"if [ -s /etc/rc.local ]; then\n    . /etc/rc.local\nfi\n"
        + b'if [ "$#" -eq 0 ]; then\n    set -- '
        + (_words(config.command) or b"" if config.entrypoint else _words(config.command or ["sh"]))
        + b'\nfi\nexec ' + (entrypoint + b" " if entrypoint else b"") + b'"$@"\n'
    )  # fmt: skip


def _enroot_environment(environment: Iterable[str]) -> bytes:
    """NAME=value lines; a value with a line end has no spelling there and is left out."""
    return b"".join(
        name.encode() + b"=" + value.replace(b"\0", b"") + b"\n"
        for name, value in _variables(environment)
        if b"\n" not in value
    )
