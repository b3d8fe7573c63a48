"""Signatures of SIF files with OpenPGP keys: clear-signed metadata, through the user's own gpg.

gpg knows the keys and asks for their passwords itself. Its status lines, not its words, say what was
signed by whom (GnuPG, doc/DETAILS).
"""

import json
from typing import NamedTuple

from sampan.errors import SampanError
from sampan.kernel.process import run_program
from sampan.kernel.programs import find_executable

_BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----"
_STATUS = "[GNUPG:] "
_HASH_NUMBERS = {"8": 1, "9": 2, "10": 3}
"""OpenPGP's numbers of SHA-256, 384 and 512 (RFC 4880, 9.4) to SIF's."""
_BAD = ("BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "NO_PUBKEY")


class GpgError(SampanError):
    """gpg is not installed, or has no key that can be used."""

    id = "gpg"


class PgpSigned(NamedTuple):
    """A clear-signed message.

    Attributes:
        data: the message, or what was in it.
        fingerprint: of the primary key, hexadecimal.
        hash_number: SIF's number of the hash; 0 when it is not known.
        signer: the user id; may be empty.
    """

    data: bytes
    fingerprint: str
    hash_number: int
    signer: str = ""


def is_clear_signed(data: bytes) -> bool:
    """Whether a signature object is of this form."""
    return data.startswith(_BEGIN)


def sign_clear(payload: bytes, key: str) -> PgpSigned:
    """The signature object of a payload.

    Args:
        payload: JSON.
        key: what gpg shall take (fingerprint, address, …); empty = its default key.

    Raises:
        GpgError: there is no gpg, no such key, or it was not unlocked.
    """
    # gpg cuts lines of more than 20,000 bytes, so the JSON gets short ones.
    text = json.dumps(json.loads(payload), indent=1).encode()
    who = ["--local-user", key] if key else []
    done = run_program(
        [_gpg(), "--status-fd", "2", "--digest-algo", "SHA256", *who, "--clearsign"],
        stdin=text,
        check=False,
    )
    status = _status(done.stderr)
    made = next((words for words in status if words[0] == "SIG_CREATED" and len(words) > 6), None)
    if done.returncode != 0 or made is None:
        raise GpgError(
            "gpg has not signed",
            evidence=_said(done.stderr),
            remedy="gpg --list-secret-keys shows your keys, gpg --quick-generate-key makes one",
        )
    return PgpSigned(done.stdout, _primary(made[6]), _HASH_NUMBERS.get(made[3], 0))


def open_clear(data: bytes) -> PgpSigned | str:
    """What was signed and by whom, or the reason why no key of the user's key ring confirms it.

    Raises:
        GpgError: there is no gpg.
    """
    if data.count(_BEGIN) != 1 or not data.startswith(_BEGIN):
        return "more than one message"
    done = run_program(
        [_gpg(), "--batch", "--status-fd", "2", "--output", "-", "--decrypt"],
        stdin=data,
        check=False,
    )
    status = _status(done.stderr)
    words_of = {words[0]: words for words in status}
    for word in _BAD:
        if word in words_of:
            key = words_of[word][1] if len(words_of[word]) > 1 else ""
            missing = word in ("ERRSIG", "NO_PUBKEY")
            return f"gpg lacks the public key {key}" if missing else f"gpg says {word} {key}"
    valid = words_of.get("VALIDSIG", [])
    if done.returncode != 0 or "GOODSIG" not in words_of or len(valid) < 2:
        return _said(done.stderr)
    good = words_of["GOODSIG"]
    return PgpSigned(done.stdout, valid[-1].upper(), 0, " ".join(good[2:]))


def _primary(fingerprint: str) -> str:
    """The primary key's fingerprint of a key that may be a subkey."""
    listed = run_program([_gpg(), "--batch", "--with-colons", "--list-keys", fingerprint])
    for line in listed.stdout.decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if fields[0] == "fpr" and len(fields) > 9:
            return fields[9]
    return fingerprint


def _status(said: bytes) -> list[list[str]]:
    lines = said.decode("utf-8", "replace").splitlines()
    found = [line.removeprefix(_STATUS).split() for line in lines if line.startswith(_STATUS)]
    return [words for words in found if words]


def _said(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").splitlines()
    return " | ".join([line for line in lines if not line.startswith(_STATUS)][-3:]) or "nothing"


def _gpg() -> str:
    program = find_executable("gpg")
    if not program:
        raise GpgError(
            "there is no gpg for OpenPGP signatures",
            evidence="not on PATH",
            remedy="apt install gpg    or use a PEM key: --key FILE",
        )
    return program
