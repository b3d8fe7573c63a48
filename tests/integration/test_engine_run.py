"""`sampan run` in the foreground, as root, as a user with one id, and as one with a range of ids."""

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator

import pytest

from support.engine_host import ORDINARY_UID, USERS, EngineHost, engine_host

pytestmark = pytest.mark.integration
everybody = pytest.mark.parametrize("user", USERS)
NOT_ROOT = ("ordinary", "ranged")


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with engine_host() as made:
        yield made


def output(host: EngineHost, *words: str, user: str = "root", code: int = 0, **more: object) -> str:
    done = host.run("run", "--rm", *words, user=user, **more)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout


@everybody
def test_the_container_sees_its_own_world_as_root(host: EngineHost, user: str) -> None:
    said = output(host, "testimage", "sh", "-c", "id -u; echo $$; cat /etc/secret/word; touch /made && ls /made", user=user)  # fmt: skip
    assert said.split() == ["0", "1", "hidden", "/made"]


@everybody
def test_the_image_itself_is_never_changed(host: EngineHost, user: str) -> None:
    output(host, "testimage", "sh", "-c", "rm /etc/passwd; echo x > /etc/group; touch /new", user=user)  # fmt: skip
    said = output(host, "testimage", "sh", "-c", "cat /etc/group; ls /new || true", user=user)
    assert said.startswith("root:x:0:")


@everybody
@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        (["sh", "-c", "exit 7"], 7, ""),
        (["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137, ""),
        (["no-such-program"], 127, "the image has no program 'no-such-program'"),
        (["/etc/passwd"], 126, "'/etc/passwd' cannot be executed"),
        (["/home"], 126, "'/home' cannot be executed"),
    ],
    ids=["own", "killed", "missing", "not-executable", "directory"],
)
def test_exit_codes_are_dockers(
    host: EngineHost, user: str, command: list[str], code: int, error: str
) -> None:
    done = host.run("run", "--rm", "testimage", *command, user=user)
    assert done.returncode == code
    assert error in done.stderr
    if error:
        assert "remedy:" in done.stderr
        assert len(done.stderr.splitlines()) == 3, done.stderr


@everybody
def test_standard_input_is_passed_on_only_when_asked(host: EngineHost, user: str) -> None:
    text = "line\n" * 30_000
    assert output(host, "-i", "testimage", "cat", user=user, stdin=text) == text
    assert output(host, "testimage", "cat", user=user, stdin=text) == ""


@everybody
def test_a_closed_output_pipe_ends_the_program_as_in_any_pipeline(
    host: EngineHost, user: str
) -> None:
    running = host.start("run", "--rm", "testimage", "sh", "-c", "yes; exit $?", user=user)
    assert running.stdout is not None
    assert running.stdout.readline() == "y\n"
    running.stdout.close()
    assert running.wait(20) == 128 + signal.SIGPIPE
    running.communicate()


