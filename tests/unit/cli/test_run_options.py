"""The words of `docker run` become a container, or a refusal that shows a right value."""

import argparse
from pathlib import Path

import pytest

from sampan.cli.run_options import configure, parse_spec
from sampan.errors import UsageError
from sampan.model.container import ContainerSpec, PublishedPort, VolumeMount


def read(*words: str) -> ContainerSpec:
    parser = argparse.ArgumentParser(prog="sampan run", allow_abbrev=False)

    def refuse(message: str) -> None:
        raise UsageError(message)

    parser.error = refuse  # type: ignore[method-assign,assignment]
    configure(parser)
    return parse_spec(parser.parse_args(words))


def test_an_image_alone_takes_every_default() -> None:
    assert read("debian") == ContainerSpec(image="debian")


def test_single_letter_options_can_stand_together() -> None:
    spec = read("-itd", "debian")
    assert (spec.interactive, spec.terminal, spec.detach) == (True, True, True)


@pytest.mark.parametrize("word", ["true", "1", "t", "TRUE"])
def test_options_without_a_value_can_be_spelled_out(word: str) -> None:
    spec = read(f"--rm={word}", f"-i={word}", f"--init={word}", "debian", f"--rm={word}")
    assert (spec.remove, spec.interactive, spec.init) == (True, True, True)
    assert spec.arguments == (f"--rm={word}",)


@pytest.mark.parametrize("word", ["false", "0", "f", "False"])
def test_the_last_word_on_an_option_without_a_value_holds(word: str) -> None:
    spec = read("--rm", f"--rm={word}", "-it", f"--tty={word}", f"--read-only={word}", "debian")
    assert (spec.remove, spec.interactive, spec.terminal, spec.read_only) == (
        False, True, False, False,
    )  # fmt: skip


def test_an_option_without_a_value_is_true_or_false_and_nothing_else() -> None:
    with pytest.raises(UsageError, match="maybe"):
        read("--rm=maybe", "debian")


def test_options_end_at_the_image() -> None:
    spec = read("--rm", "debian", "ls", "-la", "--rm", "--name", "-it")
    assert spec.remove
    assert not spec.terminal
    assert spec.arguments == ("ls", "-la", "--rm", "--name", "-it")


def test_a_double_dash_behind_the_image_is_the_commands_own() -> None:
    assert read("debian", "--", "x").arguments == ("--", "x")


def test_a_double_dash_before_the_image_ends_the_options() -> None:
    assert read("--rm", "--", "debian", "x") == ContainerSpec(
        image="debian", remove=True, arguments=("x",)
    )


def test_h_is_the_host_name() -> None:
    assert read("-h", "box", "debian").hostname == "box"


