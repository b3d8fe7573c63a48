"""containerd: ``config.toml`` of versions 1 to 3.

containerd 2 merges imported files key by key, so a drop-in file of ours suffices, and the main file gets
one import. containerd 1 replaces a plugin's whole section by that of an imported file (seen: a sandbox image
was lost), so there the main file is edited in place.
"""

import fnmatch
import os
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sampan.engines.configure.edits import Edit, Key, find_value
from sampan.engines.configure.plan import (
    EngineConfigurationError,
    EnginePlan,
    FilePlan,
    Machine,
    Wishes,
    release_text,
)
from sampan.engines.configure.targets import decode, read_target
from sampan.engines.configure.toml_text import TomlText

PLUGINS: dict[int, Key] = {
    1: ("plugins", "cri"),
    2: ("plugins", "io.containerd.grpc.v1.cri"),
    3: ("plugins", "io.containerd.cri.v1.runtime"),
}
"""Where the Kubernetes interface is configured, by the version of the file."""
HAS_CDI = (1, 7)
HAS_CDI_ON = (2,)
RUNTIME_TYPE = "io.containerd.runc.v2"
DROP_IN = "conf.d/99-sampan.toml"
_NOT_COPIED = ("BinaryName", "Root", "ConfigPath", "TypeUrl", "runtime_path")
"""Of the default runtime's settings those that mean its own program."""


class _Present(NamedTuple):
    """containerd's configuration as it is.

    Attributes:
        file: values of the main file alone.
        whole: all of it as containerd sees it, or the main file's where it cannot be asked.
        release: of containerd; empty when it is not here.
    """

    file: Mapping[str, object]
    whole: Mapping[str, object]
    release: tuple[int, ...]


def locate(wishes: Wishes, machine: Machine) -> str:
    """The main file."""
    if wishes.config:
        return wishes.config
    base = "/etc" if machine.is_root else machine.config_home()
    return f"{base}/containerd/config.toml"


def restart(machine: Machine, *, whole: bool) -> tuple[str, ...]:
    """The command that lets containerd know; containers go on."""
    del whole
    return ("systemctl restart containerd" if machine.is_root
            else "systemctl --user restart containerd",)  # fmt: skip


def plan(wishes: Wishes, machine: Machine) -> EnginePlan:
    """What to write for containerd.

    Raises:
        EngineConfigurationError: it refuses its present file, or does not know CDI.
        SampanError: the file cannot be read.
    """
    path = locate(wishes, machine)
    content = read_target(path)
    document = TomlText(decode(path, content), path)
    release = machine.release("containerd")
    whole = document.values()
    if release:
        whole = _ask_whole(machine, path if content is not None else "")
    present = _Present(document.values(), whole, release)
    version = document.values().get("version", 1 if content and content.strip() else 0)
    drops_in = release >= (2,) or (not release and version == 3)
    # Seen with containerd 2.1: a file of version 3 imported by one of version 2 adds a directory to
    # cni.bin_dirs. So both are of one version; version 1 has no imports that are merged.
    schema = (version if version in (2, 3) else 3) if drops_in else version or 2
    if schema not in PLUGINS or not isinstance(schema, int):
        raise EngineConfigurationError(
            f"version {schema!r} of {path} is not known", evidence="known are 1, 2 and 3"
        )
    ours = _edits(wishes, present, PLUGINS[schema])
    files: tuple[FilePlan, ...]
    if drops_in:
        target = os.path.join(os.path.dirname(path), DROP_IN)
        main = [] if document.values() else [Edit(("version",), 3)]
        if not _imports(present, path, target):
            main.append(Edit(("imports",), os.path.dirname(target) + "/*.toml", append=True))
        files = (
            FilePlan(target, "toml", (Edit(("version",), schema), *ours) if ours else ()),
            FilePlan(path, "toml", tuple(main) if ours else ()),
        )
    else:
        head = () if version else (Edit(("version",), 2),)
        files = (FilePlan(path, "toml", (*head, *ours) if ours else ()),)
    return EnginePlan(
        path,
        files,
        restart(machine, whole=True),
        _notes(present, wishes),
        _Check(machine, path, wishes, present),
    )


class _Check:
    """Asks containerd what it makes of its files: nothing of before may be lost, ours must be in."""

    def __init__(self, machine: Machine, path: str, wishes: Wishes, present: _Present) -> None:
        self._machine, self._path, self._wishes, self._present = machine, path, wishes, present

    def __call__(self, before: bool) -> str:
        if before or not self._present.release:
            return ""
        try:
            whole = _ask_whole(self._machine, self._path)
        except EngineConfigurationError as error:
            return error.evidence
        section = _section(whole)
        wishes = self._wishes
        # With the Kubernetes interface switched off containerd 1 does not list its section.
        if wishes.runtime_path and section:
            place = ("containerd", "runtimes", wishes.runtime_name, "options", "BinaryName")
            if find_value(section, place) != wishes.runtime_path:
                return (
                    f"containerd config dump shows {find_value(section, place)!r} as program of the"
                    f" runtime {wishes.runtime_name}: an imported file replaces this section"
                )
        for key, value in _leaves(self._present.whole):
            if key[0] == "imports" or self._is_ours(key):
                continue
            # Options are a plain table: those that say nothing are listed only while none are set.
            if find_value(whole, key) != value and (value or find_value(whole, key)):
                return f"{'.'.join(key)} = {value!r} would be lost"
        return ""

    def _is_ours(self, key: Key) -> bool:
        rest = key[2:]
        return rest in (
            ("containerd", "default_runtime_name"), ("enable_cdi",), ("cdi_spec_dirs",),
        ) or rest[:3] == ("containerd", "runtimes", self._wishes.runtime_name)  # fmt: skip