@pytest.mark.parametrize(("closed", "seen"), [("<&-", "out"), (">&-", "err"), ("2>&-", "out")])
def test_a_closed_standard_stream_is_an_empty_one(host: EngineHost, closed: str, seen: str) -> None:
    line = shlex.join(host.command("run", "--rm", "-i", "testimage", "sh", "-c", "cat; echo out; echo err >&2; exit 3"))  # fmt: skip
    done = subprocess.run(
        ["sh", "-c", f"{line} {closed}"],
        env=host.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3, done.stderr
    assert (done.stdout + done.stderr).split() == (["out", "err"] if closed == "<&-" else [seen])


@everybody
def test_environment_directory_and_user_come_from_image_and_options(
    host: EngineHost, user: str
) -> None:
    words = ["-e", "ONE=1", "-e", "PATH=/bin", "-w", "/home/app", "-u", "app", "--hostname", "box"]
    script = "echo $ONE $PATH $PWD $HOME $(hostname) $HOSTNAME; id -u; id -g; cat /etc/hostname"
    said = output(host, *words, "testimage", "sh", "-c", script, user=user)
    assert said.split() == [
        "1",
        "/bin",
        "/home/app",
        "/home/app",
        "box",
        "box",
        "1000",
        "1000",
        "box",
    ]


def test_supplementary_groups_of_the_image_apply(host: EngineHost) -> None:
    for user in ("root", "ranged"):
        assert output(host, "-u", "app", "testimage", "id", "-G", user=user).split() == [
            "1000",
            "2000",
        ]
        assert output(host, "-u", "app:root", "testimage", "id", "-G", user=user).split() == ["0"]


def test_the_first_group_is_among_the_others_so_that_leaving_it_opens_no_file(
    host: EngineHost,
) -> None:
    for user in ("root", "ranged"):
        for words, groups in (((), "0"), (("-u", "app"), "1000 2000"), (("-u", "5:6"), "6")):
            said = output(host, *words, "testimage", "grep", "Groups", "/proc/self/status", user=user)  # fmt: skip
            assert said.split(maxsplit=1)[1].strip() == groups


def test_a_file_as_the_working_directory_is_refused(host: EngineHost) -> None:
    done = host.run("run", "--rm", "-w", "/etc/passwd", "testimage", "true")
    assert done.returncode == 125
    assert "/etc/passwd is no directory" in done.stderr
    assert len(done.stderr.splitlines()) == 3, done.stderr


def test_a_working_directory_that_is_not_there_is_made_behind_the_images_links(
    host: EngineHost,
) -> None:
    said = output(host, "-w", "/var/run/deep/down", "testimage", "sh", "-c", "pwd; ls -d /run/deep/down; readlink /var/run")  # fmt: skip
    assert said.split() == ["/run/deep/down", "/run/deep/down", "../run"]


@everybody
def test_volumes_of_the_host(host: EngineHost, user: str, tmp_path_factory: object) -> None:
    shared = host.home(user) / "shared"
    shared.mkdir(exist_ok=True)
    if user != "root":
        os.chown(shared, ORDINARY_UID, ORDINARY_UID)
    (shared / "in").write_text("given\n")
    output(host, "-v", f"{shared}:/data", "testimage", "sh", "-c", "cat /data/in > /data/out", user=user)  # fmt: skip
    assert (shared / "out").read_text() == "given\n"
    assert (shared / "out").stat().st_uid == (0 if user == "root" else ORDINARY_UID)
    done = host.run("run", "--rm", "-v", f"{shared}:/data:ro", "testimage", "touch", "/data/no", user=user)  # fmt: skip
    assert done.returncode == 1
    assert "Read-only" in done.stderr


@everybody
def test_a_single_file_can_be_a_read_only_volume(host: EngineHost, user: str) -> None:
    file = host.base / f"file-{user}"
    file.write_text("of the host\n")
    file.chmod(0o666)
    script = "cat /file; echo no > /file"
    done = host.run(
        "run", "--rm", "-v", f"{file}:/file:ro", "testimage", "sh", "-c", script, user=user
    )
    assert done.stdout == "of the host\n"
    assert "Read-only file system" in done.stderr


@everybody
def test_a_read_only_volume_is_so_with_all_that_is_mounted_below_it(
    host: EngineHost, user: str
) -> None:
    outer = host.base / f"outer-{user}"
    (outer / "inner").mkdir(parents=True)
    line = shlex.join(host.command("run", "--rm", "-v", f"{outer}:/data:ro", "testimage", "touch", "/data/inner/no", user=user))  # fmt: skip
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs -o mode=1777 x {outer}/inner; {line}"],
        env=host.environment(user),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, "Read-only" in done.stderr) == (1, True), done.stderr


@everybody
def test_read_only_root_keeps_temporary_file_systems_writable(host: EngineHost, user: str) -> None:
    script = "touch /no 2>&1; touch /scratch/yes && ls /scratch; df -m /scratch | tail -1"
    said = output(host, "--read-only", "--tmpfs", "/scratch:size=8m", "testimage", "sh", "-c", script, user=user)  # fmt: skip
    assert "Read-only file system" in said
    assert "yes" in said
    assert " 8 " in said


