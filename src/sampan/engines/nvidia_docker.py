"""``nvidia-docker``: docker's command line with GPUs added to ``run`` and ``create``.

Behaviour of NVIDIA's second version (field note nvidia-container-toolkit, section 1.6): ``run`` and
``create`` get a runtime, NV_GPU names the GPUs, NV_DOCKER the docker command; everything else is
docker's. The original took the first such word anywhere, and so broke ``docker volume create`` and
``docker exec c run``; here it is docker's command that counts. Where the daemon has no runtime for GPUs, which the
original needs, they get in by CDI or by plain flags, for what the runtime would have read: the
user's variables and the image's.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sampan.engines.client import locate_program
from sampan.engines.docker import Docker
from sampan.engines.driver_import import check_driver, names_in_variable
from sampan.engines.gpu_ways import RUNTIMES, Wanted, Way, choose_way
from sampan.engines.gpu_words import sort_device_names
from sampan.engines.handover import find_image
from sampan.engines.protocol import EngineState, EngineUnavailableError
from sampan.gpus.variables import VISIBLE
from sampan.kernel.programs import find_executable

_GENERAL_VALUES = (
    "--config", "--context", "--host", "--log-level", "--tlscacert", "--tlscert", "--tlskey", "-H",
    "-c", "-l",
)  # fmt: skip
"""Options before docker's command that take the next word."""
_FLAGS = frozenset(
    ("detach", "disable-content-trust", "help", "init", "interactive", "no-healthcheck",
     "oom-kill-disable", "privileged", "publish-all", "quiet", "read-only", "rm", "sig-proxy", "tty",
     "use-api-socket", "d", "i", "q", "t", "P")
)  # fmt: skip
"""Options of ``docker run`` and ``create`` that take no value as the next word; all others do."""


class DockerWords(NamedTuple):
    """What docker is to be called with.

    Attributes:
        arguments: the vector; the first is an absolute path.
        added: what was added, and why, for NV_DEBUG.
        asks_version: whether our own version is to be printed first.
    """

    arguments: tuple[str, ...]
    added: tuple[str, ...] = ()
    asks_version: bool = False


class RunOptions(NamedTuple):
    """``docker run``'s words, as far as they matter here.

    Attributes:
        values: option without dashes, value ("" of flags), position of its first and after its last
            word.
        image: empty when no image is named.
    """

    values: tuple[tuple[str, str, int, int], ...]
    image: str

    def last(self, *names: str) -> str | None:
        """The value that counts; None when the option is not given."""
        return next((value for name, value, _, _ in reversed(self.values) if name in names), None)

    def is_set(self, name: str) -> bool:
        """Whether a flag is given, and not as ``--flag=false``."""
        value = self.last(name)
        return value is not None and value.lower() not in ("false", "f", "0")

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """``-e`` and ``--env``."""
        found = {}
        for name, value, _, _ in self.values:
            if name in ("e", "env"):
                variable, equals, text = value.partition("=")
                found[variable] = text if equals else environment.get(variable, "")
        return found


def plan_docker_words(words: Sequence[str], environment: Mapping[str, str]) -> DockerWords:
    """Docker's command line for one of ``nvidia-docker``.

    Args:
        words: after the program's name.
        environment: where NV_GPU and NV_DOCKER are looked up.

    Raises:
        SampanError: there is no docker; GPUs are wanted that cannot be had.
    """
    docker = _locate(environment.get("NV_DOCKER", ""))
    general, command = split_command(words)
    if command[-1:] not in (("run",), ("create",)):
        return DockerWords((*docker, *words), asks_version=command == ("version",))
    place = len(general) + len(command)
    before, after = words[:place], list(words[place:])
    engine = Docker((*docker, *general))
    try:
        state = engine.look()
    except EngineUnavailableError:
        # Docker says itself what is wrong, in the words that its users know.
        return DockerWords((*docker, *words))
    chosen = ",".join(environment.get("NV_GPU", "").replace(",", " ").split())
    runtime = _find_runtime(state)
    if runtime:
        added = [f"--runtime={runtime}", *(["-e", f"{VISIBLE}={chosen}"] if chosen else [])]
        told = (f"docker has the runtime {runtime}",)
        return DockerWords((*docker, *before, *added, *after), told)
    return _without_runtime(engine, state, (*docker, *before), after, chosen, environment)


