"""What is written into the writable layer stays in it, whatever the image looks like."""

import os
from pathlib import Path

import pytest

from sampan.engines.native.command_check import check_command
from sampan.engines.native.runtime import ContainerStartError, Runtime, explain_failure
from sampan.engines.native.upper import UpperLayer
from sampan.model.plan import PlannedFile, PlannedLink


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    path = tmp_path / "lower"
    (path / "usr/lib").mkdir(parents=True)
    (path / "usr").chmod(0o711)
    (path / "etc").mkdir()
    (path / "etc/ld.so.cache").write_text("old")
    return path


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    path = tmp_path / "upper"
    path.mkdir()
    return path


def test_files_and_links_lie_where_they_should_with_their_parents_attributes(
    lower: Path, upper: Path
) -> None:
    lower.chmod(0o751)
    with UpperLayer(str(lower), str(upper)) as layer:
        layer.write_file(PlannedFile("/etc/ld.so.cache", b"new", 0o644))
        layer.write_link(PlannedLink("/usr/lib/libcuda.so", "libcuda.so.1"))
        layer.write_link(PlannedLink("/usr/lib/libcuda.so", "libcuda.so.2"))
        layer.write_file(PlannedFile("/opt/made/file", b"x", 0o600))
    assert (upper / "etc/ld.so.cache").read_bytes() == b"new"
    assert os.readlink(upper / "usr/lib/libcuda.so") == "libcuda.so.2"
    assert (upper / "usr").stat().st_mode & 0o7777 == 0o711
    assert upper.stat().st_mode & 0o7777 == 0o751
    assert (upper / "opt/made/file").stat().st_mode & 0o7777 == 0o600
    assert (lower / "etc/ld.so.cache").read_text() == "old"


def test_links_of_a_hostile_image_lead_nowhere(lower: Path, upper: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (lower / "lib64").symlink_to(outside)
    (lower / "run").symlink_to("../outside")
    with UpperLayer(str(lower), str(upper)) as layer:
        layer.write_file(PlannedFile("/lib64/planted", b"x", 0o644))
        layer.write_link(PlannedLink("/run/planted", "x"))
        # Its own links are not followed either.
        layer.write_link(PlannedLink("/etc/away", str(outside)))
        with pytest.raises(OSError, match="Not a directory"):
            layer.write_file(PlannedFile("/etc/away/planted", b"x", 0o644))
    assert list(outside.iterdir()) == []
    assert (upper / "lib64/planted").read_bytes() == b"x"
    assert not (upper / "lib64").is_symlink()


@pytest.mark.parametrize("path", ["/", "", "/a/../b", ".."])
def test_paths_that_are_not_plain_are_refused(lower: Path, upper: Path, path: str) -> None:
    with UpperLayer(str(lower), str(upper)) as layer, pytest.raises(ValueError, match="plain"):
        layer.write_file(PlannedFile(path, b"", 0o644))


def test_directories_are_made_behind_the_images_links(lower: Path, upper: Path) -> None:
    (lower / "work").symlink_to("/usr/lib")
    with UpperLayer(str(lower), str(upper)) as layer:
        layer.make_directory("/work/deep/er")
        layer.make_directory("/usr")
        layer.make_directory("/")
    assert (upper / "usr/lib/deep/er").is_dir()
    assert not (upper / "work").exists()


def program(path: Path, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("tool", 0),
        ("/usr/bin/tool", 0),
        ("bin/tool", 0),
        ("later", 0),
        ("data", 127),
        ("/usr/bin/data", 126),
        ("/usr/bin", 126),
        ("/usr/bin/none", 127),
        ("none", 127),
        ("/mounted/none", 0),
        ("/mounted", 0),
    ],
)
def test_a_missing_program_is_known_before_the_start(lower: Path, command: str, code: int) -> None:
    program(lower / "usr/bin/tool", 0o755)
    program(lower / "usr/bin/data", 0o644)
    program(lower / "usr/bin/later", 0o644)
    program(lower / "sbin/later", 0o755)
    search = "/usr/bin:/sbin"
    if code == 0:
        check_command(str(lower), command, search, "/usr", ("/mounted",))
        return
    with pytest.raises(ContainerStartError) as caught:
        check_command(str(lower), command, search, "/usr", ("/mounted",))
    assert caught.value.exit_code == code


@pytest.mark.parametrize(
    ("kind", "log", "code", "evidence"),
    [
        ("crun", "2026-01-02T03:04:05.123456Z: executable file `x` not found in $PATH: No such file or directory\n", 127, "executable file `x`"),
        ("crun", "2026-01-02T03:04:05.123456Z: exec: Exec format error\n", 126, "exec: Exec format"),
        ("crun", "2026-01-02T03:04:05.123456Z: mount `/x`: No such file or directory\n", 125, "mount"),
        ("runc", 'time="2026" level=warning msg="odd"\ntime="2026" level=error msg="exec: \\"x\\": executable file not found in $PATH"\n', 127, 'exec: "x"'),
    ],
)  # fmt: skip
def test_the_runtimes_own_words_become_dockers_exit_codes(
    kind: str, log: str, code: int, evidence: str
) -> None:
    error = explain_failure(Runtime("/usr/bin/x", kind), log, "x")
    assert error is not None
    assert error.exit_code == code
    assert error.evidence.startswith(evidence)


def test_a_log_without_errors_is_the_programs_own_failure() -> None:
    assert explain_failure(Runtime("/r", "crun"), "", "x") is None
    warning = 'time="2026" level=warning msg="odd"\n'
    assert explain_failure(Runtime("/r", "runc"), warning, "x") is None
