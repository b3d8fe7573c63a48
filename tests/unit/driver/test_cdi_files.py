"""CDI files on a host: which are read, what is warned of, how one is written."""

import os
import stat
from pathlib import Path

import pytest

from sampan.driver.cdi_files import (
    CdiFileError,
    find_spec_files,
    read_spec_file,
    write_spec_file,
)
from sampan.driver.cdi_nodes import CdiNodeError, complete_nodes
from sampan.model.cdi import CdiDeviceNode, CdiEdits


def put(path: Path, text: str = "a: 1\n", mode: int = 0o644) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_yaml_and_json_files_of_each_directory_are_read_with_its_priority(tmp_path: Path) -> None:
    put(tmp_path / "etc" / "b.yaml")
    put(tmp_path / "etc" / "a.json", '{"a": 1}')
    put(tmp_path / "etc" / "c.yml")
    put(tmp_path / "run" / "b.yaml")
    files = find_spec_files([str(tmp_path / name) for name in ("etc", "missing", "run")])
    assert [(Path(file.path).name, file.priority, file.document) for file in files] == [
        ("a.json", 0, {"a": 1}),
        ("b.yaml", 0, {"a": 1}),
        ("b.yaml", 2, {"a": 1}),
    ]


def test_two_names_of_one_directory_count_once(tmp_path: Path) -> None:
    put(tmp_path / "run" / "a.yaml")
    (tmp_path / "var-run").symlink_to("run")
    files = find_spec_files([str(tmp_path / "run"), str(tmp_path / "var-run")])
    assert [file.priority for file in files] == [1]


@pytest.mark.parametrize("kind", ["fifo", "directory", "dangling", "huge"])
def test_what_is_no_readable_file_is_an_error_of_that_file_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.yaml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to("nowhere")
    else:
        with path.open("wb") as stream:
            stream.truncate(1 << 40)
    put(tmp_path / "y.yaml")
    bad, good = find_spec_files([str(tmp_path)])
    assert bad.error
    assert bad.document is None
    assert not good.error


def test_files_that_others_may_write_or_nobody_else_may_read_are_warned_of(tmp_path: Path) -> None:
    loose = read_spec_file(str(put(tmp_path / "a.yaml", mode=0o666)))
    assert "may be written by everybody" in loose.warnings[0]
    closed = read_spec_file(str(put(tmp_path / "b.yaml", mode=0o600)))
    assert "mode 0600" in closed.warnings[0]
    tmp_path.chmod(0o777)
    (file, _) = find_spec_files([str(tmp_path)])
    assert f"{tmp_path} may be written by everybody" in file.warnings[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_warned_of(tmp_path: Path) -> None:
    path = put(tmp_path / "a.yaml")
    os.chown(path, 4242, 4242)
    assert "belongs to user 4242" in read_spec_file(str(path)).warnings[0]


def test_a_file_is_replaced_whole_with_mode_0644(tmp_path: Path) -> None:
    target = tmp_path / "cdi" / "nvidia.yaml"
    previous = os.umask(0o077)
    try:
        write_spec_file(str(target), "a: 1\n")
        write_spec_file(str(target), "a: 2\n")
    finally:
        os.umask(previous)
    assert target.read_text() == "a: 2\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert os.listdir(target.parent) == ["nvidia.yaml"]


def test_a_link_at_the_target_is_not_followed(tmp_path: Path) -> None:
    victim = put(tmp_path / "victim", "precious")
    link = tmp_path / "nvidia.yaml"
    link.symlink_to(victim)
    with pytest.raises(CdiFileError, match="cannot write"):
        write_spec_file(str(link), "a: 1\n")
    assert victim.read_text() == "precious"
    assert link.is_symlink()


def test_numbers_of_nodes_come_from_the_host() -> None:
    edits = CdiEdits(
        device_nodes=(
            CdiDeviceNode("/dev/null"),
            CdiDeviceNode("/dev/renamed", host_path="/dev/zero"),
            CdiDeviceNode("/dev/stated", kind="c", major=7, minor=8),
        )
    )
    null, zero, stated = complete_nodes(edits).device_nodes
    assert (null.kind, null.major, null.minor, null.host_path) == ("c", 1, 3, "/dev/null")
    assert (zero.major, zero.minor) == (1, 5)
    assert (stated.major, stated.minor) == (7, 8)


def test_all_nodes_that_the_host_lacks_are_named_together() -> None:
    nodes = (CdiDeviceNode("/dev/none1"), CdiDeviceNode("/dev/null", kind="b"), CdiDeviceNode("/"))
    with pytest.raises(CdiNodeError) as caught:
        complete_nodes(CdiEdits(device_nodes=nodes))
    assert "/dev/none1: No such file" in caught.value.evidence
    assert "/dev/null: not a device of type b" in caught.value.evidence
    assert "/: not a device" in caught.value.evidence
