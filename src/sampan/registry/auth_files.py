"""Files that hold credentials: ours, containers' auth.json, docker's config.json. One format.

``{"auths": {HOST[/PATH]: {"auth": base64(user:password), "identitytoken": …}},
"credHelpers": {HOST: NAME}, "credsStore": NAME}`` (containers-auth.json.5, docker's cli/config).
"""

import base64
import binascii
import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sampan.errors import SampanError
from sampan.kernel.atomic import write_atomic
from sampan.model.reference import DEFAULT_REGISTRY
from sampan.registry.secret import Credential, Secret, encode_basic

DOCKER_HUB_KEY = "https://index.docker.io/v1/"
"""What docker and its helpers call the default registry."""

_MAXIMUM_FILE = 4 << 20
_DOCKER_HUB_NAMES = frozenset({"index.docker.io", "registry-1.docker.io", DEFAULT_REGISTRY})


class CredentialError(SampanError):
    """Stored credentials cannot be read or written."""

    id = "credentials"


class AuthFile(NamedTuple):
    """A file of credentials that was read.

    Attributes:
        path: for messages; of a variable its name.
        auths: key as written -> entry.
        helpers: registry -> name of a helper, ``docker-credential-NAME``.
        default_helper: for all registries; empty when there is none.
        in_key_ring: key as written -> user name, of what lies in the user's key ring (ours alone).
    """

    path: str
    auths: Mapping[str, Any]
    helpers: Mapping[str, str]
    default_helper: str
    in_key_ring: Mapping[str, str]

    def helper_for(self, registry: str) -> str:
        """The helper in charge of a registry; empty when there is none."""
        for key, name in self.helpers.items():
            if key_name(key) == registry:
                return name
        return self.default_helper

    def find(
        self, registry: str, repository: str, ask_key_ring: Callable[[str, str], Credential | None]
    ) -> Credential | None:
        """The entry with the longest fitting key: an organisation's goes before its registry's.

        Raises:
            CredentialError: the entry is damaged, or the key ring cannot be asked.
        """
        path = f"{registry}/{repository}" if repository else registry
        while path:
            for key, entry in self.auths.items():
                if key_name(key) == path and (found := self._read(key, entry)) is not None:
                    return found
            for key, username in self.in_key_ring.items():
                if key_name(key) == path and (found := ask_key_ring(key, username)) is not None:
                    return found
            path = path.rpartition("/")[0]
        return None

    def _read(self, key: str, entry: object) -> Credential | None:
        if not isinstance(entry, dict):
            return None
        if token := entry.get("identitytoken"):
            return Credential("", Secret(str(token)), self.path, is_identity_token=True)
        encoded = entry.get("auth")
        if not encoded:
            name, password = entry.get("username"), entry.get("password")
            return Credential(str(name), Secret(str(password)), self.path) if name else None
        try:
            text = base64.b64decode(str(encoded), validate=True).decode()
        except (binascii.Error, ValueError):
            text = ""
        username, colon, password = text.partition(":")
        if not colon:
            raise CredentialError(
                f"the entry of {key} in {self.path} is damaged",
                evidence="its auth is not base64 of NAME:PASSWORD",
                remedy=f"sampan login {key_name(key)}",
            )
        # Old docker padded with zero bytes.
        return Credential(username, Secret(password.rstrip("\0")), self.path)


def key_name(key: str) -> str:
    """A key of ``auths`` as ``registry[/path]``: without scheme and API version."""
    name = key.partition("://")[2] if "://" in key else key
    for ending in ("/", "/v1", "/v2"):
        name = name.removesuffix(ending)
    host, slash, rest = name.partition("/")
    return (DEFAULT_REGISTRY if host in _DOCKER_HUB_NAMES else host) + slash + rest


def helper_key(registry: str) -> str:
    """What a helper knows a registry by."""
    return DOCKER_HUB_KEY if registry == DEFAULT_REGISTRY else registry


def configuration_home(environment: Mapping[str, str]) -> Path:
    """``$XDG_CONFIG_HOME``, by default ``~/.config``."""
    base = environment.get("XDG_CONFIG_HOME", "")
    return Path(base if base.startswith("/") else f"{_home(environment)}/.config")


def our_file(environment: Mapping[str, str]) -> Path:
    """Sampan's own file."""
    return configuration_home(environment) / "sampan" / "auth.json"


def docker_file(environment: Mapping[str, str]) -> Path:
    """Docker's configuration."""
    directory = environment.get("DOCKER_CONFIG") or f"{_home(environment)}/.docker"
    return Path(directory, "config.json")


