"""Writes ``sampan-hook`` into a directory of its own, so that it needs neither us nor our environment.

A CDI document outlives an upgrade of Sampan, and engines run its hook as root: it must not import
from a place that a user may write, nor from a virtual environment that may go. So the few modules
that it needs are copied beside a stub, compiled, and started by the system's own interpreter without
site-packages (``-I -S``). Installing is not on the hook's start path.
"""

import hashlib
import os
import py_compile
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sampan.errors import SampanError
from sampan.kernel.atomic import write_atomic
from sampan.kernel.trust import who_may_change
from sampan.model.hook import PROGRAM

MODULES: tuple[str, ...] = (
    "sampan", "sampan.dropin", "sampan.dropin.hook", "sampan.dropin.loader", "sampan.dropin.quick_json",
    "sampan.dropin.state",
    "sampan.injection", "sampan.injection.compat", "sampan.injection.container_texts",
    "sampan.injection.ldcache", "sampan.kernel", "sampan.kernel.cover", "sampan.kernel.inroot",
    "sampan.kernel.libc", "sampan.kernel.root_handle", "sampan.model", "sampan.model.elf_note",
    "sampan.model.facts", "sampan.model.hook", "sampan.model.inventory", "sampan.model.ldcache",
)  # fmt: skip
"""All of ours that the hook imports; a test compares."""
SMALL_TYPING = "dropin/small_typing.py"
"""In the hook's library it is called ``typing``."""
LIBRARY = "hook-"
DIRECTORY = "/usr/local/libexec/sampan"
OLDEST = (3, 11)
_NEWEST_MINOR = 19
_STUB = """\
#!{interpreter} -BIS
import gc
import sys

gc.disable()
# First: a small "typing" for a start without the big one.
sys.path.insert(0, {library!r})
from sampan.dropin.hook import program

program()
"""


class HookInstallError(SampanError):
    """The hook cannot be installed there."""

    id = "hook-install"


def install_hook(directory: str = DIRECTORY) -> str:
    """Write the hook below ``directory`` (made if it misses) and return the program's path.

    Repeating it brings an older one up to date. As root only what root alone may change is accepted:
    the interpreter, the directory and those above it.

    Raises:
        HookInstallError: somebody else may change one of them, there is no interpreter, or the
            directory cannot be written.
    """
    interpreter = choose_interpreter(interpreters())
    home = Path(os.path.abspath(directory))
    stub = home / PROGRAM
    contents = dict(_read_modules())
    # Named by its content: a hook that is starting just now finds all its modules of one kind.
    library = home / f"{LIBRARY}{_digest(contents)}"
    text = _STUB.format(interpreter=interpreter, library=str(library))
    try:
        home.mkdir(mode=0o755, parents=True, exist_ok=True)
        _require_trusted(str(home))
        for path, content in contents.items():
            _write_module(library / path, content)
        before = stub.read_text() if stub.exists() else ""
        write_atomic(stub, text.encode(), 0o755)
        for other in home.glob(f"{LIBRARY}*"):
            if other != library and str(other) not in before:
                shutil.rmtree(other)
    except OSError as error:
        raise HookInstallError(
            f"cannot install {PROGRAM} in {home}",
            evidence=f"{error.strerror}: {error.filename or home}",
            remedy=f"sudo sampan cdi install-hook {home}",
        ) from error
    return str(stub)


def interpreters() -> Iterator[str]:
    """Interpreters that may be there whatever becomes of a virtual environment, best first."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    yield f"/usr/bin/{name}"
    yield os.path.realpath(f"{sys.base_prefix}/bin/{name}")
    for directory in ("/usr/bin", "/usr/local/bin"):
        for minor in range(_NEWEST_MINOR, OLDEST[1] - 1, -1):
            yield f"{directory}/python3.{minor}"


def choose_interpreter(candidates: Iterable[str]) -> str:
    """The first that exists and that nobody but root (or the caller) may change.

    Raises:
        HookInstallError: there is none.
    """
    refused = []
    for path in candidates:
        if not os.access(path, os.X_OK):
            continue
        try:
            _require_trusted(path)
        except HookInstallError as error:
            refused.append(error.evidence)
            continue
        # A name in /proc or a path with a space cannot stand in a first line.
        if " " not in path and len(path) < 100:
            return path
    raise HookInstallError(
        "there is no interpreter that the hook could rely on",
        evidence="; ".join(dict.fromkeys(refused)) or "no python3.11 or newer in /usr/bin",
        remedy="sudo apt-get install python3",
    )


def _read_modules() -> Iterator[tuple[str, bytes]]:
    """Path below the library's directory and source of each of MODULES."""
    source = Path(__file__).parents[1]
    for module in MODULES:
        place = source.joinpath(*module.split(".")[1:])
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        yield f"{source.name}/{file.relative_to(source)}", file.read_bytes()
    yield "typing.py", (source / SMALL_TYPING).read_bytes()


def _digest(contents: Mapping[str, bytes]) -> str:
    found = hashlib.sha256()
    for path, content in sorted(contents.items()):
        found.update(f"{path} {len(content)} ".encode() + content)
    return found.hexdigest()[:12]


def _write_module(target: Path, content: bytes) -> None:
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_atomic(target, content, 0o644)
    # By hash and unchecked: at start the source is not even looked at.
    py_compile.compile(
        str(target), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )


def _require_trusted(path: str) -> None:
    """Refuse a path that another user could change.

    Raises:
        HookInstallError: with whom and what.
    """
    problem = who_may_change(path)
    if problem:
        raise HookInstallError(
            f"{path} is no place for what engines run as root",
            evidence=problem,
            remedy=f"sampan cdi install-hook {DIRECTORY}",
        )
