"""What a user sees of ``sampan cdi``."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import yaml

import sampan.cli.cdi_generate
import sampan.cli.cdi_options
import sampan.cli.cdi_refresh
from sampan.cli.main import main
from sampan.driver.cdi_files import write_spec_file
from sampan.driver.fingerprint import fingerprint_text
from sampan.engines.cdi import locate_hook, read_fingerprint, resolve_cdi
from sampan.injection.cdi_resolve import UnresolvableDeviceError
from support.driver_host import FakeHost, make_h200_host

OTHER = """\
cdiVersion: 0.3.0
kind: vendor.com/net
devices:
- name: one
  containerEdits:
    deviceNodes: [{path: /dev/null}]
    env: [ONE=1]
- name: two
  containerEdits: {env: [TWO=2]}
containerEdits:
  mounts: [{hostPath: /etc/hosts, containerPath: /a/b}]
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = make_h200_host(tmp_path / "host")
    use_host(monkeypatch, host)
    for name in list(os.environ):
        if name.startswith("NVIDIA_CTK_"):
            monkeypatch.delenv(name)
    return host


def use_host(monkeypatch: pytest.MonkeyPatch, host: FakeHost) -> None:
    monkeypatch.setattr(sampan.cli.cdi_options, "look_at_host", lambda _: host.take())
    monkeypatch.setattr(sampan.cli.cdi_refresh, "look_at_host", lambda _: host.take())


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    directory = tmp_path / "cdi"
    directory.mkdir()
    (directory / "vendor.yaml").write_text(OTHER)
    return directory


@pytest.mark.usefixtures("host")
def test_generate_prints_yaml_and_writes_what_the_extension_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cdi", "generate"]) == 0
    printed = capsys.readouterr()
    document = yaml.safe_load(printed.out)
    assert printed.out.startswith("# written by sampan cdi; inventory ")
    assert document["kind"] == "nvidia.com/gpu"
    assert "no hook program" in printed.err
    target = tmp_path / "new" / "nvidia.json"
    assert main(["cdi", "generate", "--output", str(target), "--class", "other"]) == 0
    assert json.loads(target.read_text())["kind"] == "nvidia.com/other"
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("host")
def test_a_file_gets_the_extension_that_engines_look_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words, written in (
        ("a", [], "a.yaml"),
        ("b.txt", ["--format", "json"], "b.txt.json"),
        ("c.json", ["--format", "yaml"], "c.json"),
    ):
        assert main(["cdi", "generate", "--output", str(tmp_path / name), *words]) == 0
        assert (tmp_path / written).exists()
        assert str(tmp_path / written) in capsys.readouterr().err
    assert main(["cdi", "generate", "--output", "-"]) == 0
    assert "kind: nvidia.com/gpu" in capsys.readouterr().out


@pytest.mark.usefixtures("host")
def test_each_capability_can_have_a_class_of_its_own(tmp_path: Path) -> None:
    target = tmp_path / "nvidia.yaml"
    words = ["--capability-classes", "--capabilities", "compute,utility"]
    assert main(["cdi", "generate", "--output", str(target), *words]) == 0
    kinds = {
        path.name: yaml.safe_load(path.read_text())["kind"] for path in tmp_path.glob("*.yaml")
    }
    assert kinds == {
        "nvidia.yaml": "nvidia.com/gpu",
        "nvidia-compute.yaml": "nvidia.com/gpu-compute",
        "nvidia-utility.yaml": "nvidia.com/gpu-utility",
    }


