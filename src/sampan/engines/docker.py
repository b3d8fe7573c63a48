"""Docker, by its command line: ``docker info`` (moby, api/types/system) and ``docker image inspect``."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.engines.client import ask_image, ask_json, locate_program
from sampan.engines.protocol import EngineState
from sampan.kernel.bounded_program import ask_program

NAME = "docker"
_REMEDY = "sudo systemctl start docker    or, for its socket: sudo usermod -aG docker $USER"
_SOCKETS = ("unix://", "fd://")
_PATIENCE_S = 10.0


class Docker:
    """The docker client on PATH and the daemon that it talks to."""

    name = NAME

    def __init__(self, command: Sequence[str] = ()) -> None:
        self.command = tuple(command) or (locate_program("docker", "install docker"),)

    def look(self) -> EngineState:
        """Ask the daemon.

        Raises:
            EngineUnavailableError: it does not answer.
        """
        words = [*self.command, "info", "--format", "{{json .}}"]
        said = ask_json(words, "ServerVersion", _REMEDY)
        runtimes = said.get("Runtimes")
        return EngineState(
            version=str(said["ServerVersion"]),
            # Since 25; empty where the feature is off.
            cdi_directories=tuple(_texts(said.get("CDISpecDirs"))),
            runtimes=tuple(sorted(_runtimes(runtimes if isinstance(runtimes, dict) else {}))),
            rootless=any("name=rootless" in text for text in _texts(said.get("SecurityOptions"))),
            elsewhere=self._find_elsewhere(str(said.get("OperatingSystem") or "")),
        )

    def find_image_environment(self, image: str) -> Mapping[str, str] | None:
        """ENV of an image of the daemon's; None when it is not there.

        Raises:
            EngineUnavailableError: the daemon does not answer.
        """
        return ask_image(self.command, image, _REMEDY)

    def _find_elsewhere(self, system: str) -> str:
        if "Docker Desktop" in system:
            return "Docker Desktop's virtual machine"
        endpoint = os.environ.get("DOCKER_HOST", "")
        if not endpoint:
            words = ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
            answer = ask_program([*self.command, *words], timeout_s=_PATIENCE_S)
            # Before 19.03 there were no contexts, and the daemon was this machine's.
            endpoint = answer.output.strip() if answer.code == 0 else ""
        return "" if not endpoint or endpoint.startswith(_SOCKETS) else endpoint


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _runtimes(said: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, str(about.get("path") or "") if isinstance(about, dict) else "")
        for name, about in said.items()
    ]
