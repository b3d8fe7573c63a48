"""``sampan logs``: what a detached container printed."""

import argparse
import sys
import time

from sampan.cli.flags import add_flag
from sampan.cli.option_values import parse_number


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add_flag(add, "-f", "--follow", help="go on until the container ends")
    add_flag(add, "-t", "--timestamps", help="show when each line came")
    add("-n", "--tail", default="all", metavar="NUMBER", help="only so many lines from the end")
    add("--since", metavar="TIME", help="only lines from then on: a time, or a duration ago (10m)")
    add("--until", metavar="TIME", help="only lines before: a time, or a duration ago")
    add("name", metavar="CONTAINER", help="name or id")


def _tail(text: str) -> int | None:
    """Lines, or None for all: as with docker any negative number means that, too."""
    number = -1 if text == "all" else parse_number("--tail", text, -(1 << 31))
    return None if number < 0 else number


def main(arguments: argparse.Namespace) -> int:
    """Print the container's standard output on ours, its standard error on ours.

    Raises:
        SampanError: no such container, or it has no log.
    """
    from sampan.engines.native import logs, state

    now = time.time()
    selection = logs.Selection(
        _tail(arguments.tail),
        logs.parse_moment("--since", arguments.since, now) if arguments.since else None,
        logs.parse_moment("--until", arguments.until, now) if arguments.until else None,
    )
    streams = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    record = state.load_record(arguments.name)
    before = sys.stdout.buffer
    for line in logs.read_log(record, selection, follow=arguments.follow):
        stream = streams.get(line.stream, sys.stdout.buffer)
        if stream is not before:
            # So that the two streams meet in the order in which they were written.
            before.flush()
            before = stream
        if arguments.timestamps and line.begins:
            stream.write(f"{line.stamp} ".encode())
        stream.write(line.text)
        if arguments.follow:
            stream.flush()
    before.flush()
    return 0