@pytest.mark.usefixtures("host")
def test_nvidia_ctks_variables_stand_for_options_that_are_not_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NVIDIA_CTK_CDI_OUTPUT_FILE_PATH", str(tmp_path / "a.json"))
    monkeypatch.setenv("NVIDIA_CTK_CDI_GENERATE_DEVICE_NAME_STRATEGIES", "type-index,uuid")
    monkeypatch.setenv("NVIDIA_CTK_CDI_GENERATE_VENDOR", "example.com")
    monkeypatch.setenv("NVIDIA_CTK_CDI_GENERATE_NO_ALL_DEVICE", "true")
    assert main(["cdi", "generate", "--vendor", "written.com"]) == 0
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["kind"] == "written.com/gpu"
    names = [device["name"] for device in document["devices"]]
    assert names[0] == "gpu0"
    assert "all" not in names
    monkeypatch.setenv("NVIDIA_CTK_CDI_GENERATE_MODE", "nonsense")
    assert main(["cdi", "generate"]) == 125
    assert "NVIDIA_CTK_CDI_GENERATE_MODE" in capsys.readouterr().err


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("variable", "value", "option"),
    [
        ("NVIDIA_CTK_CDI_GENERATE_DISABLED_HOOKS", "enable-cuda-compat,update-ldcache",
         ["--disable-hook", "enable-cuda-compat", "--disable-hook", "update-ldcache"]),
        ("NVIDIA_CTK_CDI_GENERATE_CLASS", "card", ["--class", "card"]),
        ("NVIDIA_CTK_CDI_GENERATE_OUTPUT_FORMAT", "JSON", ["--format", "json"]),
        ("NVIDIA_CTK_CDI_HOOK_PATH", "/opt/nvidia-cdi-hook",
         ["--nvidia-cdi-hook-path", "/opt/nvidia-cdi-hook"]),
        ("NVIDIA_CTK_CDI_GENERATE_DEVICE_IDS", "none", ["--device-ids", "none"]),
        ("NVIDIA_CTK_CDI_GENERATE_DEVICE_NAME_STRATEGIES", "uuid,type-index",
         ["--device-name-strategy", "uuid,type-index"]),
    ],
)  # fmt: skip
def test_a_variable_of_nvidia_ctk_says_the_same_as_its_option(
    variable: str,
    value: str,
    option: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lead = ["cdi", "generate", "--hook-path", "/opt/sampan-hook"]
    if variable == "NVIDIA_CTK_CDI_HOOK_PATH":
        lead = lead[:2]
    assert main(lead) == 0
    plain = capsys.readouterr().out
    assert main([*lead, *option]) == 0
    said = capsys.readouterr().out
    monkeypatch.setenv(variable, value)
    assert main(lead) == 0
    assert capsys.readouterr().out == said != plain


def test_an_option_that_was_written_counts_more_than_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NVIDIA_CTK_DRIVER_ROOT", "/nowhere")
    assert main(["cdi", "generate"]) == 125
    assert "--driver-root /nowhere is no directory" in capsys.readouterr().err
    assert main(["cdi", "generate", "--driver-root", "/", "--dev-root", "/nothing"]) == 125
    assert "--dev-root /nothing is no directory" in capsys.readouterr().err


@pytest.mark.usefixtures("host")
def test_the_hooks_program_may_be_a_name_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "nvidia-ctk"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["cdi", "generate", "--nvidia-ctk-path", "nvidia-ctk"]) == 0
    hooks = yaml.safe_load(capsys.readouterr().out)["containerEdits"]["hooks"]
    assert hooks[0]["path"] == str(program)
    assert hooks[0]["args"][:2] == ["nvidia-ctk", "hook"]
    assert main(["cdi", "generate", "--nvidia-cdi-hook-path", "nvidia-hook-of-nobody"]) == 125
    assert "nowhere on PATH" in capsys.readouterr().err


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device-name-strategy", "x"], "device name strategy 'x'"),
        (["--feature-flag", "x"], "feature flag 'x'"),
        (["--capabilities", "x"], "driver capability 'x'"),
        (["--disable-hook", "x"], "no hook is called 'x'"),
        (["--hook-path", "x"], "no absolute path"),
        (["--capability-classes"], "needs --output"),
        (["--vendor", "1x"], "vendor '1x'"),
        (["--device-id", "7"], "no device 7"),
        (["--mode", "gds"], "sudo modprobe nvidia-fs"),
        (["--mode", "wsl"], "Windows Subsystem for Linux, and this host is none"),
        (["--mode", "CSV"], "a Tegra board, and this host is none"),
    ],
)
def test_a_word_that_means_nothing_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cdi", "generate", *words]) == 125
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""