@everybody
def test_shared_memory_is_half_the_memory_unless_said_otherwise(
    host: EngineHost, user: str
) -> None:
    script = "df -k /dev/shm | tail -1"
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2048
    given = int(output(host, "testimage", "sh", "-c", script, user=user).split()[1])
    assert abs(given - half) < half // 10
    said = output(host, "--shm-size", "32m", "testimage", "sh", "-c", script, user=user)
    assert int(said.split()[1]) == 32 * 1024


def test_capabilities_are_dockers_and_can_be_changed(host: EngineHost) -> None:
    def held(*words: str) -> int:
        said = output(host, *words, "testimage", "grep", "CapEff", "/proc/self/status")
        return int(said.split()[1], 16)

    assert held() == 0x00000000A80425FB
    assert held("--cap-drop", "ALL") == 0
    assert held("--cap-drop", "ALL", "--cap-add", "NET_RAW") == 1 << 13
    assert held("-u", "app") == 0


@everybody
def test_a_system_call_filter_holds_unless_it_is_turned_off(host: EngineHost, user: str) -> None:
    if not os.path.exists("/usr/share/containers/seccomp.json"):
        pytest.skip("no /usr/share/containers/seccomp.json (containers-common)")
    script = ["testimage", "grep", "-E", "^(Seccomp|NoNewPrivs):", "/proc/self/status"]
    assert output(host, *script, user=user).split() == ["NoNewPrivs:", "0", "Seccomp:", "2"]
    freely = ["--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges"]
    assert output(host, *freely, *script, user=user).split() == [
        "NoNewPrivs:",
        "1",
        "Seccomp:",
        "0",
    ]


def test_filters_of_the_users_own(host: EngineHost) -> None:
    profile = host.base / "profile.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}')  # fmt: skip
    option = f"seccomp={profile}"
    done = host.run("run", "--rm", "--security-opt", option, "testimage", "mkdir", "/x")
    assert "Operation not supported" in done.stderr
    profile.write_text("{")
    done = host.run("run", "--rm", "--security-opt", option, "testimage", "mkdir", "/x")
    assert done.returncode == 125
    assert "error[seccomp-profile]" in done.stderr


def test_root_of_a_container_cannot_open_the_hosts_disks(host: EngineHost) -> None:
    script = "mknod /disk b 7 0 && cat /disk > /dev/null"
    done = host.run("run", "--rm", "testimage", "sh", "-c", script)
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr
    assert (
        output(host, "testimage", "sh", "-c", "head -c 3 /dev/zero | wc -c; echo > /dev/null")
        == "3\n"
    )


@everybody
def test_a_device_of_the_host_can_be_given(host: EngineHost, user: str) -> None:
    said = output(host, "--device", "/dev/null:/dev/another:rw", "testimage", "sh", "-c", "echo x > /dev/another; ls -l /dev/another", user=user)  # fmt: skip
    assert said.startswith("crw")
    assert " 1,   3 " in said


@everybody
def test_limits_of_the_process(host: EngineHost, user: str) -> None:
    script = ["testimage", "sh", "-c", "ulimit -n; ulimit -c"]
    assert output(host, "--ulimit", "nofile=100:200", *script, user=user).split() == ["100", "0"]


def test_a_limit_that_cannot_be_raised_is_lowered_with_a_warning(host: EngineHost) -> None:
    words = ["--ulimit", "nofile=2000000000:2000000000", "testimage", "sh", "-c", "ulimit -Hn"]
    done = host.run("run", "--rm", *words, user="ordinary")
    assert done.returncode == 0
    assert "warning: --ulimit nofile=2000000000" in done.stderr
    assert int(done.stdout) < 2000000000


def test_memory_and_process_limits_hold_or_are_warned_about(host: EngineHost) -> None:
    done = host.run("run", "--rm", "--pids-limit", "8", "testimage", "sh", "-c", "for n in 1 2 3 4 5 6 7 8 9; do sleep 0.2 & done; wait")  # fmt: skip
    assert "can't fork" in done.stderr or "cannot be applied" in done.stderr
    done = host.run("run", "--rm", "-m", "16m", "testimage", "sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=64M count=1")  # fmt: skip
    assert done.returncode == 137 or "cannot be applied" in done.stderr
    done = host.run("run", "--rm", "-m", "16m", "testimage", "true", user="ordinary")
    assert done.returncode == 0
    assert "--memory cannot be applied" in done.stderr


