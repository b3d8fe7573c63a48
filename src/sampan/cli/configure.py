"""``sampan configure``: have another engine know our runtime and CDI, or forget them."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable

from sampan.cli.flags import add_flag
from sampan.cli.render import printable
from sampan.engines.configure.engine_table import ENGINES, WITHOUT_RUNTIME, engine_module
from sampan.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan configure ENGINE [OPTIONS]"
    parser.add_argument("engine", metavar="ENGINE", choices=ENGINES, help=", ".join(ENGINES))
    parser.add_argument(
        "--config", default="", metavar="FILE", help="edit this file; default: the engine's own"
    )
    parser.add_argument(
        "--runtime-name", default="nvidia", metavar="NAME", help="for --runtime; default: nvidia"
    )
    parser.add_argument(
        "--runtime-path", default="", metavar="FILE", help="default: what sampan install installed"
    )
    add_flag(parser.add_argument, "--no-runtime", help="leave the engine's runtimes alone")
    add_flag(
        parser.add_argument, "--set-as-default", help="use the runtime where nobody names another"
    )
    add_flag(parser.add_argument, "--cdi", help="have the engine resolve CDI devices")
    parser.add_argument(
        "--cdi-spec-dir",
        action="append",
        default=[],
        metavar="DIR",
        help="look for CDI documents in these directories only (may be repeated)",
    )
    add_flag(parser.add_argument, "--dry-run", help="show the difference, write nothing")
    add_flag(parser.add_argument, "--yes", "-y", help="do not ask")
    add_flag(parser.add_argument, "--undo", help="take our settings out again")
    parser.add_argument(
        "--state-dir", default="", metavar="DIR",
        help="where backups and the record of changes are; default: /var/lib/sampan/configure, or"
        " ~/.local/state/sampan/configure for a user",
    )  # fmt: skip


def main(arguments: argparse.Namespace) -> int:
    """Show, ask, write, say what to restart."""
    from pathlib import Path

    from sampan.engines.configure.change import (
        apply,
        forget,
        prepare_change,
        prepare_undo,
    )
    from sampan.engines.configure.machine import locate_runtime, this_machine
    from sampan.engines.configure.plan import Wishes, accept
    from sampan.engines.configure.records import locate_state

    engine, machine = arguments.engine, this_machine()
    module = engine_module(engine)
    wants_runtime = not arguments.no_runtime and not arguments.undo
    if engine in WITHOUT_RUNTIME:
        wants_runtime = engine == "buildkit" and wants_runtime and arguments.set_as_default
    wishes = Wishes(
        locate_runtime(arguments.runtime_path) if wants_runtime else "",
        arguments.runtime_name, arguments.set_as_default, arguments.cdi,
        tuple(arguments.cdi_spec_dir),
        os.path.abspath(arguments.config) if arguments.config else "",
    )  # fmt: skip
    state = Path(arguments.state_dir or locate_state(machine.environment, is_root=machine.is_root))
    if arguments.undo:
        prepared = prepare_undo(engine, module.locate(wishes, machine), state)
        notes, restart = prepared.notes, module.restart(machine, whole=True)
        check: Callable[[bool], str] = accept
    else:
        plan = module.plan(wishes, machine)
        prepared = prepare_change(engine, plan, state)
        notes, check, restart = plan.notes, plan.check, plan.restart
    for note in notes:
        print(f"note: {printable(note)}")
    if not prepared.changes:
        if arguments.undo and not arguments.dry_run:
            forget(prepared)
        print("nothing to undo" if arguments.undo else "nothing to change")
        return 0
    print("\n".join(printable(line) for line in prepared.diff().splitlines()))
    if arguments.dry_run:
        return 0
    if not arguments.yes and not _agreed():
        print("nothing was changed")
        return 1
    for backup in apply(prepared, check, time.time()):
        print(f"backup: {backup}")
    for change in prepared.changes:
        print(f"{'removed' if change.after is None else 'written'}: {change.path}")
    if restart:
        print(f"to let {engine} know:")
        print("\n".join(f"  {command}" for command in restart))
    return 0


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            "nobody is here to be asked", evidence="standard input is no terminal",
            remedy=shlex.join(["sampan", *sys.argv[1:], "--yes"]),
        )  # fmt: skip
    print("write this? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
