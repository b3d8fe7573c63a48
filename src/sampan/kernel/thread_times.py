"""What the threads of this process do with their time."""

import contextlib
import os
import time


def busy_seconds() -> float:
    """Seconds that the threads of this process have computed or queued for a core.

    From ``/proc/self/task/*/schedstat`` (Documentation/scheduler/sched-stats.rst); without it the
    time they have computed.
    """
    total = 0
    try:
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/self/task/{thread}/schedstat", "rb") as file:
                    computed, queued = file.read().split()[:2]
                total += int(computed) + int(queued)
    except (OSError, ValueError):
        return time.process_time()
    return total / 1e9 if total else time.process_time()
