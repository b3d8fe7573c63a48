"""Puts what engines execute into a directory of its own, and the names others look for into ``bin``.

The directory needs neither the environment that ``sampan`` was installed into nor site-packages: it
holds a copy of our modules and of the few that they depend on, compiled for the system's own
interpreter. A virtual environment may be upgraded or removed; ``sampan install`` again brings the
copy up to date. When the distribution's interpreter changes its version, the copy still works, more
slowly, until then.
"""

import hashlib
import importlib.util
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import sampan
from sampan.dropin.names import CHOICES, PROGRAMS
from sampan.dropin.places import SYSTEM_DIRECTORY
from sampan.dropin.runtime import KEPT, PASSED, RUNTIME
from sampan.dropin.settings import CONFIG
from sampan.dropin.stub import OLDEST, choose_interpreter, install_hook, interpreters
from sampan.errors import SampanError
from sampan.kernel.atomic import write_atomic
from sampan.kernel.process import run_program
from sampan.kernel.trust import who_may_change

PREFIX = "/usr/local"
MANIFEST = "installed.json"
LIBRARY = "lib-"
BACKUP = ".before-sampan"
DEPENDENCIES = ("pynvml", "tomlkit", "yaml")
"""Modules of other distributions that the copied commands use; one that is absent stays so."""
_STUB = """\
#!{interpreter} -BIS
import gc
import sys

gc.disable()
# First: the standard library need not be searched for what is here.
sys.path.insert(0, {library!r})
from {module} import program

{call}
"""


_RUNTIME = """\
#!/bin/sh
# Only create and run need more than the real runtime; for other calls the last of those has kept its
# path, with the configuration that named it. A shell costs a millisecond here, an interpreter ten.
# Not of POSIX, but known to dash, bash and busybox: -nt and -O.
for word do
  case $word in
    create | run) exec {interpreter} -BIS {home}/sampan-runtime.py "$@" ;;
  esac
done
kept={kept}
config=${{NVIDIA_CTK_CONFIG_FILE_PATH:-{config}}}
if [ -z "${{XDG_CONFIG_HOME:-}}" ] && [ -O "$kept" ] && [ "${{{passed}:-}}" != $$ ]; then
  if [ ! -e "$config" ] || [ "$kept" -nt "$config" ]; then
    {{ read -r named && read -r low_level; }} <"$kept"
    [ "$named" = "$config" ] && [ -x "$low_level" ] && {passed}=$$ exec "$low_level" "$@"
  fi
fi
exec {interpreter} -BIS {home}/sampan-runtime.py "$@"
"""


class InstallError(SampanError):
    """The drop-ins cannot be installed, or taken away, there."""

    id = "install"


class Installed(NamedTuple):
    """What was put where.

    Attributes:
        home: the directory of the programs.
        names: path of each link, and the program that it leads to.
        backups: path of each file that gave way, and where it lies now.
    """

    home: str
    names: dict[str, str]
    backups: dict[str, str]


def install(prefix: str = PREFIX, *, names: str = "all", force: bool = False) -> Installed:
    """Put everything in place; repeating it brings an older installation up to date.

    Args:
        prefix: programs go below ``libexec/sampan``, names into ``bin``.
        names: of ``names.CHOICES``.
        force: files of those names that are not ours give way; they are kept, and restored later.

    Raises:
        InstallError: a name is taken, another user may change the place, it cannot be written.
        HookInstallError: there is no interpreter that can be relied on.
    """
    root = os.path.abspath(prefix)
    home = Path(root, "libexec", "sampan")
    binary = Path(root, "bin")
    before = read_manifest(str(home))
    links = {str(binary / name): str(home / program) for name, program in CHOICES[names].items()}
    taken = [path for path in links if os.path.lexists(path) and not _is_ours(path, home)]
    if taken and not force:
        raise InstallError(
            f"files that are not Sampan's have the names: {', '.join(taken)}",
            evidence="they may belong to NVIDIA's toolkit, which uses the same names",
            remedy="sampan install --force    keeps them aside, and uninstall restores them;"
            " or: sampan install --names sampan",
        )
    try:
        for directory in (home, binary):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            _require_trusted(directory)
        interpreter = _choose_system_interpreter()
        library = _install_library(home, interpreter)
        for name, stub in PROGRAMS.items():
            text = _STUB.format(
                interpreter=interpreter,
                library=str(library),
                module=stub.module,
                call=stub.call.format(home=str(home)),
            )
            write_atomic(home / name, text.encode(), 0o755)
        _write_runtime(home, interpreter)
        _use_interpreter(Path(install_hook(str(home))), interpreter)
        backups = dict(before.backups) if before else {}
        made = Installed(str(home), {**(before.names if before else {}), **links}, backups)
        for path in taken:
            backups[path] = _set_aside(path)
            # After each one, so that whatever happens next is known how to undo.
            _write_manifest(home, made)
        for path, program in links.items():
            _link(path, program)
        _write_manifest(home, made)
        _remove_older(home, library)
    except OSError as error:
        raise InstallError(
            f"cannot install below {root}",
            evidence=f"{error.strerror}: {error.filename or root}",
            remedy=f"sudo sampan install --prefix {root}",
        ) from error
    return made