@pytest.mark.parametrize("words", [(), ("--rm",), ("",)])
def test_without_an_image_there_is_nothing_to_run(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        read(*words)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(UsageError, match="--privilegd"):
        read("--privilegd", "debian")


def test_names_are_not_abbreviated() -> None:
    with pytest.raises(UsageError, match="--interact"):
        read("--interact", "debian")


class TestVariables:
    def test_values_are_given_or_taken_from_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HERE", "x=y")
        monkeypatch.delenv("NOWHERE", raising=False)
        spec = read("-e", "A=1", "--env", "HERE", "-eB=", "-e", "NOWHERE", "debian")
        assert spec.environment == (("A", "1"), ("HERE", "x=y"), ("B", ""))

    def test_a_variable_that_is_not_set_here_is_taken_away(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("NOWHERE", raising=False)
        file = tmp_path / "vars"
        file.write_text("NOWHERE\n")
        spec = read("-e", "NOWHERE=1", "-e", "NOWHERE", "debian")
        assert (spec.environment, spec.removed_variables) == ((), ("NOWHERE",))
        spec = read("-e", "NOWHERE", "-e", "NOWHERE=1", "debian")
        assert (spec.environment, spec.removed_variables) == ((("NOWHERE", "1"),), ())
        assert read("--env-file", str(file), "debian").removed_variables == ()

    def test_files_come_before_options_wherever_they_stand(self, tmp_path: Path) -> None:
        file = tmp_path / "vars"
        file.write_text('# comment\n\nA=from file\n  B="quoted"\nC=#no comment\r\n')
        spec = read("-e", "A=option", "--env-file", str(file), "debian")
        assert spec.environment == (
            ("A", "from file"),
            ("B", '"quoted"'),
            ("C", "#no comment"),
            ("A", "option"),
        )

    def test_a_bad_line_is_shown_with_its_number(self, tmp_path: Path) -> None:
        file = tmp_path / "vars"
        file.write_text("A=1\nexport B=2\n")
        with pytest.raises(UsageError) as caught:
            read("--env-file", str(file), "debian")
        assert "line 2" in caught.value.evidence
        assert "export" in caught.value.remedy

    def test_a_missing_file_is_named(self) -> None:
        with pytest.raises(UsageError, match="/nowhere/vars"):
            read("--env-file", "/nowhere/vars", "debian")

    def test_a_variable_needs_a_name(self) -> None:
        with pytest.raises(UsageError, match="=x"):
            read("-e", "=x", "debian")


class TestMounts:
    def test_a_host_directory(self, tmp_path: Path) -> None:
        assert read("-v", f"{tmp_path}:/data:ro,z", "debian").mounts == (
            VolumeMount("bind", str(tmp_path), "/data", ("rbind", "ro", "rprivate")),
        )

    def test_a_relative_path_begins_here(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "in").mkdir()
        monkeypatch.chdir(tmp_path)
        assert read("-v", "./in:/data", "debian").mounts[0].source == str(tmp_path / "in")

    def test_long_and_short_form_mean_the_same(self, tmp_path: Path) -> None:
        short = read("-v", f"{tmp_path}:/data:ro", "debian").mounts
        long = read("--mount", f"type=bind,src={tmp_path},dst=/data,readonly", "debian").mounts
        assert set(long[0].options) == set(short[0].options)
        assert long[0][:3] == short[0][:3]

    def test_commas_in_a_quoted_field_are_its_own(self, tmp_path: Path) -> None:
        odd = tmp_path / "a,b"
        odd.mkdir()
        assert read("--mount", f'type=bind,"src={odd}",dst=/x', "debian").mounts[0].source == str(
            odd
        )

    def test_a_bind_mounts_source_is_a_path_even_without_a_slash(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "in").mkdir()
        monkeypatch.chdir(tmp_path)
        mount = read("--mount", "type=bind,src=in,dst=/x", "debian").mounts[0]
        assert mount.source == str(tmp_path / "in")

    def test_a_path_without_a_type_is_told_the_type(self) -> None:
        with pytest.raises(UsageError) as caught:
            read("--mount", "src=/tmp,dst=/x", "debian")
        assert caught.value.remedy == "--mount type=bind,src=/tmp,dst=/x"

    def test_a_tmpfs_takes_the_kernels_words_for_times(self) -> None:
        assert "noatime" in read("--tmpfs", "/a:noatime", "debian").mounts[0].options

    def test_propagation_and_depth(self, tmp_path: Path) -> None:
        text = f"type=bind,src={tmp_path},dst=/x,bind-propagation=rshared,bind-recursive=disabled"
        assert read("--mount", text, "debian").mounts[0].options == ("rshared", "bind")

    def test_a_tmpfs_has_dockers_defaults(self) -> None:
        spec = read("--tmpfs", "/a", "--tmpfs", "/b:size=64m,exec,mode=700", "debian")
        assert spec.mounts == (
            VolumeMount("tmpfs", "", "/a", ("noexec", "nosuid", "nodev", "mode=1777")),
            VolumeMount("tmpfs", "", "/b", ("nosuid", "nodev", "size=64m", "exec", "mode=700")),
        )

    def test_a_tmpfs_in_long_form(self) -> None:
        mount = read("--mount", "type=tmpfs,dst=/a,tmpfs-size=1m,tmpfs-mode=700", "debian").mounts
        assert mount[0].options == ("noexec", "nosuid", "nodev", "size=1048576", "mode=700")

    def test_a_path_alone_is_a_volume_of_the_container(self) -> None:
        assert read("-v", "/data/", "debian").mounts == (VolumeMount("volume", "", "/data", ()),)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("cache:/data", "named volumes"),
            ("/nowhere/at/all:/data", "/nowhere/at/all"),
            ("/tmp:relative", "absolute"),
            ("/tmp:/", "other than /"),
            ("/tmp:/x:sideways", "sideways"),
            ("/tmp:/x:ro:y", "SOURCE:TARGET"),
        ],
    )
    def test_what_cannot_be_mounted_is_refused(self, text: str, said: str) -> None:
        with pytest.raises(UsageError) as caught:
            read("-v", text, "debian")
        assert said in str(caught.value)

    @pytest.mark.parametrize(
        "text",
        [
            "type=bind,src=/tmp",
            "type=bind,dst=/x",
            "type=npipe,dst=/x",
            "type=tmpfs,dst=/x,tmpfs-mode=9",
            "type=tmpfs,src=/tmp,dst=/x",
            "type=bind,src=/tmp,dst=/x,bind-recursive=readonly",
            "type=bind,src=/tmp,dst=/x,readonly,bind-recursive=writable",
            "type=bind,src=/tmp,dst=/x,colour=red",
            "src=cache,dst=/x",
        ],
    )
    def test_a_mount_must_make_sense(self, text: str) -> None:
        with pytest.raises(UsageError):
            read("--mount", text, "debian")

    def test_two_mounts_on_one_target_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="/data"):
            read("-v", f"{tmp_path}:/data", "--tmpfs", "/data/", "debian")


