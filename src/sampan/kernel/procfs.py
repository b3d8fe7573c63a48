"""What /proc says of a process: alive or not, and which one of those that ever had its number.

Process numbers are reused; a number together with the start time names one process for ever
(proc(5), /proc/pid/stat, field 22). On the container start path: imports nothing.
"""


def start_time(pid: int) -> int:
    """Clock ticks after boot at which ``pid`` started; 0 when there is no such live process.

    A zombie counts as dead: it holds no memory, files or namespaces any more.
    """
    if pid <= 0:
        return 0
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            text = stream.read()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # The program's name may hold blanks and parentheses; the last ")" ends it.
    fields = text[text.rindex(b")") + 2 :].split()
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def is_alive(pid: int, started: int) -> bool:
    """Whether the very process that started at ``started`` still lives (0 = any of that number)."""
    now = start_time(pid)
    return now != 0 and started in (0, now)
