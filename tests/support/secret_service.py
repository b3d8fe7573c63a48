"""A real desktop key ring for tests: a session bus of its own with gnome-keyring on it."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from jeepney.bus_messages import message_bus
from jeepney.io.blocking import Proxy, open_dbus_connection
from secretstorage import get_collection_by_alias
from secretstorage.exceptions import SecretStorageException

from support.engine_host import wait_until
from support.registries import require_programs


@contextlib.contextmanager
def secret_service(home: Path, *, unlocked: bool = True) -> Iterator[dict[str, str]]:
    """Start both; gives the variables of a desktop session."""
    require_programs("dbus-daemon", "gnome-keyring-daemon")
    runtime = home / "run"
    runtime.mkdir(mode=0o700)
    session = {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), "PATH": os.environ["PATH"]}
    with contextlib.ExitStack() as stack:

        def start(*command: str) -> "subprocess.Popen[bytes]":
            process = subprocess.Popen(
                command, env=session, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(_end, process)
            return process

        bus = start("dbus-daemon", "--session", "--nofork", "--print-address")
        assert bus.stdout is not None
        session["DBUS_SESSION_BUS_ADDRESS"] = bus.stdout.readline().decode().strip()
        options = ["--foreground", "--components=secrets", f"--control-directory={runtime}/ring"]
        ring = start("gnome-keyring-daemon", *options, *(["--unlock"] if unlocked else []))
        assert ring.stdin is not None
        ring.stdin.write(b"password")
        ring.stdin.close()
        address = session["DBUS_SESSION_BUS_ADDRESS"]
        wait_until(lambda: _is_ready(address, unlocked=unlocked), what="gnome-keyring")
        yield session


def _is_ready(address: str, *, unlocked: bool) -> bool:
    """Whether the service is on the bus and, when it is to be open, its collection is."""
    with contextlib.closing(open_dbus_connection(address)) as connection:
        if not Proxy(message_bus, connection).NameHasOwner("org.freedesktop.secrets")[0]:
            return False
        if not unlocked:
            return True
        with contextlib.suppress(SecretStorageException):
            return not get_collection_by_alias(connection, "default").is_locked()
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
