"""The generated layer: run by a real shell, its words arrive byte for byte."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.images.generated import GeneratedPath, pack_generated
from sampan.images.overlay import Merger
from sampan.images.singularity import plan_generated_layer, quote
from sampan.model.image import parse_image_config
from sampan.model.layer import BLOCK_SIZE, EntryKind

HARD = ["a b", "$HOME", 'it\'s "quoted"', "`id`", "back\\slash\n", "*", "", "-n", "caf\udce9"]


def plan(config: dict, existing: list[GeneratedPath] | None = None) -> dict[str, GeneratedPath]:
    merger = Merger()
    merger.apply(pack_generated(existing or [], "zstd")[0])
    image = parse_image_config({"config": config})
    planned = plan_generated_layer(merger.root, image, reference="docker.io/library/x:1")
    merger.apply(pack_generated(planned, "zstd")[0])
    return {
        item.path.decode(): item for item in planned if item.kind != EntryKind.WHITEOUT
    }  # fmt: skip


def run_script(
    script: bytes, arguments: list[str], environment: dict[str, str] | None = None
) -> list[bytes]:
    """Run a script whose program prints its arguments, NUL after each."""
    done = subprocess.run(
        ["sh", "-s", "--", *arguments],
        input=script,
        capture_output=True,
        env={"PATH": os.environ["PATH"], **(environment or {})},
        check=True,
    )
    return done.stdout.split(b"\0")[:-1]


PRINT = ["printf", "%s\\0"]


def test_entrypoint_and_cmd_arrive_exactly_and_words_replace_cmd() -> None:
    script = plan({"Entrypoint": PRINT, "Cmd": HARD})[".singularity.d/runscript"].content
    assert run_script(script, []) == [os.fsencode(word) for word in HARD]
    assert run_script(script, ["$x", "two words"]) == [b"$x", b"two words"]


def test_cmd_alone_is_the_program() -> None:
    script = plan({"Cmd": [*PRINT, "x y"]})[".singularity.d/runscript"].content
    assert run_script(script, []) == [b"x y"]
    assert run_script(script, [*PRINT, "mine"]) == [b"mine"]


def test_an_image_without_entrypoint_and_cmd_starts_a_shell() -> None:
    assert b"/bin/sh" in plan({})[".singularity.d/runscript"].content


def test_no_backslash_stands_outside_of_quotes() -> None:
    """Apptainer 1.4.5 showed A='it'\\''s' as it\\'s inside the container."""
    assert quote(b"it's") == b"""'it'"'"'s'"""


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\0", b"")), min_size=1, max_size=20)
)
def test_any_bytes_survive_quoting(words: list[bytes]) -> None:
    script = b"printf '%s\\0' " + b" ".join(quote(word) for word in words)
    assert run_script(script, []) == words


def test_the_environment_sets_path_and_leaves_what_the_caller_has_set() -> None:
    environment = [
        "PATH=/image/bin:/usr/bin:/bin", "A=from 'image'", "B=kept\nlines", "1bad=x", "no-name=x",
        "EMPTY=",
    ]  # fmt: skip
    script = plan({"Env": environment})[".singularity.d/env/10-docker2singularity.sh"].content
    show = script + b'printf "%s\\0" "$PATH" "$A" "$B" "${EMPTY-unset}"\n'
    assert run_script(show, [], {"A": "from caller", "B": ""}) == [
        b"/image/bin:/usr/bin:/bin", b"from caller", b"kept\nlines", b"",
    ]  # fmt: skip
    assert b"bad" not in script


def test_host_libraries_come_last_in_the_search() -> None:
    script = plan({})[".singularity.d/env/99-base.sh"].content
    show = script + b'printf "%s\\0" "$LD_LIBRARY_PATH"\n'
    assert run_script(show, []) == [b"/.singularity.d/libs"]
    assert run_script(show, [], {"LD_LIBRARY_PATH": "/a"}) == [b"/a:/.singularity.d/libs"]


def test_every_script_is_valid_shell() -> None:
    for item in plan({"Env": ["A=1"], "Cmd": HARD, "Entrypoint": HARD}).values():
        if item.content.startswith(b"#!"):
            subprocess.run(["sh", "-n"], input=item.content, check=True)


def test_enroot_starts_in_the_working_directory_with_entrypoint_and_cmd(tmp_path: Path) -> None:
    where = tmp_path / "it's here"
    config = {
        "WorkingDir": str(where),
        "Entrypoint": PRINT,
        "Cmd": ["a b"],
        "Env": ["A=x", "B=1\n2"],
    }
    planned = plan(config)
    assert run_script(planned["etc/rc"].content, []) == [b"a b"]
    assert run_script(planned["etc/rc"].content, ["c d"]) == [b"c d"]
    assert where.is_dir()
    assert planned["etc/environment"].content == b"A=x\n"
    assert planned["etc/fstab"].content == b""


def test_nothing_that_the_image_has_is_touched() -> None:
    existing = [
        GeneratedPath(b"etc/rc", EntryKind.FILE, 0o644, b"mine"),
        GeneratedPath(b"etc/hosts", EntryKind.SYMLINK, 0o777, link=b"/run/hosts"),
        GeneratedPath(b"tmp", EntryKind.SYMLINK, 0o777, link=b"var/tmp"),
        GeneratedPath(b"home", EntryKind.FILE, 0o644, b"a file"),
        GeneratedPath(b"var", EntryKind.FILE, 0o644, b"a file too"),
        GeneratedPath(b"environment", EntryKind.FILE, 0o644, b"mine"),
    ]
    planned = plan({}, existing)
    for path in ("etc/rc", "etc/hosts", "tmp", "home", "var/tmp", "environment", "etc"):
        assert path not in planned
    assert "proc" in planned
    assert "etc/resolv.conf" in planned


def test_what_is_added_below_a_link_of_the_image_lies_where_the_link_leads() -> None:
    existing = [
        GeneratedPath(b"data/var", EntryKind.DIRECTORY, 0o755),
        GeneratedPath(b"var", EntryKind.SYMLINK, 0o777, link=b"data/var"),
        GeneratedPath(b"etc", EntryKind.SYMLINK, 0o777, link=b"/data/etc"),
    ]
    planned = plan({}, existing)
    assert "data/var/tmp" in planned
    assert not {"var", "var/tmp", "etc", "etc/hosts"} & set(planned)


def test_a_singularity_directory_of_the_image_is_replaced() -> None:
    existing = [
        GeneratedPath(b".singularity.d/env/95-old.sh", EntryKind.FILE, 0o755, b"exit 1"),
        GeneratedPath(b"singularity", EntryKind.SYMLINK, 0o777, link=b".singularity.d/runscript"),
    ]
    merger = Merger()
    merger.apply(pack_generated(existing, "zstd")[0])
    image = parse_image_config({})
    merger.apply(pack_generated(plan_generated_layer(merger.root, image, reference=""), "zstd")[0])
    home = (merger.root.children or {})[b".singularity.d"]
    assert b"95-old.sh" not in ((home.children or {})[b"env"].children or {})
    assert b"99-base.sh" in ((home.children or {})[b"env"].children or {})


def test_labels_and_origin_are_kept() -> None:
    planned = plan({"Labels": {"maintainer": "me"}})
    labels = json.loads(planned[".singularity.d/labels.json"].content)
    assert labels["maintainer"] == "me"
    assert labels["org.label-schema.usage.singularity.deffile.from"] == "docker.io/library/x:1"
    assert planned[".singularity.d/Singularity"].content == (
        b"bootstrap: docker\nfrom: docker.io/library/x:1\n"
    )


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, 3 * BLOCK_SIZE + 5])
def test_generated_content_of_any_size_has_the_blocks_of_squashfs(size: int) -> None:
    paths = [GeneratedPath(b"a", EntryKind.FILE, 0o644, bytes(range(256)) * (size // 256 + 1))]
    paths = [paths[0]._replace(content=paths[0].content[:size]), paths[0]._replace(path=b"b")]
    index, data = pack_generated(paths, "gzip")
    first = index.contents[0]
    assert first.size == size
    assert len(first.blocks) == size // BLOCK_SIZE
    assert index.data_size == len(data)
