"""The user's key ring (Secret Service, KWallet …) through the package ``keyring``, an extra of ours.

It is asked only for what our own file says lies there, in a child process with a time limit: a node
without a session bus, or a locked ring that nobody unlocks, must not hold up a pull.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Mapping

from sampan.kernel.process import ProgramError, run_program
from sampan.registry.auth_files import CredentialError
from sampan.registry.secret import Credential, Secret, without_secrets

TIME_LIMIT_S = 30.0
"""Long enough to type a password that unlocks the ring."""

_SOURCE = "the key ring"


def has_key_ring(environment: Mapping[str, str]) -> bool:
    """Whether there may be one: the package, and a session bus."""
    if importlib.util.find_spec("keyring") is None:
        return False
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    return bool(environment.get("DBUS_SESSION_BUS_ADDRESS")) or (
        bool(runtime) and os.path.exists(f"{runtime}/bus")
    )


def read_key_ring(key: str, username: str, environment: Mapping[str, str]) -> Credential | None:
    """What the key ring has; None when the entry is gone.

    Raises:
        CredentialError: it cannot be asked.
    """
    if not has_key_ring(environment):
        raise CredentialError(
            f"the key of {key} lies in a key ring that cannot be asked here",
            evidence="no session bus, or the package keyring is missing",
            remedy=f"sampan login --keep-in file {key}",
        )
    code, output = _ask("get", key, username, "", environment)
    if code == 1:
        return None
    return Credential(username, Secret(str(json.loads(output)["secret"])), _SOURCE)


def store_in_key_ring(
    key: str, username: str, secret: Secret, environment: Mapping[str, str]
) -> None:
    """Give the key ring something to keep.

    Raises:
        CredentialError: it does not take it, or there is none.
    """
    if not has_key_ring(environment):
        raise CredentialError(
            "there is no key ring here",
            evidence="no session bus, or the package keyring is missing",
            remedy=f"{sys.executable} -m pip install keyring, in a desktop session    or: --keep-in file",
        )
    _ask("set", key, username, secret.reveal(), environment)


def erase_from_key_ring(key: str, username: str, environment: Mapping[str, str]) -> bool:
    """Let the key ring forget; whether there was anything.

    Raises:
        CredentialError: it cannot be asked.
    """
    return _ask("delete", key, username, "", environment)[0] == 0


def _ask(
    action: str, key: str, username: str, secret: str, environment: Mapping[str, str]
) -> tuple[int, bytes]:
    words = {"action": action, "service": f"sampan:{key}", "user": username, "secret": secret}
    try:
        # -P: a file keyring.py in the user's directory is not the package.
        done = run_program(
            [sys.executable, "-P", "-m", "sampan.registry.keyring_process"],
            environment=without_secrets(environment),
            stdin=json.dumps(words).encode(),
            check=False,
            timeout_s=TIME_LIMIT_S,
        )
    except ProgramError as error:
        raise CredentialError(
            f"the key ring does not answer for {key}",
            evidence=f"within {TIME_LIMIT_S:.0f} s",
            remedy=f"unlock it; without it: sampan login --keep-in file {key}",
        ) from error
    if done.returncode not in (0, 1):
        kind = done.stderr[-200:].decode("ascii", "replace").strip().rpartition("\n")[2]
        raise CredentialError(
            f"the key ring cannot {action} the key of {key}",
            evidence=kind if done.returncode == 3 else "no usable one: none is running",
            remedy=f"unlock it; without it: sampan login --keep-in file {key}",
        )
    return done.returncode, done.stdout