def _edits(wishes: Wishes, present: _Present, prefix: Key) -> tuple[Edit, ...]:
    edits: list[Edit] = []
    section = _section(present.whole)
    release = present.release
    if wishes.cdi or wishes.spec_dirs:
        if (release and release < HAS_CDI) or prefix == PLUGINS[1]:
            raise EngineConfigurationError(
                f"containerd {release_text(release)} does not know CDI here",
                evidence="it came with 1.7, for files of version 2",
                remedy="sampan configure containerd, and pods with a runtime class",
            )
        on_anyway = release >= HAS_CDI_ON or prefix == PLUGINS[3]
        if not on_anyway or section.get("enable_cdi") is False:
            edits.append(Edit((*prefix, "enable_cdi"), value=True))
        if wishes.spec_dirs:
            edits.append(Edit((*prefix, "cdi_spec_dirs"), list(wishes.spec_dirs)))
    if wishes.runtime_path:
        if wishes.set_as_default:
            edits.append(Edit((*prefix, "containerd", "default_runtime_name"), wishes.runtime_name))
        runtimes = (*prefix, "containerd", "runtimes")
        if prefix != PLUGINS[3] and release < (2,):
            edits += _kept_default(section, find_value(present.file, runtimes), runtimes)
        runtime = (*runtimes, wishes.runtime_name)
        edits += [Edit((*runtime, *key), value) for key, value in _settings(section, wishes)]
        edits.append(Edit((*runtime, "options", "BinaryName"), wishes.runtime_path))
    return tuple(edits)


def _kept_default(section: Mapping[str, Any], listed: object, runtimes: Key) -> list[Edit]:
    """The built-in runtime, written down: containerd 1 forgets it as soon as a file lists another.

    Pods without a runtime class would then fail.
    """
    if listed:
        return []
    settings = _of_default(section) or {("runtime_type",): RUNTIME_TYPE}
    return [Edit((*runtimes, "runc", *key), value) for key, value in settings.items()]


def _of_default(section: Mapping[str, Any]) -> dict[Key, object]:
    """What the default runtime has set."""
    runtimes = find_value(section, ("containerd", "runtimes"))
    default = str(find_value(section, ("containerd", "default_runtime_name")) or "runc")
    model = find_value(runtimes, (default,)) or find_value(runtimes, ("runc",))
    return {key: value for key, value in _leaves(model or {}) if value}


def _settings(section: Mapping[str, Any], wishes: Wishes) -> list[tuple[Key, object]]:
    """Settings of our runtime: what it has already, else what the default runtime has."""
    runtimes = find_value(section, ("containerd", "runtimes"))
    own = find_value(runtimes, (wishes.runtime_name,))
    settings: dict[Key, object] = {}
    if own is None:
        settings = {
            key: value for key, value in _of_default(section).items() if key[-1] not in _NOT_COPIED
        }
    kind = find_value(own, ("runtime_type",)) or settings.get(("runtime_type",))
    # Another shim would not understand BinaryName.
    settings[("runtime_type",)] = (
        kind if str(kind).startswith("io.containerd.runc.") else RUNTIME_TYPE
    )
    return sorted(settings.items(), key=lambda pair: (len(pair[0]), pair[0] != ("runtime_type",)))


def _notes(present: _Present, wishes: Wishes) -> tuple[str, ...]:
    notes = []
    disabled = present.file.get("disabled_plugins")
    if isinstance(disabled, list) and any(str(one).rpartition(".")[2] == "cri" for one in disabled):
        notes.append(
            "the Kubernetes interface is switched off by disabled_plugins; runtimes of this file are"
            " its own, ctr and nerdctl are told on their command lines"
        )
    if not present.release:
        notes.append("containerd is not on this system's PATH, so it was not asked")
    elif wishes.cdi and present.release >= HAS_CDI_ON:
        notes.append(f"containerd {release_text(present.release)} has CDI switched on by itself")
    return tuple(notes)


def _ask_whole(machine: Machine, path: str) -> Mapping[str, object]:
    words = ["--config", path, "config", "dump"] if path else ["config", "default"]
    answer = machine.ask([machine.find("containerd"), *words])
    try:
        if answer.code == 0:
            return tomllib.loads(answer.output)
        evidence = answer.said
    except ValueError as error:
        evidence = f"containerd config dump: {error}"
    raise EngineConfigurationError(
        f"containerd does not take {path or 'its defaults'}",
        evidence=evidence,
        remedy="correct that first; nothing was changed",
    )


def _imports(present: _Present, path: str, target: str) -> bool:
    lists = (present.file.get("imports"), present.whole.get("imports"))
    patterns = [str(one) for some in lists if isinstance(some, list) for one in some]
    here = os.path.dirname(path)
    return any(fnmatch.fnmatchcase(target, os.path.join(here, one)) for one in patterns)


def _section(whole: Mapping[str, object]) -> Mapping[str, Any]:
    for prefix in reversed(PLUGINS.values()):
        section = find_value(whole, prefix)
        if isinstance(section, Mapping):
            return section
    return {}


def _leaves(values: object, key: Key = ()) -> Iterator[tuple[Key, object]]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from _leaves(value, (*key, str(name)))
    else:
        yield key, values
