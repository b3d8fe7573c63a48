"""Links below a driver root never lead out of it."""

from pathlib import Path

from sampan.driver.roots import Root


def test_an_absolute_link_is_followed_inside_the_root(tmp_path: Path) -> None:
    (tmp_path / "etc/alternatives").mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/nvidia-smi").symlink_to("/etc/alternatives/nvidia-smi")
    (tmp_path / "etc/alternatives/nvidia-smi").symlink_to("/usr/lib/nvidia/current/nvidia-smi")
    assert (
        Root(str(tmp_path)).resolve("/usr/bin/nvidia-smi") == "/usr/lib/nvidia/current/nvidia-smi"
    )


def test_a_link_of_many_dots_ends_at_the_root(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("../../../../../../etc/passwd")
    root = Root(str(tmp_path))
    assert root.resolve("/a") == "/etc/passwd"
    assert root.host_path(root.resolve("/a")) == f"{tmp_path}/etc/passwd"


def test_linked_directories_and_relative_links_resolve(tmp_path: Path) -> None:
    (tmp_path / "opt/nvidia/lib64").mkdir(parents=True)
    (tmp_path / "opt/nvidia/lib").symlink_to("lib64")
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/lib").symlink_to("/opt/nvidia/lib")
    assert Root(str(tmp_path)).resolve("/usr/lib/libcuda.so") == "/opt/nvidia/lib64/libcuda.so"


def test_a_loop_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert Root(str(tmp_path)).resolve("/a") in ("/a", "/b")


def test_the_host_itself_is_a_root() -> None:
    root = Root("/")
    assert root.host_path("/etc/passwd") == "/etc/passwd"
    assert root.host_path("/") == "/"