def load_files(
    environment: Mapping[str, str], problems: list[str] | None = None
) -> Iterator[AuthFile]:
    """Ours, then containers', docker's, Apptainer's and Singularity's, as far as they are there.

    What DOCKER_AUTH_CONFIG holds goes before them all.

    Args:
        environment: variables, and where the homes are.
        problems: gets what is wrong with other programs' files, which are then passed over: a public
            image needs none of them. None = an error.

    Raises:
        CredentialError: ours cannot be read or is open to others; without ``problems`` any.
    """
    ours = our_file(environment)
    if text := environment.get("DOCKER_AUTH_CONFIG"):
        with _passing_over(problems):
            yield _parse(text.encode(), "$DOCKER_AUTH_CONFIG")
    _check_private(ours)
    for place in (ours, *_places(environment)):
        with _passing_over(None if place == ours else problems):
            content = read_bounded(place)
            if content is not None:
                yield _parse(content, str(place))


def _places(environment: Mapping[str, str]) -> Iterator[Path]:
    home = _home(environment)
    if said := environment.get("REGISTRY_AUTH_FILE"):
        yield Path(said)
    else:
        if runtime := environment.get("XDG_RUNTIME_DIR"):
            yield Path(runtime, "containers", "auth.json")
        yield configuration_home(environment) / "containers" / "auth.json"
    yield docker_file(environment)
    apptainers = environment.get("APPTAINER_CONFIGDIR") or f"{home}/.apptainer"
    yield Path(apptainers, "docker-config.json")
    yield Path(home, ".singularity", "docker-config.json")


@contextlib.contextmanager
def _passing_over(problems: list[str] | None) -> Iterator[None]:
    try:
        yield
    except CredentialError as error:
        if problems is None:
            raise
        problems.append(error.cause)


def load_ours(environment: Mapping[str, str]) -> dict[str, Any]:
    """Our own file's document; empty when it is not there.

    Raises:
        CredentialError: it cannot be read, or others can.
    """
    path = our_file(environment)
    _check_private(path)
    content = read_bounded(path)
    return {} if content is None else _document(content, str(path))


def write_ours(environment: Mapping[str, str], document: Mapping[str, Any]) -> Path:
    """Replace our own file, readable by its owner alone.

    Raises:
        CredentialError: it cannot be written.
    """
    path = our_file(environment)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, json.dumps(document, indent=1).encode(), mode=0o600)
    except OSError as error:
        raise CredentialError(
            f"cannot write {path}",
            evidence=error.strerror or str(error),
            remedy="XDG_CONFIG_HOME=DIRECTORY moves it",
        ) from error
    return path


def auth_entry(username: str, secret: Secret) -> dict[str, str]:
    """An entry of ``auths``."""
    return {"auth": encode_basic(username, secret)}


def _parse(content: bytes, path: str) -> AuthFile:
    document = _document(content, path)
    auths = document.get("auths")
    return AuthFile(
        path,
        auths if isinstance(auths, dict) else {},
        texts_of(document, "credHelpers"),
        str(document.get("credsStore") or ""),
        texts_of(document, "keyRing"),
    )


def texts_of(document: Mapping[str, Any], name: str) -> dict[str, str]:
    """A member that maps texts to texts; empty when it is something else."""
    value = document.get(name)
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def _document(content: bytes, path: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        # Not a word of what stands in it: it may be a secret.
        raise CredentialError(
            f"{path} cannot be read", evidence="it is no JSON object", remedy="repair or delete it"
        )
    return document


def read_bounded(path: Path) -> bytes | None:
    """The beginning of a file, more than enough of it; None when it is not there.

    Raises:
        CredentialError: it cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return stream.read(_MAXIMUM_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CredentialError(
            f"cannot read {path}", evidence=error.strerror or str(error), remedy=f"ls -l {path}"
        ) from error


def _check_private(path: Path) -> None:
    try:
        state = os.stat(path)
    except OSError:
        return
    if stat.S_IMODE(state.st_mode) & 0o077 or state.st_uid not in (os.geteuid(), 0):
        raise CredentialError(
            f"{path} is open to other users",
            evidence=f"mode {stat.S_IMODE(state.st_mode):04o}, owner {state.st_uid}",
            remedy=f"chmod 600 {path}; if others were there, make new keys too",
        )


def _home(environment: Mapping[str, str]) -> str:
    home = environment.get("HOME", "")
    return home if home.startswith("/") else os.path.expanduser("~")
