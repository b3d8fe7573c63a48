"""docker-credential-helpers: programs that keep secrets in a key ring (their README's protocol).

The server's name or the secret goes through standard input, never through arguments.
"""

import json
from collections.abc import Mapping

from sampan.kernel.process import ProgramError, run_program
from sampan.kernel.programs import find_executable
from sampan.registry.auth_files import CredentialError, helper_key
from sampan.registry.secret import Credential, Secret, without_secrets

TIME_LIMIT_S = 60.0
"""Long enough to type a password that unlocks a key ring."""

_TOKEN_USER = "<token>"  # noqa: S105 - a name that the protocol fixes
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def ask_helper(name: str, registry: str, environment: Mapping[str, str]) -> Credential | None:
    """What a helper has for a registry.

    Raises:
        CredentialError: the helper is missing or fails.
    """
    code, output = _run(name, "get", helper_key(registry).encode(), environment)
    if code != 0:
        # "credentials not found in native keychain": on standard output, by the protocol.
        if b"not found" in output:
            return None
        raise CredentialError(
            f"docker-credential-{name} gives no credentials for {registry}",
            evidence=f"exit code {code}",
            remedy=f"printf {helper_key(registry)} | docker-credential-{name} get",
        )
    try:
        document = json.loads(output)
        username, secret = str(document["Username"]), str(document["Secret"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CredentialError(
            f"docker-credential-{name} answers with something else than credentials",
            remedy=f"sampan logout {registry}; sampan login {registry}",
        ) from None
    source = f"docker-credential-{name}"
    if username == _TOKEN_USER:
        return Credential("", Secret(secret), source, is_identity_token=True)
    return Credential(username, Secret(secret), source)


def store_in_helper(
    name: str, registry: str, credential: Credential, environment: Mapping[str, str]
) -> None:
    """Give a helper something to keep.

    Raises:
        CredentialError: it does not take it.
    """
    document = {
        "ServerURL": helper_key(registry),
        "Username": credential.username,
        "Secret": credential.secret.reveal(),
    }
    code, _ = _run(name, "store", json.dumps(document).encode(), environment)
    if code != 0:
        raise CredentialError(
            f"docker-credential-{name} does not store the credentials",
            evidence=f"exit code {code}",
            remedy="is its key ring unlocked? without the helper: remove it from config.json",
        )


def erase_from_helper(name: str, registry: str, environment: Mapping[str, str]) -> None:
    """Let a helper forget a registry; that it knows nothing of it is fine.

    Raises:
        CredentialError: the helper is missing.
    """
    _run(name, "erase", helper_key(registry).encode(), environment)


def _run(name: str, action: str, stdin: bytes, environment: Mapping[str, str]) -> tuple[int, bytes]:
    program = f"docker-credential-{name}"
    path = "" if set(name) - _NAME else find_executable(program)
    if not path:
        raise CredentialError(
            f"the credential helper {program} is missing",
            evidence="docker's or containers' configuration names it; it is not on PATH",
            remedy="install it, or remove it from credsStore and credHelpers",
        )
    try:
        done = run_program(
            [path, action],
            environment=without_secrets(environment),
            stdin=stdin,
            check=False,
            timeout_s=TIME_LIMIT_S,
        )
    except ProgramError as error:
        raise CredentialError(error.cause, evidence=error.evidence) from error
    return done.returncode, done.stdout
