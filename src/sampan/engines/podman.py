"""Podman, by its command line: ``podman info`` (libpod/define/info.go) and ``podman image inspect``."""

from collections.abc import Mapping

from sampan.engines.client import ask_image, ask_json, locate_program
from sampan.engines.protocol import EngineState
from sampan.kernel.programs import find_executable

NAME = "podman"
_REMEDY = "podman info    says what is wrong"
_CDI_SINCE = (4, 1)
_CDI_DIRECTORY_OPTION_SINCE = (5, 5)
_RUNTIMES = ("sampan-runtime", "nvidia-container-runtime")


class Podman:
    """The podman on PATH."""

    name = NAME

    def __init__(self) -> None:
        self.command: tuple[str, ...] = (locate_program("podman", "sudo apt-get install podman"),)

    def look(self) -> EngineState:
        """Ask podman.

        Raises:
            EngineUnavailableError: it does not answer.
        """
        from sampan.driver.cdi_files import SPEC_DIRECTORIES

        said = ask_json([*self.command, "info", "--format", "json"], "version", _REMEDY)
        host = said.get("host") or {}
        version = str((said.get("version") or {}).get("Version") or "")
        state = EngineState(
            version=version,
            rootless=bool((host.get("security") or {}).get("rootless")),
            elsewhere=str((host.get("remoteSocket") or {}).get("path") or "another machine")
            if host.get("serviceIsRemote")
            else "",
            # --runtime takes a path; what containers.conf calls its runtimes is not told.
            runtimes=tuple((path, path) for path in map(find_executable, _RUNTIMES) if path),
        )
        return state._replace(
            cdi_directories=SPEC_DIRECTORIES if state.release >= _CDI_SINCE else (),
            takes_cdi_directories=state.release >= _CDI_DIRECTORY_OPTION_SINCE,
        )

    def find_image_environment(self, image: str) -> Mapping[str, str] | None:
        """ENV of an image of podman's; None when it is not there.

        Raises:
            EngineUnavailableError: podman does not answer.
        """
        return ask_image(self.command, image, _REMEDY)
