"""What credentials are worth at a registry: right or wrong, and what they open.

Three questions that a refused pull mixes up: is the key known, does it open this repository, and would
nobody's key do as well.
"""

from enum import Enum

from sampan.registry.client import RegistryClient
from sampan.registry.failures import (
    ForbiddenError,
    Refusal,
    RegistryError,
    TermsError,
    UnauthorizedError,
)
from sampan.registry.server import challenges_of

_MAXIMUM_BODY = 8 << 20


class Access(Enum):
    """Whether a repository can be read."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """There is nothing of that name, or it is not a repository, or the registry does not say."""


class Attempt:
    """One look at a repository; ``refusal`` is what was answered when it is not to be read."""

    def __init__(self, access: Access, refusal: RegistryError | None = None) -> None:
        self.access = access
        self.refusal = refusal


def try_repository(client: RegistryClient, repository: str) -> Attempt:
    """Ask for a repository's tags with a client's credentials and no others.

    Raises:
        RegistryError: the registry cannot be asked.
    """
    server = client.server
    scope = f"repository:{server.scope_name(repository)}:pull"
    url = server.find_base() + server.path(repository, "tags/list?n=1")
    answer = server.send("GET", url, {}, None, _MAXIMUM_BODY)
    if answer.status == 401:
        try:
            header = server.authorizer.answer(challenges_of(answer), scope, answer, strict=True)
        except TermsError:
            # The registry knows the key, and the image.
            return Attempt(Access.YES)
        except (UnauthorizedError, ForbiddenError) as error:
            return Attempt(Access.NO, error)
        answer = server.send("GET", url, {}, header, _MAXIMUM_BODY)
    if answer.status == 200:
        return Attempt(Access.YES)
    if answer.status in (401, 403):
        refusal = Refusal(answer.status, answer.headers, answer.body, "GET", answer.url)
        return Attempt(Access.NO, ForbiddenError("", evidence=refusal.evidence()))
    return Attempt(Access.UNKNOWN)