@everybody
def test_namespaces_are_shared_only_when_asked(host: EngineHost, user: str) -> None:
    script = [
        "testimage",
        "sh",
        "-c",
        "for kind in ipc net pid; do readlink /proc/self/ns/$kind; done",
    ]
    ipc, net, pid = output(host, *script, user=user).split()
    own = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("ipc", "net", "pid")]
    assert (ipc != own[0], net == own[1], pid != own[2]) == (True, True, True)
    ipc, net, _ = output(host, "--ipc", "host", "--network", "none", *script, user=user).split()
    assert (ipc == own[0], net != own[1]) == (True, True)


@everybody
def test_init_takes_the_place_of_pid_1(host: EngineHost, user: str) -> None:
    said = output(host, "--init", "testimage", "sh", "-c", "echo $$; cat /proc/1/comm", user=user)
    assert said.split()[0] != "1"
    assert said.split()[1] == "init"


@everybody
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_signals_reach_the_program(host: EngineHost, user: str, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    running = host.start("run", "--rm", "testimage", "sh", "-c", script, user=user)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(number)
    said, errors = running.communicate(timeout=20)
    assert (said, errors, running.returncode) == ("got\n", "", 9)


@everybody
def test_nothing_of_a_container_that_ended_is_left(host: EngineHost, user: str) -> None:
    output(host, "testimage", "true", user=user)
    assert host.containers(user) == []
    assert list((host.runtime(user) / "mnt").iterdir()) == []


def test_without_rm_the_exit_code_is_kept(host: EngineHost) -> None:
    done = host.run("run", "--name", "kept", "testimage", "sh", "-c", "exit 5")
    assert done.returncode == 5
    (container,) = host.containers("root")
    assert (host.runtime("root") / "containers" / container / "exit").read_text() == "5\n"
    again = host.run("run", "--name", "kept", "testimage", "true")
    assert again.returncode == 125
    assert "error[name-in-use]" in again.stderr
    assert host.run("rm", "kept").returncode == 0


@pytest.mark.parametrize("user", NOT_ROOT)
def test_a_writable_layer_on_disk_vanishes_with_the_container(host: EngineHost, user: str) -> None:
    layers = host.home(user) / "layers"
    layers.mkdir(exist_ok=True)
    os.chown(layers, ORDINARY_UID, ORDINARY_UID)
    script = "mkdir -p /a/b && echo x > /a/b/c && chmod 000 /a/b && rm -r /home && mkdir /home && chown 7:7 /a; grep -c ' / overlay' /proc/mounts"  # fmt: skip
    said = output(host, "testimage", "sh", "-c", script, user=user, variables={"SAMPAN_UPPER": str(layers)})  # fmt: skip
    assert said == "1\n"
    assert list(layers.iterdir()) == []


def test_without_fuse_the_image_is_unpacked_once(host: EngineHost) -> None:
    script = ["testimage", "sh", "-c", "cat /etc/secret/word; id -u; touch /etc/new"]
    for _ in range(2):
        said = output(host, *script, user="ordinary", fuse=False)
        assert said.split() == ["hidden", "0"]
    unpacked = host.home("ordinary") / ".cache/sampan/unpacked"
    (tree,) = [path for path in unpacked.iterdir() if path.is_dir()]
    assert not (tree / "etc/new").exists()


def test_an_unknown_user_is_refused_with_those_there_are(host: EngineHost) -> None:
    done = host.run("run", "--rm", "-u", "nobody-here", "testimage", "true")
    assert done.returncode == 125
    assert "error[user-not-found]" in done.stderr
    assert "root, app" in done.stderr
    assert host.containers("root") == []


def test_the_platform_must_be_the_images(host: EngineHost) -> None:
    done = host.run("run", "--rm", "--platform", "linux/s390x", "testimage", "true")
    assert done.returncode == 125
    assert "error[platform]" in done.stderr
