"""``sampan ps``: the containers of this user."""

import argparse
import json
import time
from typing import Any

from sampan.cli.flags import add_flag
from sampan.cli.humanize import human_age
from sampan.cli.option_values import parse_number, refuse_value
from sampan.cli.render import printable
from sampan.engines.native import state

_HEADINGS = ("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES")
_COMMAND_WIDTH = 20
_STATES = ("created", "running", "exited", "dead", "paused", "restarting", "removing")
"""docker's; the last three never apply here, and scripts ask for them."""

_Known = tuple[state.ContainerRecord, state.Status]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add_flag(add, "-a", "--all", help="also those that do not run")
    add_flag(add, "-q", "--quiet", help="print ids only")
    add("-n", "--last", metavar="NUMBER", help="the newest so many, running or not")
    add_flag(add, "-l", "--latest", help="the newest, running or not")
    add("-f", "--filter", action="append", default=[], metavar="KEY=VALUE", help="id, name, label, status, exited, ancestor")  # fmt: skip
    add_flag(add, "--no-trunc", help="do not shorten ids and commands")
    add("--format", default="table", metavar="table|json|TEMPLATE", help="table, a JSON array, or docker's template, e.g. '{{.ID}} {{.Names}}' or 'table {{.Names}}\\t{{.Status}}'")  # fmt: skip


def main(arguments: argparse.Namespace) -> int:
    """Print the list."""
    known = [(record, state.container_status(record)) for record in state.list_records()]
    filters = [_parse_filter(text) for text in arguments.filter]
    by_state = any(key in ("status", "exited") for key, _ in filters)
    last = 1 if arguments.latest else parse_number("--last", arguments.last, 1) if arguments.last else 0  # fmt: skip
    if not (arguments.all or by_state or last):
        known = [(record, status) for record, status in known if status.state == "running"]
    known = [one for one in known if _matches(one, filters)]
    known = known[:last] if last else known
    if arguments.format == "json":
        print(json.dumps([_document(one) for one in known], indent=2))
    elif arguments.format != "table":
        _print_template(arguments.format, known, whole=arguments.no_trunc)
    elif arguments.quiet:
        for record, _ in known:
            print(record.id if arguments.no_trunc else record.id[:12])
    else:
        _print_table([_row(one, whole=arguments.no_trunc) for one in known])
    return 0


def _parse_filter(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    is_state = key != "status" or value in _STATES
    if (
        key not in ("id", "name", "label", "status", "exited", "ancestor")
        or not equals
        or not is_state
    ):
        expected = f"id=, name=, label=, exited=, ancestor= or status= ({', '.join(_STATES)})"
        refuse_value("--filter", text, expected, "--filter status=exited")
    return key, value


def _matches(one: _Known, filters: list[tuple[str, str]]) -> bool:
    """Different keys all hold; of several values for one key any (for labels: all)."""
    values: dict[str, list[str]] = {}
    for key, value in filters:
        values.setdefault(key, []).append(value)
    return all(
        (all if key == "label" else any)(_holds(one, key, value) for value in wanted)
        for key, wanted in values.items()
    )


def _holds(one: _Known, key: str, value: str) -> bool:
    record, status = one
    if key == "label":
        name, equals, wanted = value.partition("=")
        return name in record.labels and (not equals or record.labels[name] == wanted)
    if key == "id":
        return record.id.startswith(value)
    if key == "name":
        return value in record.name
    if key == "ancestor":
        return value in (record.image, record.image_digest) or record.image == f"{value}:latest"
    return value == (status.state if key == "status" else str(status.exit_code))


def _row(one: _Known, *, whole: bool) -> tuple[str, ...]:
    record, status = one
    return (
        record.id if whole else record.id[:12],
        record.image,
        _quoted_command(record, whole=whole),
        human_age(time.time() - record.created),
        describe_status(record, status),
        ", ".join(record.ports),
        record.name,
    )


def _quoted_command(record: state.ContainerRecord, *, whole: bool) -> str:
    command = printable(" ".join(record.command)).replace("\n", "\\n")
    if not whole and len(command) > _COMMAND_WIDTH:
        command = f"{command[: _COMMAND_WIDTH - 1]}…"
    return f'"{command}"'


def describe_status(record: state.ContainerRecord, status: state.Status) -> str:
    """In docker's words: ``Up 3 minutes``, ``Exited (0) 2 hours ago``."""
    if status.state == "running":
        return f"Up {human_age(time.time() - record.started).removesuffix(' ago')}"
    if status.state == "exited":
        return f"Exited ({status.exit_code}) {human_age(time.time() - status.finished)}"
    return status.state.capitalize()


def _print_table(rows: list[tuple[str, ...]]) -> None:
    _print_columns([_HEADINGS, *rows])


def _print_template(text: str, known: list[_Known], *, whole: bool) -> None:
    """Print a line per container; ``table`` before the template adds headings and aligns."""
    from sampan.cli.inspect_format import render_template

    text = text.replace("\\t", "\t").replace("\\n", "\n")
    is_table = text.startswith("table ")
    template = text.removeprefix("table ").lstrip()
    # The heading first: it refuses what no member is, also where no container is listed.
    heading = render_template(template, _MEMBERS, {"Label": str})
    lines = [_render_line(template, one, whole=whole) for one in known]
    if is_table:
        _print_columns([tuple(line.split("\t")) for line in (heading, *lines)])
    else:
        for line in lines:
            print(line)


def _render_line(template: str, one: _Known, *, whole: bool) -> str:
    from sampan.cli.inspect_format import render_template

    labels = one[0].labels
    lookups = {"Label": lambda key: labels.get(key, "")}
    return render_template(template, _members(one, whole=whole), lookups)


_MEMBERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Ports": "PORTS",
    "State": "STATE",
    "Status": "STATUS",
    "Names": "NAMES",
    "Labels": "LABELS",
    "Networks": "NETWORKS",
}
"""What a template can name, with docker's headings."""


def _members(one: _Known, *, whole: bool) -> dict[str, str]:
    record, status = one
    identity, image, command, age, described, ports, name = _row(one, whole=whole)
    values = (
        identity,
        image,
        command,
        str(_document(one)["CreatedAt"]),
        age,
        ports,
        status.state,
        described,
        name,
        ",".join(f"{key}={value}" for key, value in sorted(record.labels.items())),
        record.network,
    )
    return dict(zip(_MEMBERS, values, strict=True))


def _print_columns(table: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        print(
            "   ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        )


def _document(one: _Known) -> dict[str, Any]:
    from sampan.engines.native.inspect import describe_container

    record, status = one
    whole = describe_container(record, status)
    return {
        "ID": record.id,
        "Image": record.image,
        "Command": list(record.command),
        "CreatedAt": whole["Created"],
        "State": status.state,
        "Status": describe_status(record, status),
        "ExitCode": status.exit_code,
        "Ports": list(record.ports),
        "Labels": dict(record.labels),
        "Names": record.name,
        "GPUs": list(record.gpus),
        "Pid": whole["State"]["Pid"],
    }