class TestDevices:
    def test_a_node(self) -> None:
        spec = read("--device", "/dev/null:/dev/nothing:r", "--device", "/dev/zero", "debian")
        assert spec.devices == (
            ("/dev/null", "/dev/nothing", "r"),
            ("/dev/zero", "/dev/zero", "rwm"),
        )

    def test_cdi_names_are_told_from_nodes(self) -> None:
        words = ["--device", "nvidia.com/gpu=0", "--device", "/dev/null", "--cdi-spec-dir", "/x"]
        spec = read(*words, "debian")
        assert spec.cdi_devices == ("nvidia.com/gpu=0",)
        assert spec.cdi_directories == ("/x",)
        assert spec.devices == (("/dev/null", "/dev/null", "rwm"),)

    @pytest.mark.parametrize("text", ["/dev/nowhere", "/etc/passwd", "relative", "gpu=0"])
    def test_what_is_no_node_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            read("--device", text, "debian")


class TestPorts:
    def test_forms(self) -> None:
        spec = read("-p", "80", "-p", "8080:80/udp", "-p", "127.0.0.1:1:2", "-p", "[::1]:3:4", "x")
        assert spec.ports == (
            PublishedPort("", 0, 80, "tcp"),
            PublishedPort("", 8080, 80, "udp"),
            PublishedPort("127.0.0.1", 1, 2, "tcp"),
            PublishedPort("::1", 3, 4, "tcp"),
        )

    def test_a_free_host_port_on_an_address(self) -> None:
        assert read("-p", "127.0.0.1::80", "x").ports == (PublishedPort("127.0.0.1", 0, 80, "tcp"),)

    def test_ranges_go_in_step(self) -> None:
        pairs = [port[1:3] for port in read("-p", "7000-7002:80-82", "x").ports]
        assert pairs == [(7000, 80), (7001, 81), (7002, 82)]

    def test_a_published_port_means_a_network_of_its_own(self) -> None:
        assert read("-p", "80", "x").network == "private"
        assert read("x").network == "host"

    def test_ports_mean_nothing_on_the_hosts_network(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert read("-p", "80", "--net", "host", "x").ports == ()
        assert "no meaning" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "text", ["0", "70000", "a", "1-3:1-2", "1.2.3:1:2", "80/icmp", "2-1", ":", "1:2:3:4"]
    )
    def test_other_forms_are_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            read("-p", text, "x")