def split_command(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Docker's general options, and its command: one word, or two for ``container run``."""
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] != "--":
        at += 2 if words[at] in _GENERAL_VALUES else 1
    command = tuple(words[at : at + 1])
    if command == ("container",):
        return tuple(words[:at]), tuple(words[at : at + 2])
    # "volume create" and the like are one word here, and none of ours.
    return tuple(words[:at]), command


def _without_runtime(
    engine: Docker,
    state: EngineState,
    head: tuple[str, ...],
    after: list[str],
    chosen: str,
    environment: Mapping[str, str],
) -> DockerWords:
    options = read_run_options(after)
    if not options.image or options.last("runtime") is not None or options.is_set("help"):
        return DockerWords((*head, *after))
    variables = {VISIBLE: chosen} if chosen else {}
    variables |= options.variables(environment)
    wish = sort_device_names(
        engine,
        state,
        names_in_variable(options.last("gpus"), variables),
    )
    words = [word for name in wish.documented for word in ("--device", name)] if wish else []
    imported = check_driver(
        gpus_option=options.last("gpus"),
        image_environment=find_image(
            engine, options.image, pull=options.last("pull") or "missing",
            platform=options.last("platform") or "",
        ),
        user_environment=variables,
        privileged=options.is_set("privileged"),
        honour_image=True,
        named=wish.automatic if wish else (),
    )  # fmt: skip
    if imported.inventory is None:
        return DockerWords((*head, *words, *after))
    wanted = Wanted(imported.inventory, imported.request, imported.gpus, options.is_set("rm"))
    way = choose_way("docker", state, wanted)
    # Docker's own --gpus needs what is missing here; the way stands for it.
    for name, _, first, end in reversed(options.values):
        if name == "gpus":
            del after[first:end]
    return DockerWords((*head, *words, *way.words, *after), _describe(way))


def _describe(way: Way) -> tuple[str, ...]:
    return (
        f"GPUs get in by {way.name}: {way.why}",
        *(f"not by {text}" for text in way.passed_over),
    )


def _find_runtime(state: EngineState) -> str:
    for known in RUNTIMES:
        for name, path in state.runtimes:
            if known in (name, os.path.basename(path)):
                return name
    return ""


def _locate(command: str) -> tuple[str, ...]:
    """NV_DOCKER may be ``sudo docker``."""
    program, *further = shlex.split(command) or ["docker"]
    path = find_executable(program) or locate_program(program, "install docker, or set NV_DOCKER")
    return (path, *further)


def read_run_options(words: Sequence[str]) -> RunOptions:
    """Read what stands before the image: which words are options, which are values of them."""
    values: list[tuple[str, str, int, int]] = []
    at = 0
    while at < len(words):
        word, first = words[at], at
        at += 1
        if word == "--":
            return RunOptions(tuple(values), words[at] if at < len(words) else "")
        if not word.startswith("-") or word == "-":
            return RunOptions(tuple(values), word)
        for name, value in _split_option(word):
            if value is None and name not in _FLAGS:
                value = words[at] if at < len(words) else ""  # noqa: PLW2901 - it is the next word
                at += 1
            values.append((name, value or "", first, at))
    return RunOptions(tuple(values), "")


def _split_option(word: str) -> list[tuple[str, str | None]]:
    """``--name[=value]``, or short options in one word, of which the last may have its value in it."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        return [(name, value if equals else None)]
    found: list[tuple[str, str | None]] = []
    letters = word[1:]
    for position, letter in enumerate(letters):
        rest = letters[position + 1 :]
        if rest.startswith("=") or (rest and letter not in _FLAGS):
            return [*found, (letter, rest.removeprefix("="))]
        found.append((letter, None))
    return found