@pytest.mark.usefixtures("host")
def test_groups_are_left_out_by_nvidia_ctks_flag_too(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--feature-flag", "no-additional-gids-for-device-nodes,disable-nvsandboxutils"]
    assert main(["cdi", "generate", *flags]) == 0
    assert "disable-nvsandboxutils of nvidia-ctk has no effect" in capsys.readouterr().err


def test_a_file_says_which_inventory_it_was_made_of(host: FakeHost, tmp_path: Path) -> None:
    now = fingerprint_text(host.take())
    for name, words in (("a.yaml", []), ("a.json", ["--spec-version", "0.6.0"])):
        assert main(["cdi", "generate", "--output", str(tmp_path / name), *words]) == 0
        assert read_fingerprint(str(tmp_path / name)) == now
    assert main(["cdi", "generate", "--output", str(tmp_path / "b.json")]) == 0
    assert read_fingerprint(str(tmp_path / "b.json")) == ""


def test_refresh_writes_once_and_again_when_the_driver_changes(
    host: FakeHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "cdi" / "nvidia.yaml"
    words = ["cdi", "refresh", "--output", str(target)]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{target} written\n"
    first = target.stat()
    assert main(words) == 0
    assert capsys.readouterr().out == f"{target} is up to date\n"
    assert target.stat().st_ino == first.st_ino
    host.add_node("/dev/nvidia-modeset", 195, 254)
    assert main(words) == 0
    assert "/dev/nvidia-modeset" in target.read_text()
    target.chmod(0o600)
    assert main(words) == 0
    assert target.stat().st_mode & 0o777 == 0o644


def test_refresh_removes_the_file_of_a_driver_that_is_gone_and_no_other(
    host: FakeHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "nvidia.yaml"
    assert main(["cdi", "refresh", "--output", str(target)]) == 0
    use_host(monkeypatch, FakeHost(tmp_path / "bare"))
    assert main(["cdi", "refresh", "--output", str(target)]) == 0
    assert not target.exists()
    assert capsys.readouterr().out.endswith("removed\n")
    target.write_text(OTHER)
    assert main(["cdi", "refresh", "--output", str(target)]) == 0
    assert target.read_text() == OTHER
    assert main(["cdi", "refresh", "--output", str(tmp_path / "missing.yaml")]) == 0


def test_a_driver_that_is_half_there_is_a_failure_that_can_be_tried_again(
    host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "nvidia.yaml"
    assert main(["cdi", "refresh", "--output", str(target)]) == 0
    starting = FakeHost(tmp_path / "starting")
    starting.load_module("580.159.04")
    use_host(monkeypatch, starting)
    assert main(["cdi", "refresh", "--output", str(target)]) == 125
    assert target.exists()


def test_diff_shows_what_only_the_file_and_what_only_the_host_says(
    host: FakeHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "nvidia.yaml"
    main(["cdi", "generate", "--output", str(target)])
    assert main(["cdi", "diff", str(target)]) == 0
    capsys.readouterr()
    host.add_node("/dev/nvidia-modeset", 195, 254)
    (host.root / "dev/nvidia-uvm-tools").unlink()
    host._nodes.pop(str(host.root / "dev/nvidia-uvm-tools"))
    assert main(["cdi", "diff", str(target)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines] == ["-", "+"]
    assert "/dev/nvidia-uvm-tools" in lines[0]
    assert "node /dev/nvidia-modeset 195:254" in lines[1]


def test_list_names_every_vendors_devices_and_what_is_not_used(
    specs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cdi", "list", "--spec-dir", str(specs)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["NAME", "vendor.com/net=one", "vendor.com/net=two"]
    (specs / "again.yaml").write_text(OTHER.replace("- name: one", "- name: three"))
    (specs / "broken.json").write_text("{")
    assert main(["cdi", "list", "--spec-dir", str(specs), "--quiet"]) == 1
    printed = capsys.readouterr()
    assert printed.out.split() == ["vendor.com/net=one", "vendor.com/net=three"]
    assert "vendor.com/net=two is not used" in printed.err
    assert "broken.json is not used" in printed.err
    assert main(["cdi", "list", "--spec-dir", str(specs), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert list(document["conflicts"]) == ["vendor.com/net=two"]


def test_show_merges_as_an_engine_does(specs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--spec-dir", str(specs), "vendor.com/net=two", "vendor.com/net=one"]
    assert main(["cdi", "show", *words]) == 0
    edits = yaml.safe_load(capsys.readouterr().out)["containerEdits"]
    assert edits["env"] == ["TWO=2", "ONE=1"]
    assert edits["mounts"] == [{"hostPath": "/etc/hosts", "containerPath": "/a/b"}]
    assert edits["deviceNodes"][0]["major"] == 1
    assert main(["cdi", "show", "--spec-dir", str(specs), "vendor.com/net=x"]) == 125
    assert "vendor.com/net has one, two" in capsys.readouterr().err


def test_names_are_resolved_for_engines_too(specs: Path) -> None:
    edits = resolve_cdi(["vendor.com/net=one"], [str(specs)])
    assert (edits.device_nodes[0].kind, edits.device_nodes[0].minor) == ("c", 3)
    with pytest.raises(UnresolvableDeviceError):
        resolve_cdi(["vendor.com/net=x"], [str(specs)])


def test_validate_says_everything_that_is_wrong(
    specs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = specs / "vendor.yaml"
    assert main(["cdi", "validate", str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: valid\n"
    bad = specs / "bad.json"
    bad.write_text('{"cdiVersion": "0.5.0", "kind": "x", "devices": [], "extra": 1}')
    assert main(["cdi", "validate", str(good), str(bad)]) == 1
    out = capsys.readouterr().out
    assert all(text in out for text in ("unknown field extra", "no device", "vendor.com/class"))


def test_validate_knows_what_an_engine_reads(
    specs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = specs / "gids.yaml"
    path.write_text(
        OTHER.replace("0.3.0", "0.7.0").replace("{env: [TWO=2]}", "{additionalGids: [44]}")
    )
    path.chmod(0o600)
    assert main(["cdi", "validate", "--engine", "podman-4.3", str(path)]) == 1
    printed = capsys.readouterr()
    assert "podman-4.3 reads CDI up to 0.5.0, the document is 0.7.0" in printed.out
    assert "engines look into /etc/cdi" in printed.out
    assert "mode 0600" in printed.err
    assert main(["cdi", "validate", "--engine", "docker-26.1", str(path)]) == 1
    assert "reads CDI up to" not in capsys.readouterr().out
    assert main(["cdi", "validate", "--engine", "docker-20", str(path)]) == 125
    assert "docker-20 does not know CDI" in capsys.readouterr().err
    assert main(["cdi", "validate", "--engine", "kvm-1", str(path)]) == 125


@pytest.mark.usefixtures("host")
def test_transform_moves_one_sides_paths_and_back(
    tmp_path: Path, host: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a.yaml"
    main(["cdi", "generate", "--output", str(source)])
    capsys.readouterr()
    root = str(host.root.resolve())
    moved = tmp_path / "b.yaml"
    words = ["cdi", "transform", "root", "--input", str(source), "--output", str(moved)]
    assert main([*words, "--from", root, "--to", "/"]) == 0
    assert root not in moved.read_text()
    assert "hostPath: /dev/" not in moved.read_text()
    words = ["cdi", "transform", "root", "--from", "/", "--to", root, "--input", str(moved)]
    assert main(words) == 0
    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(source.read_text())
    words = ["cdi", "transform", "root", "--relative-to", "container", "--input", str(source)]
    assert main([*words, "--from", "/usr/bin", "--to", "/opt/bin"]) == 0
    assert "containerPath: /opt/bin/nvidia-smi" in capsys.readouterr().out
    assert main(["cdi", "transform", "root", "--from", "x", "--to", "/"]) == 125
    capsys.readouterr()
    words = ["cdi", "transform", "root", "--input", str(source), "--from", root, "--to", ""]
    assert main(words) == 0
    assert capsys.readouterr().out == moved.read_text()


def test_units_are_shown_written_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["cdi", "install-units", "--program", "/usr/bin/sampan"]
    assert main([*words, "--print"]) == 0
    assert "ExecStart=/usr/bin/sampan cdi refresh" in capsys.readouterr().out
    assert main([*words, "--prefix", str(tmp_path)]) == 0
    assert (tmp_path / "etc/systemd/system/sampan-cdi-refresh.path").is_file()
    assert (tmp_path / "etc/udev/rules.d/60-sampan-cdi.rules").is_file()
    assert main([*words, "--prefix", str(tmp_path), "--remove"]) == 0
    assert not list((tmp_path / "etc/systemd/system").iterdir())
    assert main(["cdi", "install-units", "--program", "/a b", "--print"]) == 125


def test_a_hook_counts_only_where_root_alone_may_change_it(tmp_path: Path) -> None:
    hook = tmp_path / "sampan-hook"
    assert locate_hook([str(hook)]) == ""
    hook.write_text("#!/bin/sh\n")
    assert locate_hook([str(hook)]) == ""
    hook.chmod(0o755)
    trusted = os.geteuid() == 0
    assert locate_hook([str(tmp_path / "missing"), str(hook)]) == (str(hook) if trusted else "")
    hook.chmod(0o777)
    assert locate_hook([str(hook)]) == ""


def test_an_unknown_subcommand_is_refused_and_help_names_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["cdi", "generat"]) == 125
    with pytest.raises(SystemExit):
        main(["cdi", "generate", "--help"])
    assert "--device-name-strategy" in capsys.readouterr().out


def _write_for_ever(path: str, letter: str) -> None:
    while True:
        write_spec_file(path, f"a: {letter * 100_000}\n")


def test_readers_and_kills_see_whole_files_while_several_write(tmp_path: Path) -> None:
    target = tmp_path / "nvidia.yaml"
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        writers = [
            context.Process(target=_write_for_ever, args=(str(target), letter)) for letter in "xyz"
        ]
        for writer in writers:
            writer.start()
        seen = 0
        while seen < 30:
            if target.exists():
                text = target.read_text()
                assert len(text) == 100_004
                assert len(set(text[3:-1])) == 1
                seen += 1
        for writer in writers:
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
        assert len(target.read_text()) == 100_004
    # What kills leave is nothing that an engine would read.
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".yaml", ".json")] == [
        "nvidia.yaml"
    ]


def test_a_host_without_documents_is_told_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cdi", "list", "--spec-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no CDI device" in printed.err
    assert "sampan cdi generate --output" in printed.err


def test_cdi_alone_lists_its_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cdi"]) == 0
    assert "install-hook" in capsys.readouterr().out
