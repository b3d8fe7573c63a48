"""What `sampan run`'s options are for docker and podman."""

import pytest

from sampan.engines.protocol import EngineOptionError, EngineState
from sampan.engines.run_words import GivenWords, render_run
from sampan.model.container import ContainerSpec, PublishedPort, VolumeMount

SPEC = ContainerSpec(image="img", shm_bytes=0)


def words(spec: ContainerSpec, engine: str = "docker", **given: object) -> list[str]:
    return render_run(engine, spec, GivenWords(**given), 8 << 30, ())  # type: ignore[arg-type]


def test_a_bare_run_has_the_hosts_network_and_half_of_the_memory_to_share() -> None:
    said = words(ContainerSpec(image="img", arguments=("a", "--rm")))
    assert said == ["--network", "host", "--shm-size", str(4 << 30), "--", "img", "a", "--rm"]


def test_a_private_network_is_the_engines_own() -> None:
    spec = SPEC._replace(
        network="private",
        ports=(
            PublishedPort("127.0.0.1", 8080, 80, "tcp"),
            PublishedPort("::1", 0, 53, "udp"),
            PublishedPort("", 0, 22, "tcp"),
        ),
    )
    assert words(spec) == [
        "--publish", "127.0.0.1:8080:80/tcp", "--publish", "[::1]::53/udp", "--publish", "22/tcp", "--", "img",
    ]  # fmt: skip


def test_variables_are_handed_on_as_they_were_typed() -> None:
    spec = SPEC._replace(removed_variables=("GONE",), network="none")
    given = {"env_files": ("f",), "variables": ("A=b", "HOME", "GONE")}
    head = ["--env-file", "f", "--env", "A=b", "--env", "HOME"]
    tail = ["--network", "none", "--", "img"]
    assert words(spec, "docker", **given) == [*head, "--env", "GONE", *tail]
    assert words(spec, "podman", **given) == [*head, "--unsetenv", "GONE", *tail]


def test_mounts_of_odd_paths_are_quoted_and_what_is_missing_is_not_made() -> None:
    mounts = (
        VolumeMount("bind", "/a,b", '/c"d', ("rbind", "ro", "rprivate")),
        VolumeMount("bind", "/x", "/y", ("bind", "rslave")),
        VolumeMount("tmpfs", "", "/t", ("size=1m", "mode=1777")),
        VolumeMount("volume", "", "/v", ("ro",)),
    )
    assert words(SPEC._replace(mounts=mounts, network="private")) == [
        "--mount", 'type=bind,"source=/a,b","target=/c""d",readonly,bind-propagation=rprivate',
        "--mount", "type=bind,source=/x,target=/y,bind-nonrecursive,bind-propagation=rslave",
        "--tmpfs", "/t:size=1m,mode=1777",
        "--mount", "type=volume,target=/v,readonly",
        "--", "img",
    ]  # fmt: skip


@pytest.mark.parametrize("option", ["noexec", "nosuid", "nodev"])
def test_what_an_engine_cannot_mount_is_refused_by_name(option: str) -> None:
    spec = SPEC._replace(mounts=(VolumeMount("bind", "/x", "/y", ("rbind", option)),))
    with pytest.raises(EngineOptionError, match=option):
        words(spec)


def test_the_rest_keeps_its_meaning() -> None:
    spec = SPEC._replace(
        interactive=True, terminal=True, detach=True, remove=True, read_only=True, init=True,
        working_directory="/w", user="1:2", hostname="h", entrypoint=("",), network="private",
        ipc="host", name="n", labels=(("k", "v"),), stop_signal="SIGINT", stop_timeout_s=3,
        devices=(("/dev/fuse", "/dev/f", "rw"),), ulimits=(("core", -1, -1),), platform="linux/arm64",
        cap_add=("CAP_SYS_ADMIN",), cap_drop=("ALL",), memory_bytes=1 << 20, cpus=1.5, pids_limit=9,
        security_options=("seccomp=unconfined", "systempaths=unconfined"),
    )  # fmt: skip
    said = words(spec, "podman", pull="always")
    for pair in (
        "--workdir /w", "--user 1:2", "--hostname h", "--ipc host", "--name n", "--label k=v",
        "--stop-signal SIGINT", "--stop-timeout 3", "--device /dev/fuse:/dev/f:rw", "--ulimit core=-1:-1",
        "--platform linux/arm64", "--cap-add SYS_ADMIN", "--cap-drop ALL", "--memory 1048576",
        "--cpus 1.5", "--pids-limit 9", "--security-opt unmask=ALL", "--security-opt seccomp=unconfined",
    ):  # fmt: skip
        option, value = pair.split()
        assert any(said[at : at + 2] == [option, value] for at in range(len(said))), pair
    assert {"--interactive", "--tty", "--detach", "--rm", "--read-only", "--init", "--pull=always"} <= set(said)  # fmt: skip
    assert said[said.index("--entrypoint") + 1] == ""
    assert "--shm-size" not in said


@pytest.mark.parametrize(
    ("text", "release"),
    [("28.5.2+dfsg1", (28, 5, 2)), ("4.3.1", (4, 3, 1)), ("5.5.0-rc1", (5, 5, 0)), ("dev", ())],
)
def test_an_engines_version_is_its_leading_numbers(text: str, release: tuple[int, ...]) -> None:
    assert EngineState(text).release == release
