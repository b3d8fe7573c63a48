"""The first process of the container's outer namespaces: it mounts, then becomes the runtime.

Pid 1 on purpose: whatever kills it takes the container and the FUSE server with it, and its mount
namespace takes the mounts. It is a clone of the supervisor and goes on as the same interpreter, so
it imports nothing anew and writes into nobody's files but its own tmpfs.
"""

import marshal
import os
import signal
from typing import NamedTuple, NoReturn

from sampan.engines.native import rootfs, trace
from sampan.engines.native.command_check import check_command
from sampan.engines.native.launch_plan import Inside, Launch, Program
from sampan.errors import EXIT_OURS, SampanError
from sampan.kernel import cgroups, libc, mounts, userns
from sampan.kernel.channel import Channel

MAPPED = b"m"
GO = b"g"
READY = b"r"
SERVE = b"s"
FAILED = b"f"

_RESET_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)


class Gates(NamedTuple):
    """Pid 1's end of the channel to the supervisor, and the memory file for the runtime's log."""

    channel: Channel
    log: int


def become_container(launch: Launch, program: Program, gates: Gates) -> NoReturn:
    """Everything that pid 1 does, up to the exec. Failures go to the supervisor as data."""
    try:
        libc.die_with_parent()
        trace.take_marks()
        _await_order(gates, MAPPED)
        _set_up(launch, gates)
        inside = _describe_inside(launch, gates.log)
        answer = marshal.dumps(trace.take_marks())
        gates.channel.send(READY + answer)
        # The supervisor answers only while it lives, hence after our parent-death signal was set.
        _await_order(gates, GO)
        cgroups.enter_groups(launch.cgroup)
        if launch.shadow_cgroups:
            # crun refuses hybrid hosts; it sees the v2 tree alone here.
            mounts.bind(f"{cgroups.CGROUP_ROOT}/unified", cgroups.CGROUP_ROOT)
        if not launch.interactive:
            null = os.open("/dev/null", os.O_RDONLY)
            os.dup2(null, 0)
        os.set_inheritable(gates.log, True)
        words = program(inside)
        for number in _RESET_SIGNALS:
            # Python ignores these; a program started with them ignored never gets them again.
            signal.signal(number, signal.SIG_DFL)
        os.execv(words[0], words)  # noqa: S606 - an argument list
    except SampanError as error:
        _report(gates.channel, error)
    except OSError as error:
        _report(gates.channel, _explain(error, rootless=launch.id_maps is not None))
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        _report(gates.channel, SampanError("pid 1 of the container failed", evidence=text))
    finally:
        os._exit(EXIT_OURS)


def _await_order(gates: Gates, order: bytes) -> None:
    if gates.channel.receive()[0] != order:
        os._exit(EXIT_OURS)


def _set_up(launch: Launch, gates: Gates) -> None:
    os.umask(0o022)
    mounts.keep_mounts_private()
    mounts.mount_proc()
    trace.mark("pid 1: namespaces, /proc")
    mounts.mount_tmpfs(launch.mount_point, "mode=0755")
    os.chdir(launch.mount_point)
    rootfs.build_rootfs(launch.rootfs, lambda device: gates.channel.send(SERVE, device))
    trace.mark("pid 1: image, overlay")
    check_command(rootfs.ROOTFS, launch.command, launch.search, launch.directory, launch.mounted)
    with open("config.json", "xb") as stream:
        stream.write(launch.config)
    if launch.network != "host":
        from sampan.kernel.network import raise_loopback

        raise_loopback()
    trace.mark("pid 1: bundle")


def _describe_inside(launch: Launch, log: int) -> Inside:
    return Inside(
        container_id=launch.container_id,
        runtime=launch.runtime.path,
        runtime_options=launch.runtime_options,
        log=f"/proc/self/fd/{log}",
        bundle=launch.mount_point,
        crun_root=launch.crun_root,
        terminal=launch.terminal,
        interactive=launch.interactive,
    )


def _explain(error: OSError, *, rootless: bool) -> SampanError:
    if rootless and error.errno in (1, 13) and str(error.strerror).startswith("mount"):
        return userns.refuse(error)
    return SampanError(
        "cannot prepare the container's file systems",
        evidence=f"{error.strerror}: {error.filename}",
    )


def _report(channel: Channel, error: SampanError) -> None:
    content = (error.id, error.exit_code, error.cause, error.evidence, error.remedy)
    channel.send(FAILED + marshal.dumps(content))
