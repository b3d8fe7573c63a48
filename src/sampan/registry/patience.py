"""How long to wait: after a failure, and when a host says so; what it says of its limits.

A host's ``Retry-After`` holds every thread that asks it, so that a pull with ten layers does not come
back ten times.
"""

import contextlib
import email.utils
import random
import threading
import time
from collections.abc import Mapping

_LIMIT_HEADERS = ("ratelimit-limit", "ratelimit-remaining", "docker-ratelimit-source")
_LONGEST_JITTER_S = 0.5


class Patience:
    """What hosts have told us lately; safe for threads."""

    def __init__(self) -> None:
        self._not_before: dict[str, float] = {}
        self._limits: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def hold(self, host: str, seconds: float) -> None:
        """Let nobody ask a host for so long."""
        with self._lock:
            until = time.monotonic() + seconds
            self._not_before[host] = max(until, self._not_before.get(host, 0.0))

    def held_s(self, host: str) -> float:
        """Seconds for which a host wants to be left alone; 0 = it may be asked."""
        with self._lock:
            return max(0.0, self._not_before.get(host, 0.0) - time.monotonic())

    def wait(self, host: str) -> None:
        """Wait as long as the host has told any thread to, and a little more each for itself."""
        if left := self.held_s(host):
            time.sleep(left + random.uniform(0.0, _LONGEST_JITTER_S))  # noqa: S311 - no secret

    def note_limits(self, host: str, headers: Mapping[str, str]) -> None:
        """Keep the rate-limit headers of an answer, if it has any."""
        if found := {name: headers[name] for name in _LIMIT_HEADERS if name in headers}:
            with self._lock:
                self._limits[host] = found

    def last_limits(self, host: str) -> Mapping[str, str]:
        """The rate-limit headers (lower case) that a host sent last; empty when it sent none."""
        with self._lock:
            return dict(self._limits.get(host, {}))


def wanted_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds of ``Retry-After`` (RFC 9110, 10.2.3); None when it says nothing readable."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    then = _read_date(text)
    if then is None:
        return None
    # By the server's own clock, where it says what that shows: ours may be wrong.
    now = _read_date(headers.get("date", ""))
    return max(0.0, then - (time.time() if now is None else now))


def _read_date(text: str) -> float | None:
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return email.utils.parsedate_to_datetime(text).timestamp()
    return None
