"""Leases of idle GPUs: two users' ``--gpus idle:1`` never get the same one.

A lease is a claim of the kernel's (``kernel.claims``) named after the GPU. The process that
supervises the container holds it open, so it ends with the container, however that dies; there is
no daemon, no directory and nothing to clear away. A second claim, the *note*, says in its name who
holds it; the owner's user is the kernel's word. GPUs asked for by number or name are not leased:
who names them shares them knowingly.
"""

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sampan.errors import SampanError
from sampan.gpus.idle import Candidate
from sampan.kernel.claims import LONGEST_NAME, claim_name, list_claims

GATE = "sampan-gpu"
"""Held while somebody chooses, so that two who want two GPUs each do not get one each."""
PREFIX = f"{GATE}/"
_GATE_PATIENCE_S = 2.0
_GATE_INTERVAL_S = 0.002
_ID_LENGTH = 12
_NOTE = re.compile(r"([^/]+)/(\d+)/([0-9a-zA-Z._-]*)/(\d+)")


class GpuLeasedError(SampanError):
    """Too few GPUs are free of leases."""

    id = "gpu-leased"


class LeaseUnavailableError(SampanError):
    """This system lets nobody lease anything."""

    id = "lease-unavailable"


class Lease(NamedTuple):
    """A GPU that this process holds, as long as ``claim`` is open.

    Attributes:
        gpu: its UUID, or bus address.
        note: what tells the others who we are; None where its name was too long.
        since: seconds since the epoch.
    """

    gpu: str
    container_id: str
    since: int
    claim: socket.socket
    note: socket.socket | None


class Holder(NamedTuple):
    """Who holds a GPU.

    Attributes:
        uid: by the kernel; -1 where it does not say.
        pid: of the process that supervises the container, by its own word; 0 when unknown.
        since: seconds since the epoch; 0 when unknown.
    """

    gpu: str
    uid: int
    pid: int
    container_id: str
    since: int


def lease_idle(
    candidates: Sequence[Candidate], wanted: int, *, container_id: str, source: str
) -> tuple[Lease, ...]:
    """Lease the first ``wanted`` candidates that nobody holds.

    Raises:
        GpuLeasedError: fewer than that are free; the evidence says who holds the others.
        LeaseUnavailableError: the system has no abstract sockets.
    """
    taken: list[Lease] = []
    with _gate():
        for candidate in candidates:
            if len(taken) == wanted:
                break
            claim = _claim(PREFIX + candidate.name)
            if claim is not None:
                since = int(time.time())
                note = _leave_note(candidate.name, container_id, since)
                taken.append(Lease(candidate.name, container_id, since, claim, note))
        if len(taken) < wanted:
            for lease in taken:
                release(lease)
            raise _refuse(candidates, wanted, len(taken), source)
    return tuple(taken)


def choose_unleased(
    candidates: Sequence[Candidate], wanted: int, *, source: str
) -> tuple[str, ...]:
    """The names that ``lease_idle`` would lease now, without leasing them.

    Raises:
        GpuLeasedError: fewer than ``wanted`` are free.
    """
    held = {holder.gpu for holder in list_holders()}
    free = tuple(candidate.name for candidate in candidates if candidate.name not in held)
    if len(free) < wanted:
        raise _refuse(candidates, wanted, len(free), source)
    return free[:wanted]


def take_over(leases: Sequence[Lease]) -> tuple[Lease, ...]:
    """Have the notes name this process, a fork of the one that took the leases."""
    renewed = []
    for lease in leases:
        note = _leave_note(lease.gpu, lease.container_id, lease.since)
        if lease.note is not None:
            lease.note.close()
        renewed.append(lease._replace(note=note))
    return tuple(renewed)


def release(lease: Lease) -> None:
    """Give a GPU back before the process ends."""
    lease.claim.close()
    if lease.note is not None:
        lease.note.close()


def list_holders() -> tuple[Holder, ...]:
    """Every lease on this host, by the GPUs' names; empty where nobody can tell."""
    try:
        claims = list_claims(PREFIX)
    except OSError:
        return ()
    holders: dict[str, Holder] = {}
    notes = []
    for claim in claims:
        rest = claim.name.removeprefix(PREFIX)
        if "/" not in rest:
            holders[rest] = Holder(rest, claim.uid, 0, "", 0)
        elif match := _NOTE.fullmatch(rest):
            notes.append((claim.uid, match))
    for uid, match in notes:
        holder = holders.get(match[1])
        # Anybody may bind a name that looks like a note; only the lease's owner is believed.
        if holder is None or holder.uid != uid or (holder.pid and not _is_alive(match[2])):
            continue
        holders[match[1]] = holder._replace(
            pid=int(match[2]), container_id=match[3], since=int(match[4])
        )
    return tuple(holders.values())


def describe_holder(holder: Holder) -> str:
    """One clause, e.g. ``alice, process 412, container 3f2a…, since 2026-05-04 10:11:12``."""
    words = [_user_name(holder.uid)]
    if holder.pid:
        words.append(f"process {holder.pid}")
    if holder.container_id:
        words.append(f"container {holder.container_id}")
    if holder.since:
        moment = time.localtime(min(holder.since, int(time.time())))
        words.append(time.strftime("since %Y-%m-%d %H:%M:%S", moment))
    return ", ".join(words)


def _user_name(uid: int) -> str:
    import pwd

    if uid < 0:
        return "an unknown user"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _is_alive(pid: str) -> bool:
    return os.path.isdir(f"/proc/{pid}")


def _claim(name: str) -> socket.socket | None:
    try:
        return claim_name(name)
    except OSError as error:
        raise LeaseUnavailableError(
            "idle GPUs cannot be leased on this system",
            evidence=f"abstract socket {name}: {error.strerror or error}",
            remedy="name the GPU: sampan gpus    then: sampan run --gpus device=0",
        ) from error


def _leave_note(gpu: str, container_id: str, since: int) -> socket.socket | None:
    name = f"{PREFIX}{gpu}/{os.getpid()}/{container_id[:_ID_LENGTH]}/{since}"
    if len(name) > LONGEST_NAME:
        return None
    with contextlib.suppress(OSError):
        return claim_name(name)
    return None


@contextlib.contextmanager
def _gate() -> Iterator[None]:
    """Choose alone. Who holds the gate for seconds is not choosing: then it is passed by.

    Nothing breaks without it: a claim is one process's alone. Two wishes for several GPUs could
    then both be refused where one of them could be met.
    """
    deadline = time.monotonic() + _GATE_PATIENCE_S
    gate = _claim(GATE)
    while gate is None and time.monotonic() < deadline:
        time.sleep(_GATE_INTERVAL_S)
        gate = _claim(GATE)
    try:
        yield
    finally:
        if gate is not None:
            gate.close()


def _refuse(candidates: Sequence[Candidate], wanted: int, free: int, source: str) -> GpuLeasedError:
    labels = {candidate.name: candidate.label for candidate in candidates}
    held = [
        f"GPU {labels[holder.gpu]} ({holder.gpu}): {describe_holder(holder)}"
        for holder in list_holders()
        if holder.gpu in labels
    ]
    noun = "GPU" if wanted == 1 else "GPUs"
    verb = "is" if wanted == 1 else "are"
    return GpuLeasedError(
        f"{wanted} idle {noun} {verb} wanted ({source}); {free} of {len(candidates)} can be leased",
        evidence="; ".join(held) or "they were leased a moment ago, and given back since",
        remedy="try again when one of them has ended    or share one without a lease: --gpus"
        f" device={candidates[0].label}",
    )
