"""Images and containers that mean harm: what they must not reach on the host (design.md §9)."""

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.compiled import compile_c
from support.engine_host import USERS, EngineHost, engine_host, wait_until
from support.layouts import LayoutMaker, named

pytestmark = pytest.mark.integration
everybody = pytest.mark.parametrize("user", USERS)

STATIC = """
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Opens each path for reading; "!" asks for a character typed at the terminal of output. */
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        errno = 0;
        int done = argv[i][0] == '!' ? ioctl(1, TIOCSTI, "#") : open(argv[i], O_RDONLY | O_NONBLOCK);
        printf("%s %s\\n", argv[i], done < 0 ? strerror(errno) : "opened");
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with engine_host() as made:
        yield made


def add_image(
    host: EngineHost,
    name: str,
    *,
    links: dict[str, str] | None = None,
    nodes: dict[str, tuple[bytes, int, int]] | None = None,
    volumes: tuple[str, ...] = (),
) -> str:
    """The test image with these links and nodes in place of what it has there."""
    target = io.BytesIO()
    instead = {**(links or {}), **(nodes or {})}
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        root = host.base / "rootfs"
        for path in sorted(root.rglob("*")):
            inner = str(path.relative_to(root))
            if not any(inner == one or inner.startswith(f"{one}/") for one in instead):
                archive.add(path, inner, recursive=False)
        for inner, link in (links or {}).items():
            member = tarfile.TarInfo(inner)
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
        for inner, (kind, major, minor) in (nodes or {}).items():
            member = tarfile.TarInfo(inner)
            member.type, member.mode = kind, 0o666
            member.devmajor, member.devminor = major, minor
            archive.addfile(member)
    layout = LayoutMaker(host.base / f"layout-{name}")
    config = {"Cmd": ["/bin/sh"], "Volumes": {path: {} for path in volumes}}
    layout.write_index([named(layout.add_image([target.getvalue()], config=config), "one")])
    done = host.run("import", f"oci:{layout.root}:one", name)
    assert done.returncode == 0, done.stderr
    return name


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("etc", "absolute"),
        ("etc", "magic"),
        ("run", "upwards"),
        ("usr/bin", "absolute"),
        ("proc", "upwards"),
        ("dev", "absolute"),
        ("dev", "magic"),
        ("sys", "absolute"),
    ],
)
def test_links_in_place_of_directories_lead_nowhere_on_the_host(
    host: EngineHost, place: str, kind: str
) -> None:
    victim = host.base / "victim"
    victim.mkdir(mode=0o777, exist_ok=True)
    targets = {
        "absolute": str(victim),
        "upwards": "../" * 8 + str(victim),
        "magic": f"/proc/1/root{victim}",
    }
    name = f"link-{place.replace('/', '-')}-{kind}"
    add_image(host, name, links={place: targets[kind]})
    done = host.run("run", "--rm", name, "/bin/sh", "-c", f"echo x > /{place}/x")
    assert "Traceback" not in done.stderr
    assert list(victim.iterdir()) == []
    if place in ("proc", "dev", "sys"):
        assert done.returncode == 125, (done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("kind", "major", "minor"), [(b"6", 0, 0), (b"3", 1, 5)], ids=["fifo", "zero"]
)
def test_fifos_and_devices_in_place_of_files_are_not_waited_for(
    host: EngineHost, kind: bytes, major: int, minor: int
) -> None:
    names = ("passwd", "group", "hosts", "hostname", "resolv.conf", "ld.so.cache")
    nodes = {f"etc/{file}": (kind, major, minor) for file in names}
    name = add_image(host, f"nodes-{kind.decode()}", nodes=nodes)
    done = host.run("run", "--rm", name, "/bin/true", timeout=20)
    assert done.returncode == 0, done.stderr


@everybody
def test_device_nodes_of_an_image_do_not_open_the_hosts_devices(
    host: EngineHost, user: str, tmp_path: Path
) -> None:
    source = tmp_path / "attack.c"
    source.write_text(STATIC)
    program = compile_c(source, host.base / "rootfs/attack", "-static")
    try:
        name = add_image(
            host,
            f"nodes-{user}",
            nodes={
                "memory": (tarfile.CHRTYPE, 1, 1),
                "fuse": (tarfile.CHRTYPE, 10, 229),
                "disk": (tarfile.BLKTYPE, 254, 0),
            },
        )
    finally:
        program.unlink()
    done = host.run("run", "--rm", name, "/attack", "/memory", "/fuse", "/disk", "!", user=user)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
    assert "opened" not in done.stdout


@everybody
def test_no_descriptor_of_ours_reaches_the_container(host: EngineHost, user: str) -> None:
    listing = "for f in /proc/self/fd/*; do readlink $f; done; ls /proc/self/fd | wc -l"
    allowed = ("/dev/null", "pipe:", "/proc/")
    host.run("run", "-d", "--name", "box", "testimage", "sleep", "1000", user=user)
    try:
        for words in (("run", "--rm", "testimage"), ("exec", "box")):
            done = host.run(*words, "sh", "-c", listing, user=user)
            *targets, number = done.stdout.split()
            assert all(target.startswith(allowed) for target in targets), done.stdout
            assert int(number) <= 4, done.stdout
            for descriptor in range(3, 12):
                place = f"/proc/self/fd/{descriptor}"
                away = host.run(
                    words[0], *words[1:-1], "-w", place, words[-1], "pwd", "-P", user=user
                )
                assert away.returncode == 125, (descriptor, away.stdout)
    finally:
        host.run("rm", "-f", "box", user=user)


@everybody
def test_nothing_below_the_hosts_sys_can_be_written(host: EngineHost, user: str) -> None:
    script = r"""while read -r id parent device root place options rest; do
        case $place in /sys*) case ,$options, in *,ro,*) ;; *) echo $place $options;; esac;; esac
    done < /proc/self/mountinfo"""
    done = host.run("run", "--rm", "testimage", "sh", "-c", script, user=user)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("user", "volume"),
    [
        *(("root", volume) for volume in ("/proc", "/sys", "/dev", "/../..", "/data", "/data/sys")),
        ("ordinary", "/data"),
    ],
)
def test_volumes_of_an_image_do_not_copy_the_kernels_trees_into_memory(
    host: EngineHost, user: str, volume: str
) -> None:
    name = f"volume-{user}-{volume.strip('/').replace('/', '-').replace('..', 'up')}"
    add_image(host, name, links={"data": "/proc"}, volumes=(volume,))
    done = host.run("run", "--rm", "--read-only", name, "/bin/true", user=user)
    assert done.returncode == 125
    assert "would be a copy of" in done.stderr
    assert "remedy:" in done.stderr


@everybody
def test_what_lies_in_the_current_directory_is_not_loaded(
    host: EngineHost, user: str, tmp_path: Path
) -> None:
    for module in ("json", "os", "select", "signal", "marshal", "typing", "pickle"):
        (tmp_path / f"{module}.py").write_text("print('hostile')")
    (tmp_path / "sampan").mkdir()
    (tmp_path / "sampan/__init__.py").write_text("print('hostile')")
    (tmp_path / "crun").write_text("#!/bin/sh\necho hostile\n")
    (tmp_path / "crun").chmod(0o755)
    tmp_path.chmod(0o755)
    start = "import sys; sys.path[:] = sys.path[1:]; from sampan.cli.main import program; program()"
    line = host.command("-c", start, "run", "--rm", "testimage", "echo", "ours", user=user)
    at = line.index("-m")
    line[at : at + 2] = []
    done = subprocess.run(
        line,
        cwd=tmp_path,
        env=host.environment(user, PATH=":/usr/bin:/bin:/usr/sbin"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "ours\n"), done.stderr


KEYRING = """
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Whether the key that the caller of sampan holds in its session keyring is found in ours. */
int main(void) {
    syscall(SYS_keyctl, 0, -3, 0);
    printf("%s\\n", syscall(SYS_keyctl, 10, -3, "user", "sampan-test", 0) > 0 ? "found" : "none");
    return 0;
}
"""
HOLDER = """
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Becomes a program with such a key. */
int main(int argc, char **argv) {
    if (syscall(SYS_keyctl, 1, 0) < 0 || syscall(SYS_add_key, "user", "sampan-test", "x", 1, -3) < 0) {
        perror("keyctl");
        return 99;
    }
    execvp(argv[1], argv + 1);
    return 98;
}
"""


@everybody
def test_the_keys_of_the_login_are_not_the_containers(
    host: EngineHost, user: str, tmp_path: Path
) -> None:
    (tmp_path / "look.c").write_text(KEYRING)
    (tmp_path / "hold.c").write_text(HOLDER)
    tmp_path.chmod(0o755)
    holder = compile_c(tmp_path / "hold.c", host.base / "hold", "-static")
    program = compile_c(tmp_path / "look.c", host.base / "rootfs/look", "-static")
    try:
        name = add_image(host, f"keys-{user}")
    finally:
        program.unlink()

    def held(*words: str) -> subprocess.CompletedProcess[str]:
        line = [str(holder), *host.command(*words, user=user)]
        return subprocess.run(
            line, env=host.environment(user), capture_output=True, text=True, timeout=60
        )

    own = subprocess.run([holder, "true"], capture_output=True, text=True)
    if own.returncode == 99:
        pytest.skip(f"no keyrings here: {own.stderr.strip()}")
    try:
        assert held("run", "--rm", name, "/look").stdout == "none\n"
        started = held("run", "-d", "--name", "keys", name, "sh", "-c", "/look; sleep 1000")
        assert started.returncode == 0, started.stderr
        assert held("exec", "keys", "/look").stdout == "none\n"
        said = wait_until(lambda: host.run("logs", "keys", user=user).stdout, what="the program")
        assert said == "none\n"
    finally:
        host.run("rm", "-f", "keys", user=user)
