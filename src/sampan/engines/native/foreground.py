"""A container in the foreground: entered into the state, started, waited for, cleared away."""

from sampan.engines.native import launch, state
from sampan.engines.native.launch_plan import crun_in_foreground
from sampan.engines.native.writable_layer import remove_writable_directory
from sampan.engines.prepare import Prepared
from sampan.errors import SampanError


def run_in_foreground(prepared: Prepared) -> int:
    """Run the container to its end; return its exit code.

    Raises:
        SampanError: it could not be started.
    """
    plan, record = prepared.launch, prepared.record
    state.create_record(record)

    def clear_away(exit_code: int) -> None:
        if plan.rootfs.upper_directory:
            remove_writable_directory(
                plan.rootfs.upper_directory, plan.id_maps, plan.newuidmap, plan.newgidmap
            )
        if record.remove:
            state.remove_record(record.id)
        else:
            state.write_exit(record.id, exit_code)

    try:
        running = launch.start(
            plan,
            crun_in_foreground,
            before_start=lambda pid: _note_start(record.id, pid),
            clear_away=clear_away,
        )
    except SampanError:
        state.remove_record(record.id)
        raise
    return launch.wait(running)


def _note_start(container_id: str, pid: int) -> None:
    import os
    import time

    from sampan.kernel.procfs import start_time

    supervisor = os.getpid()
    state.update_record(
        container_id,
        pid=pid,
        pid_start=start_time(pid),
        supervisor_pid=supervisor,
        supervisor_start=start_time(supervisor),
        started=time.time(),
    )
