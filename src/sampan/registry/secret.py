"""Secrets and what they belong to. A secret prints as stars wherever it is printed.

Nothing else in this room keeps a password or token in a plain ``str`` longer than one request.
"""

import base64
from collections.abc import Mapping
from typing import NamedTuple

from sampan.errors import InternalError

_STARS = "********"
_SHOWN = 4
_SHORTEST_SHOWN = 16

_SECRET_VARIABLES = frozenset(
    {
        "NGC_API_KEY",
        "NGC_CLI_API_KEY",
        "NGC_APP_KEY",
        "DOCKER_AUTH_CONFIG",
        "APPTAINER_DOCKER_PASSWORD",
        "SINGULARITY_DOCKER_PASSWORD",
        "DOCKER_PASSWORD",
    }
)


class Secret:
    """A password, key or token. ``reveal`` is for the line that sends or stores it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def tail(self) -> str:
        """The last four characters, to tell keys apart; empty when that would say too much."""
        return self._value[-_SHOWN:] if len(self._value) >= _SHORTEST_SHOWN else ""

    def __repr__(self) -> str:
        return _STARS

    __str__ = __repr__

    def __format__(self, specification: str) -> str:
        return _STARS

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


class Credential(NamedTuple):
    """Who we are at a registry.

    Attributes:
        username: empty with an identity token.
        secret: a password or key, or the identity token.
        source: where it was found, for messages; never part of a comparison by the registry.
        is_identity_token: an OAuth2 refresh token, as ``docker login`` gets from some registries.
    """

    username: str
    secret: Secret
    source: str
    is_identity_token: bool = False

    def basic_header(self) -> str:
        """The value of ``Authorization`` for HTTP Basic (RFC 7617, UTF-8).

        Raises:
            InternalError: it is an identity token.
        """
        if self.is_identity_token:
            raise InternalError("an identity token was about to be sent as a password")
        return f"Basic {encode_basic(self.username, self.secret)}"


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a helper program: /proc shows it for as long as the helper lives."""
    return {name: value for name, value in environment.items() if name not in _SECRET_VARIABLES}


def encode_basic(username: str, secret: Secret) -> str:
    """Base64 of ``user:password``, as in headers and in docker's files."""
    return base64.b64encode(f"{username}:{secret.reveal()}".encode()).decode("ascii")
