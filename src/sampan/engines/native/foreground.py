"""A container in the foreground: entered into the state, started, waited for, cleared away."""

import os
import time
from collections.abc import Callable

from sampan.engines.native import launch, state
from sampan.engines.native.launch_plan import crun_in_foreground
from sampan.engines.native.writable_layer import remove_writable_directory
from sampan.engines.prepare import Prepared
from sampan.errors import SampanError
from sampan.kernel.procfs import start_time


def run_in_foreground(prepared: Prepared) -> int:
    """Run the container to its end; return its exit code.

    Raises:
        SampanError: it could not be started.
    """
    record = enter_record(prepared.record)
    try:
        running = launch.start(
            prepared.launch,
            crun_in_foreground,
            connect_network=network_of(prepared),
            before_start=lambda pid: note_start(record.id, pid),
            clear_away=clear_away_of(prepared),
        )
    except SampanError:
        state.remove_record(record.id)
        raise
    return launch.wait(running)


def enter_record(record: state.ContainerRecord) -> state.ContainerRecord:
    """Enter a container that this process supervises."""
    supervisor = os.getpid()
    record = record._replace(supervisor_pid=supervisor, supervisor_start=start_time(supervisor))
    state.create_record(record)
    return record


def note_start(container_id: str, pid: int) -> None:
    """Note that the container's program is about to run below ``pid``."""
    state.update_record(container_id, pid=pid, pid_start=start_time(pid), started=time.time())


def network_of(prepared: Prepared) -> Callable[[int], None] | None:
    """What connects the container's network, given its pid 1; None when there is nothing to do."""
    if prepared.launch.network != "private":
        return None
    from sampan.engines.native.network import connect_private

    directory = state.container_directory(prepared.record.id)
    return lambda pid: connect_private(pid, prepared.ports, directory)


def clear_away_of(prepared: Prepared) -> Callable[[int], None]:
    """What removes the container's traces from the host, given its exit code; safe to do twice."""
    plan, record = prepared.launch, prepared.record

    def clear_away(exit_code: int) -> None:
        if plan.rootfs.upper_directory:
            remove_writable_directory(
                plan.rootfs.upper_directory, plan.id_maps, plan.newuidmap, plan.newgidmap
            )
        # Waiters hold the exit file open, so the code is written even where it goes at once.
        state.write_exit(record.id, exit_code)
        if record.remove:
            state.remove_record(record.id)

    return clear_away
