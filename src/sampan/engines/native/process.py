"""What runs in the container: words, environment, working directory. Pure.

Rules: image-spec config.md and docker run(1) on how ENTRYPOINT, CMD and the user's words combine.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sampan.errors import UsageError
from sampan.model.container import ContainerSpec
from sampan.model.image import ImageConfig

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Process(NamedTuple):
    """The container's first process."""

    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    working_directory: str


def plan_process(
    spec: ContainerSpec,
    image: ImageConfig,
    *,
    home: str,
    hostname: str,
    driver: tuple[tuple[str, str], ...] = (),
) -> Process:
    """Combine the user's words with the image's.

    Args:
        spec: the user's words.
        image: the image's configuration.
        home: directory of the container's user, for HOME.
        hostname: the container's, for HOSTNAME.
        driver: variables of the driver import; they win over the image's, not over the user's.

    Raises:
        UsageError: nothing to run.
    """
    return Process(
        _arguments(spec, image),
        tuple(
            f"{name}={value}"
            for name, value in _environment(spec, image, home, hostname, driver).items()
        ),
        _directory(spec.working_directory or image.working_directory),
    )


def _arguments(spec: ContainerSpec, image: ImageConfig) -> tuple[str, ...]:
    if spec.entrypoint is None:
        arguments = (*image.entrypoint, *(spec.arguments or image.command))
    else:
        # An entrypoint of the user's own drops the image's CMD, which was meant for another.
        arguments = (*(word for word in spec.entrypoint if word), *spec.arguments)
    if not arguments:
        raise UsageError(
            "no command to run",
            evidence=f"{spec.image} has neither ENTRYPOINT nor CMD, and none was given"
            if spec.entrypoint is None
            else "--entrypoint is empty and no command was given",
            remedy=f"sampan run {spec.image} COMMAND",
        )
    return arguments


def _environment(
    spec: ContainerSpec,
    image: ImageConfig,
    home: str,
    hostname: str,
    driver: tuple[tuple[str, str], ...],
) -> Mapping[str, str]:
    environment = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if spec.terminal:
        environment["TERM"] = "xterm"
    for line in image.environment:
        name, _, value = line.partition("=")
        environment[name] = value
    environment.update(driver)
    environment.update(spec.environment)
    for name in spec.removed_variables:
        environment.pop(name, None)
    environment.setdefault("HOME", home)
    return environment


def _directory(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