class TestLimits:
    @pytest.mark.parametrize(
        ("text", "size"),
        [("512m", 512 << 20), ("1.5g", 3 << 29), ("64KiB", 65536), ("10MB", 10 << 20), ("0", 0)],
    )
    def test_sizes_count_in_powers_of_two(self, text: str, size: int) -> None:
        assert read("--shm-size", text, "x").shm_bytes == size

    @pytest.mark.parametrize("text", ["much", "-1m", "12q", "m", "1e999"])
    def test_other_sizes_are_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            read(f"--shm-size={text}", "x")

    def test_memory_cpus_and_processes(self) -> None:
        spec = read("-m512m", "--cpus", "1.5", "--pids-limit", "100", "x")
        assert (spec.memory_bytes, spec.cpus, spec.pids_limit) == (512 << 20, 1.5, 100)

    def test_minus_one_process_is_no_limit(self) -> None:
        assert read("--pids-limit", "-1", "x").pids_limit is None

    @pytest.mark.parametrize(
        "words", [("-m", "1m"), ("--cpus", "0"), ("--cpus", "x"), ("--pids-limit", "-2")]
    )
    def test_limits_nothing_can_live_under_are_refused(self, words: tuple[str, ...]) -> None:
        with pytest.raises(UsageError):
            read(*words, "x")

    def test_ulimits(self) -> None:
        spec = read("--ulimit", "nofile=10:20", "--ulimit", "memlock=-1", "--ulimit", "core=5", "x")
        assert spec.ulimits == (("nofile", 10, 20), ("memlock", -1, -1), ("core", 5, 5))

    @pytest.mark.parametrize("text", ["nofile=20:10", "files=1", "nofile", "nofile=x", "core=-2"])
    def test_other_ulimits_are_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            read("--ulimit", text, "x")


class TestRest:
    def test_capabilities_may_lack_their_prefix(self) -> None:
        spec = read("--cap-add", "sys_admin", "--cap-drop", "all", "--cap-add", "CAP_KILL", "x")
        assert spec.cap_add == ("CAP_SYS_ADMIN", "CAP_KILL")
        assert spec.cap_drop == ("ALL",)

    def test_an_empty_entrypoint_clears_the_images(self) -> None:
        assert read("--entrypoint", "", "x", "ls").entrypoint == ("",)
        assert read("x").entrypoint is None

    @pytest.mark.parametrize(
        "words",
        [
            ("--network", "weave"),
            ("--ipc", "container:x"),
            ("--workdir", "relative"),
            ("--hostname", "a b"),
            ("--hostname", "-x"),
            ("--hostname", "x/y"),
            ("--security-opt", "magic=1"),
            ("--stop-signal", "SIGWHAT"),
            ("--stop-timeout", "soon"),
            ("--name", "x y"),
            ("--label", "=x"),
        ],
    )
    def test_values_out_of_the_grammar_are_refused(self, words: tuple[str, str]) -> None:
        with pytest.raises(UsageError):
            read(*words, "x")

    def test_both_spellings_of_security_options(self) -> None:
        spec = read("--security-opt", "seccomp:unconfined", "--security-opt", "label=disable", "x")
        assert spec.security_options == ("seccomp=unconfined", "label=disable")

    def test_labels_without_a_value_are_empty(self) -> None:
        assert read("-l", "a=b=c", "--label", "d", "x").labels == (("a", "b=c"), ("d", ""))

    def test_bridge_is_dockers_word_for_a_network_of_its_own(self) -> None:
        assert read("--network", "bridge", "x").network == "private"