def uninstall(prefix: str = PREFIX) -> Installed:
    """Take everything away again, and put back what gave way; what is not ours by now stays.

    Raises:
        InstallError: there is no installation, or it cannot be removed.
    """
    home = Path(os.path.abspath(prefix), "libexec", "sampan")
    made = read_manifest(str(home))
    if made is None:
        raise InstallError(
            f"nothing of Sampan's is installed below {os.path.abspath(prefix)}",
            evidence=f"there is no {home / MANIFEST}",
            remedy="sampan uninstall --prefix DIR    names another place",
        )
    try:
        for path in made.names:
            if os.path.lexists(path) and _is_ours(path, home):
                os.unlink(path)
        for path, backup in made.backups.items():
            if os.path.lexists(backup) and not os.path.lexists(path):
                os.rename(backup, path)
        shutil.rmtree(home)
    except OSError as error:
        raise InstallError(
            f"cannot remove what is below {home}",
            evidence=f"{error.strerror}: {error.filename or home}",
            remedy=f"sudo sampan uninstall --prefix {prefix}",
        ) from error
    return made


def read_manifest(home: str) -> Installed | None:
    """What an installation says of itself; None when there is none."""
    try:
        document = json.loads(Path(home, MANIFEST).read_bytes())
        return Installed(home, dict(document["names"]), dict(document["backups"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _write_manifest(home: Path, made: Installed) -> None:
    document = {"version": _version(), "names": made.names, "backups": made.backups}
    write_atomic(home / MANIFEST, json.dumps(document, indent=2).encode() + b"\n")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("sampan")
    except PackageNotFoundError:
        return ""


def _choose_system_interpreter() -> str:
    """The distribution's own name without a version, which outlives an upgrade, if it is new enough."""
    plain = "/usr/bin/python3"
    version = os.path.basename(os.path.realpath(plain)).removeprefix("python3.")
    if version.isdecimal() and (3, int(version)) >= OLDEST and not who_may_change(plain):
        return plain
    return choose_interpreter(interpreters())


def _write_runtime(home: Path, interpreter: str) -> None:
    text = _RUNTIME.format(
        interpreter=interpreter,
        home=shlex.quote(str(home)),
        kept=f"{SYSTEM_DIRECTORY}/{KEPT}",
        config=CONFIG,
        passed=PASSED,
    )
    write_atomic(home / RUNTIME, text.encode(), 0o755)


def _use_interpreter(stub: Path, interpreter: str) -> None:
    """Have a stub name the interpreter that all others here name."""
    _, _, rest = stub.read_text().partition("\n")
    write_atomic(stub, f"#!{interpreter} -BIS\n{rest}".encode(), 0o755)


def _install_library(home: Path, interpreter: str) -> Path:
    """Copy the modules into a directory named by their content, whole or not at all."""
    contents = dict(_read_files())
    digest = hashlib.sha256(os.path.realpath(interpreter).encode())
    for path, content in sorted(contents.items()):
        digest.update(f"{path} {len(content)} ".encode() + content)
    library = home / f"{LIBRARY}{digest.hexdigest()[:12]}"
    if library.is_dir():
        return library
    temporary = home / f".tmp-{os.getpid()}-library"
    shutil.rmtree(temporary, ignore_errors=True)
    for path, content in contents.items():
        target = temporary / path
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o644)
    temporary.chmod(0o755)
    words = ["-I", "-S", "-m", "compileall", "-q", "-j", "0", "-s", str(temporary)]
    # By hash and unchecked: at start the sources are not even looked at.
    words += ["-p", str(library), "--invalidation-mode", "unchecked-hash", str(temporary)]
    run_program([interpreter, *words])
    os.rename(temporary, library)
    return library


def _read_files() -> Iterator[tuple[str, bytes]]:
    """Path in the library and content of each file of ours and of those that we depend on."""
    places = [Path(sampan.__file__).parent]
    for name in DEPENDENCIES:
        found = importlib.util.find_spec(name)
        if found is not None and found.origin:
            origin = Path(found.origin)
            places.append(origin.parent if found.submodule_search_locations else origin)
    for place in places:
        files = [place] if place.is_file() else sorted(place.rglob("*"))
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                yield str(file.relative_to(place.parent)), file.read_bytes()


def _require_trusted(directory: Path) -> None:
    problem = who_may_change(str(directory))
    if problem:
        raise InstallError(
            f"{directory} is no place for what engines run as root",
            evidence=problem,
            remedy=f"sudo sampan install --prefix {PREFIX}",
        )


def _is_ours(path: str, home: Path) -> bool:
    return os.path.islink(path) and os.readlink(path).startswith(f"{home}/")


def _set_aside(path: str) -> str:
    backup = f"{path}{BACKUP}"
    number = 1
    while os.path.lexists(backup):
        number += 1
        backup = f"{path}{BACKUP}-{number}"
    os.rename(path, backup)
    return backup


def _link(path: str, program: str) -> None:
    temporary = f"{path}.tmp-{os.getpid()}"
    os.symlink(program, temporary)
    os.rename(temporary, path)


def _remove_older(home: Path, library: Path) -> None:
    """All libraries but this one and the newest other, which a starting container may be reading."""
    others = sorted(
        (one for one in home.glob(f"{LIBRARY}*") if one != library),
        key=lambda one: one.stat().st_mtime,
    )
    for other in others[:-1]:
        shutil.rmtree(other)
