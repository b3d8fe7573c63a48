"""Times command lines, interleaved, as whoever runs this: JSON in on standard input, JSON out.

A row with ``shadow`` runs where the cgroup2 tree is bound over /sys/fs/cgroup, without which crun
refuses hybrid hosts; an ordinary user gets a user namespace for that. It is made beforehand, so the
row's time is the program's alone.
"""

import ctypes
import json
import os
import resource
import sys
import time
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
SHADOWED = b"/sys/fs/cgroup/unified"

libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    request = json.load(sys.stdin)
    rows: list[dict[str, Any]] = request["rows"]
    place = make_shadow() if any(row["shadow"] for row in rows) else None
    results: dict[str, list[list[float]]] = {row["name"]: [] for row in rows}
    failures: dict[str, str] = {}
    traces: list[str] = []
    for number in range(request["warm"] + request["runs"]):
        for row in rows:
            if row["name"] in failures:
                continue
            code, said, figures = measure(row, place)
            if code != 0:
                failures[row["name"]] = (
                    f"exit code {code}: {said.splitlines()[-1][:200] if said else ''}"
                )
            elif number >= request["warm"]:
                results[row["name"]].append(figures)
                traces.append(said)
    json.dump({"results": results, "failures": failures, "traces": traces}, sys.stdout)
    return 0


def measure(row: dict[str, Any], place: list[int] | None) -> tuple[int, str, list[float]]:
    """Exit code, standard error, and (wall ms, CPU ms, peak MiB of the largest process)."""
    errors = os.memfd_create("errors")
    environment = dict(row["environment"])
    began = time.monotonic_ns()
    if row.get("traced"):
        environment["SAMPAN_TRACE_START"] = str(began)
    pid = os.fork()
    if pid == 0:
        become(row, place, environment, errors)
    _, status, usage = os.wait4(pid, 0)
    wall = (time.monotonic_ns() - began) / 1e6
    said = os.pread(errors, 4000, 0).decode(errors="replace").strip()
    os.close(errors)
    figures = [wall, (usage.ru_utime + usage.ru_stime) * 1e3, usage.ru_maxrss / 1024]
    return os.waitstatus_to_exitcode(status), said, figures


def become(
    row: dict[str, Any], place: list[int] | None, environment: dict[str, str], errors: int
) -> None:
    try:
        if row["shadow"] and place is not None:
            for descriptor in place:
                if libc.setns(descriptor, 0) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.dup2(errors, 2)
        os.execvpe(row["command"][0], row["command"], environment)
    finally:
        os._exit(127)


def make_shadow() -> list[int]:
    """Descriptors of the namespaces to enter; a sleeping child keeps them until we end."""
    root = os.geteuid() == 0
    uid, gid = os.geteuid(), os.getegid()
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        libc.prctl(1, 9, 0, 0, 0)
        if libc.unshare(CLONE_NEWNS | (0 if root else CLONE_NEWUSER)) != 0:
            os._exit(1)
        if not root:
            for name, text in (
                ("setgroups", "deny"),
                ("gid_map", f"0 {gid} 1"),
                ("uid_map", f"0 {uid} 1"),
            ):
                with open(f"/proc/self/{name}", "w") as stream:
                    stream.write(text)
        libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        if os.path.isdir(SHADOWED):
            libc.mount(SHADOWED, b"/sys/fs/cgroup", None, MS_BIND, None)
        os.write(tell, b".")
        time.sleep(3600)
        os._exit(0)
    os.read(ready, 1)
    kinds = ("mnt",) if root else ("user", "mnt")
    return [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
