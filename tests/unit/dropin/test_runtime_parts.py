"""The runtime's reading of command lines, settings and wishes, without a container."""

import json
from pathlib import Path
from typing import Any

import pytest

from sampan.dropin.call import parse_call
from sampan.dropin.edits import apply_fragment, mark_of, read_mark, remove_edits
from sampan.dropin.plans import locate_plan
from sampan.dropin.quick_json import decode, encode
from sampan.dropin.settings import SettingsError, load_settings, read_settings
from sampan.dropin.wish import may_ask, read_wish

DEFAULTS = read_settings({})[0]


@pytest.mark.parametrize(
    ("line", "subcommand", "config"),
    [
        ("create --bundle /b x", "create", "/b/config.json"),
        ("--root /r --log /l --log-format json create --bundle=/b --pid-file -b x", "create", "/b/config.json"),
        ("--systemd-cgroup run -b /b x", "run", "/b/config.json"),
        ("run x", "run", "/here/./config.json"),
        ("run -b/b -f other.json x", "run", "/b/other.json"),
        ("run -db /b -fother.json x", "run", "/b/other.json"),
        ("create -bundle /b -pid-file /p x", "create", "/b/config.json"),
        ("create --bundle /a --bundle /b -- --bundle", "create", "/b/config.json"),
        ("--root= --log= -- create -b /b x", "create", "/b/config.json"),
        ("--unknown value create --bundle /b x", "create", "/b/config.json"),
        ("--root create delete x", "delete", ""),
        ("--version", "", ""),
        ("exec x create", "exec", ""),
        ("", "", ""),
    ],
)  # fmt: skip
def test_a_command_line_of_runc_or_crun(line: str, subcommand: str, config: str) -> None:
    call = parse_call(line.split(), "/here")
    assert (call.subcommand, call.config) == (subcommand, config)


def test_the_log_that_the_engine_reads() -> None:
    call = parse_call(["--log=/l", "--log-format", "json", "create", "x"])
    assert (call.log, call.log_format) == ("/l", "json")


@pytest.mark.parametrize("value", [None, 1.5, 10**30, "\u00e9\ud800\n", [], {}, {"b": 1, "a": [True]}])  # fmt: skip
def test_json_goes_round(value: object) -> None:
    assert decode(encode(value)) == value
    assert json.loads(encode(value)) == value


@pytest.mark.parametrize(
    "text", [b"", b"{", b"{}{}", b"nul", b"\xff", b'{"a": NaN}', b'{"a": 1, "a": 1}']
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each parser has its own words
        decode(text)


def test_nvidias_configuration_is_read_and_kept(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        'swarm-resource = "A,B"\nsupported-driver-capabilities = "compute,utility"\n'
        '[nvidia-container-runtime]\nruntimes = ["/usr/bin/crun"]\nmode = "legacy"\n'
        "[nvidia-container-runtime.modes.cdi]\nannotation-prefixes = []\n"
    )
    environment = {"NVIDIA_CTK_CONFIG_FILE_PATH": str(config)}
    kept = tmp_path / "kept"
    kept.mkdir()
    for _ in range(2):
        settings = load_settings(environment, str(kept))
        assert settings["swarm"] == ["A", "B"]
        assert settings["supported"] == ["compute", "utility"]
        assert settings["runtimes"] == ["/usr/bin/crun"]
        assert settings["annotation_prefixes"] == []
        assert settings["accept_unprivileged"] is True
    config.write_text("disable-require = true\n")
    assert load_settings(environment, str(kept))["disable_require"] is True


def test_keys_that_nobody_knows_are_listed() -> None:
    document = {"nvidia-ctk": {"path": "x"}, "features": {"flying": True}}
    assert read_settings(document)[1] == ["features.flying"]


@pytest.mark.parametrize(
    "text", ["disable-require = 'yes'", "swarm-resource = 3", "no toml", "[nvidia-container-cli]\nroot = []"]
)  # fmt: skip
def test_a_configuration_that_cannot_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    with pytest.raises(SettingsError):
        load_settings({"NVIDIA_CTK_CONFIG_FILE_PATH": str(config)})


def test_a_configuration_that_everybody_may_write_is_not_believed(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    config.chmod(0o666)
    with pytest.raises(SettingsError, match="not believed"):
        load_settings({"NVIDIA_CTK_CONFIG_FILE_PATH": str(config)})


@pytest.mark.parametrize(
    ("words", "asks"),
    [
        ([], False), (["NVIDIA_VISIBLE_DEVICES="], False), (["NVIDIA_VISIBLE_DEVICES=0,void"], False),
        (["NVIDIA_VISIBLE_DEVICES=none"], True), (["CUDA_VERSION=8.0"], True),
        (["CUDA_VERSION=8.0", "NVIDIA_REQUIRE_CUDA=cuda>=8"], False),
        (["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_VISIBLE_DEVICES=void"], False),
    ],
)  # fmt: skip
def test_variables_that_ask(words: list[str], asks: bool) -> None:
    config: dict[str, Any] = {"process": {"env": words}}
    wish = read_wish(config, DEFAULTS)
    assert (wish is not None) == asks
    assert may_ask(encode(config), DEFAULTS) or not asks


def test_edits_taken_off_leave_the_document_as_it_was() -> None:
    config: dict[str, Any] = {
        "process": {"env": ["A=1", "NVIDIA_VISIBLE_DEVICES=GPU-1", "B=2"], "user": {"uid": 1}},
        "mounts": [{"destination": "/proc"}],
        "linux": {"resources": {"devices": [{"allow": False}]}},
        "hooks": {"poststop": [{"path": "/x"}]},
    }
    before = json.dumps(config)
    fragment = {
        "process": {"env": ["NVIDIA_VISIBLE_DEVICES=0", "C=3"], "user": {"additionalGids": [44]}},
        "mounts": [{"destination": "/run/sampan/driver"}],
        "linux": {
            "devices": [{"path": "/dev/nvidia0"}], "resources": {"devices": [{"allow": True}]},
        },
        "hooks": {"createContainer": [{"path": "/sampan-hook"}]},
    }  # fmt: skip
    added = apply_fragment(config, fragment)
    once = json.dumps(config)
    assert read_mark(config) == mark_of(added)
    remove_edits(config, json.loads(json.dumps(added)))
    again = json.loads(json.dumps(config))
    apply_fragment(config, fragment)
    assert json.dumps(config) == once
    words = again["process"]["env"]
    assert sorted(words) == ["A=1", "B=2", "NVIDIA_VISIBLE_DEVICES=GPU-1"]
    again["process"]["env"] = ["A=1", "NVIDIA_VISIBLE_DEVICES=GPU-1", "B=2"]
    assert json.loads(before) == again


def test_a_plan_for_words_that_an_image_has_made_long_is_not_kept() -> None:
    assert locate_plan("/d", b"k" * 1000).startswith("/d/plan-")
    assert locate_plan("/d", b"k" * 100_000) == ""
