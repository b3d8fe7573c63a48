"""``nvidia-ctk``: the subcommands of NVIDIA's program that matter, in our commands' words.

Field note nvidia-container-toolkit, section 1.1. What has no counterpart is refused by name.
"""

import os
import sys
from collections.abc import Sequence

from sampan.cli.main import main
from sampan.cli.render import print_error, print_warning
from sampan.dropin.config_edit import edit_config, render_defaults
from sampan.dropin.settings import SettingsError, locate_config
from sampan.engines.device_nodes import create_char_links, create_nodes
from sampan.errors import SampanError, UsageError

RENAMED: dict[str, str] = {
    "--config": "--config",
    "--nvidia-runtime-name": "--runtime-name",
    "--nvidia-runtime-path": "--runtime-path",
}
"""Options of ``runtime configure`` with a value."""
SWITCHES: dict[str, str] = {
    "--nvidia-set-as-default": "--set-as-default",
    "--set-as-default": "--set-as-default",
    "--cdi.enabled": "--cdi",
    "--enable-cdi": "--cdi",
    "--dry-run": "--dry-run",
}
WITHOUT_EFFECT: tuple[str, ...] = (
    "--config-mode", "--config-source", "--drop-in-config", "--executable-path",
    "--nvidia-runtime-hook-path", "--oci-hook-path",
)  # fmt: skip
_USAGE = """\
usage: nvidia-ctk cdi generate|list|transform ... | runtime configure --runtime ENGINE ...
       | config [--set KEY=VALUE] [--in-place] | config default | hook NAME ... | info
       | system create-dev-char-symlinks|create-device-nodes ...
This is Sampan's program of that name; sampan --help has all that it can do."""


def program(home: str) -> None:
    """Be nvidia-ctk.

    Args:
        home: the directory that ``sampan install`` has made.
    """
    try:
        sys.exit(run(sys.argv[1:], home))
    except SampanError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except SettingsError as error:
        print_error(UsageError(str(error)))
        sys.exit(UsageError.exit_code)


def run(words: Sequence[str], home: str) -> int:
    """Carry out NVIDIA's words; the exit code.

    Raises:
        UsageError: a subcommand or option that has no counterpart.
    """
    rest = _without_globals(list(words))
    if not rest or rest[0] in ("--help", "-h", "help"):
        print(_USAGE)
        return 0
    if rest[0] in ("--version", "-v", "info"):
        return main(["version"])
    if rest[0] == "hook":
        hook = f"{home}/nvidia-cdi-hook"
        os.execv(hook, [hook, *rest[1:]])  # noqa: S606 - its own interpreter, with nothing of ours
    group, name = (*rest, "", "")[:2]
    if group == "cdi" and name in ("generate", "list", "transform"):
        return main(rest)
    if (group, name) == ("runtime", "configure"):
        return main(translate_configure(rest[2:]))
    if group == "config":
        return _config(rest[1:])
    if (group, name) == ("system", "create-dev-char-symlinks"):
        return _say(create_char_links(*_system_options(rest[2:])))
    if (group, name) == ("system", "create-device-nodes"):
        return _say(create_nodes(*_system_options(rest[2:])))
    raise UsageError(
        f"nvidia-ctk {' '.join(rest[:2])} has no counterpart here", remedy="nvidia-ctk --help"
    )


def translate_configure(words: Sequence[str]) -> list[str]:
    """``runtime configure`` as ``sampan configure``, which asks nothing.

    Raises:
        UsageError: an option that is not NVIDIA's.
    """
    engine, out = "docker", ["--yes"]
    place = 0
    while place < len(words):
        name, equals, value = words[place].partition("=")
        takes = name == "--runtime" or name in RENAMED or name in WITHOUT_EFFECT
        if takes and not equals:
            place += 1
            value = words[place] if place < len(words) else ""
        place += 1
        if name == "--runtime":
            engine = value
        elif name in RENAMED:
            out += [RENAMED[name], value]
        elif name in SWITCHES:
            if value not in ("false", "0"):
                out.append(SWITCHES[name])
        elif name in WITHOUT_EFFECT:
            print_warning(f"{name} has no effect: sampan configure finds it out itself")
        else:
            raise UsageError(f"unknown option {name}", remedy="sampan configure --help")
    return ["configure", engine, *out]


def _without_globals(words: list[str]) -> list[str]:
    while words and words[0].startswith("-"):
        name, equals, value = words[0].partition("=")
        if name == "--config":
            os.environ["NVIDIA_CTK_CONFIG_FILE_PATH"] = value if equals else [*words, ""][1]
            words = words[1 if equals else 2 :]
        elif name in ("--debug", "-d", "--quiet", "-q"):
            words = words[1:]
        else:
            break
    return words


def _config(words: Sequence[str]) -> int:
    if list(words) == ["default"]:
        print(render_defaults(), end="")
        return 0
    path, output, separator = locate_config(os.environ), "", ":"
    changes: list[str] = []
    in_place = False
    place = 0
    while place < len(words):
        name, equals, value = words[place].partition("=")
        if name in ("--in-place", "-i"):
            in_place = True
        elif name in ("--config-file", "--config", "-c", "--output", "-o", "--set",
                      "--set-list-separator"):  # fmt: skip
            if not equals:
                place += 1
                value = words[place] if place < len(words) else ""
            if name == "--set":
                changes.append(value)
            elif name == "--set-list-separator":
                separator = value
            elif name in ("--output", "-o"):
                output = value
            else:
                path = value
        else:
            raise UsageError(f"unknown option {name}", remedy="nvidia-ctk --help")
        place += 1
    text = edit_config(path, changes, separator, path if in_place else output)
    if not in_place and not output:
        print(text, end="")
    return 0


def _system_options(words: Sequence[str]) -> tuple[str, bool]:
    """Directory of the nodes and whether nothing is to be done; the others are granted silently."""
    root, dry = "/", False
    place = 0
    while place < len(words):
        name, equals, value = words[place].partition("=")
        if name in ("--dev-root", "--driver-root", "--root", "--dev-char-path"):
            if not equals:
                place += 1
                value = words[place] if place < len(words) else ""
            if name == "--dev-root":
                root = value
        elif name == "--dry-run":
            dry = True
        place += 1
    return root, dry


def _say(lines: Sequence[str]) -> int:
    for line in lines:
        print(line)
    return 0
