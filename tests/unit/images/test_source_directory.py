"""A directory as a stream of tar: read back by Python's tarfile and by our own reader."""

import io
import os
import socket
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.images.sources import directory
from sampan.images.sources.directory import open_directory
from sampan.images.sources.directory_tar import DirectoryTar, TreeEntry
from sampan.model.layer import EntryKind
from sampan.model.source import SourceError
from support.tars import read_tar


def stream_of(tree: Path, **options: object) -> bytes:
    image = open_directory(str(tree), wanted=None, **options)  # type: ignore[arg-type]
    assert len(image.layers) == 1
    with image.layers[0].open() as stream:
        return stream.read()


def read_back(tar: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return {os.path.normpath(member.name): member for member in archive.getmembers()}


def content_of(tar: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        stream = archive.extractfile(name)
        assert stream is not None
        return stream.read()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    return root


def test_files_directories_links_and_modes_come_as_they_are(tree: Path) -> None:
    (tree / "d").mkdir(mode=0o750)
    (tree / "d/file").write_bytes(b"content")
    (tree / "d/file").chmod(0o4755)
    (tree / "empty").write_bytes(b"")
    (tree / "link").symlink_to("d/../d/file")
    os.mkfifo(tree / "pipe", 0o600)
    os.utime(tree / "d/file", (5, 1234567890))
    members = read_back(stream_of(tree))
    assert set(members) == {".", "d", "d/file", "empty", "link", "pipe"}
    assert members["d"].isdir()
    assert members["d"].mode == 0o750
    assert members["d/file"].mode == 0o4755
    assert members["d/file"].mtime == 1234567890
    assert members["d/file"].uid == (tree / "empty").stat().st_uid
    assert members["link"].linkname == "d/../d/file"
    assert members["pipe"].isfifo()
    assert content_of(stream_of(tree), "d/file") == b"content"


def test_equal_trees_give_equal_bytes_whatever_the_order_they_were_made_in(tmp_path: Path) -> None:
    streams = []
    for number, names in enumerate((["b", "a", "c"], ["c", "b", "a"])):
        root = tmp_path / str(number)
        root.mkdir()
        for name in names:
            (root / name).write_text(name)
            os.utime(root / name, (1, 1))
        os.utime(root, (1, 1))
        streams.append(stream_of(root))
    assert streams[0] == streams[1]


def test_names_of_a_file_are_written_once_and_then_as_hard_links(tree: Path) -> None:
    (tree / "a").write_bytes(b"shared")
    os.link(tree / "a", tree / "b")
    (tree / "z").symlink_to("a")
    os.link(tree / "z", tree / "y", follow_symlinks=False)
    members = read_back(stream_of(tree))
    assert members["a"].isreg()
    assert members["b"].islnk()
    assert members["b"].linkname == "a"
    assert members["y"].issym()
    assert members["z"].islnk()


@pytest.mark.parametrize("length", [99, 100, 101, 155, 156, 157, 254, 255, 256, 257, 600])
def test_paths_of_any_length_come_whole(tree: Path, length: int) -> None:
    path = ""
    while length - len(path) > 200:
        path += "d" * 98 + "/"
    path += "f" * (length - len(path))
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_bytes(b"x")
    (tree / "link").symlink_to(path)
    members = read_back(stream_of(tree))
    assert path in members
    assert members["link"].linkname == path


def test_names_that_are_no_text_come_byte_by_byte(tree: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n" + b"\xff" * 150)
    (tree / name).write_bytes(b"x")
    assert name in read_back(stream_of(tree))


def test_a_file_with_holes_is_sent_as_its_data_only(tree: Path) -> None:
    size = 64 << 20
    with (tree / "sparse").open("wb") as stream:
        stream.seek(1 << 20)
        stream.write(b"A" * 4096)
        stream.seek(40 << 20)
        stream.write(b"B" * 5000)
        stream.truncate(size)
    if (tree / "sparse").stat().st_blocks * 512 >= size:
        pytest.skip("this file system has no sparse files")
    with (tree / "hole").open("wb") as stream:
        stream.truncate(10 << 20)
    tar = stream_of(tree)
    assert len(tar) < 1 << 20
    for name in ("sparse", "hole"):
        assert content_of(tar, name) == (tree / name).read_bytes()
    sizes = {}
    reader = read_tar(io.BytesIO(tar), layer="test")
    for member in reader:
        sizes[member.path] = member.size
    assert sizes[b"sparse"] == size
    assert sizes[b"hole"] == 10 << 20


def test_extended_attributes_come_along_but_not_the_hosts_labels(tree: Path) -> None:
    (tree / "file").write_bytes(b"x")
    try:
        os.setxattr(tree / "file", "user.note", b"a\x00\n=b")
    except OSError as error:
        pytest.skip(f"no user xattrs here: {error.strerror}")
    header = read_back(stream_of(tree))["file"].pax_headers
    assert set(header) == {"SCHILY.xattr.user.note"}
    (member,) = [
        member
        for member in read_tar(io.BytesIO(stream_of(tree)), layer="test")
        if member.path == b"file"
    ]
    assert member.xattrs == ((b"user.note", b"a\x00\n=b"),)


def test_sockets_and_whiteout_names_are_left_out_and_said(tree: Path) -> None:
    (tree / ".wh.file").write_bytes(b"")
    (tree / "file").write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(tree)  # a socket's path is short, a test's directory is not
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        image = open_directory(str(tree), wanted=None)
    assert [warning.partition(" ")[0] for warning in image.warnings] == ["/.wh.file", "/socket"]
    with image.layers[0].open() as stream:
        assert set(read_back(stream.read())) == {".", "file"}


def test_kernel_file_systems_and_the_store_are_not_entered(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "proc").mkdir()
    (tree / "proc/cpuinfo").write_bytes(b"")
    (tree / "store").mkdir()
    (tree / "store/image").write_bytes(b"")
    monkeypatch.setattr(directory, "_pseudo_devices", lambda: {tree.stat().st_dev})
    image = open_directory(str(tree), wanted=None, excluded={str(tree / "store")})
    assert [word.split(" ", 1)[1] for word in image.warnings] == [
        "is a kernel file system, imported as an empty directory",
        "is Sampan's store, left out",
    ]
    with image.layers[0].open() as stream:
        assert set(read_back(stream.read())) == {".", "proc"}


def test_the_machines_own_proc_is_known_as_a_kernel_file_system() -> None:
    assert os.stat("/proc").st_dev in directory._pseudo_devices()


def test_an_ordinary_users_files_are_roots_in_the_image(tree: Path) -> None:
    (tree / "file").write_bytes(b"")
    state = (tree / "file").stat()
    members = read_back(stream_of(tree, user=(state.st_uid, state.st_gid)))
    assert (members["file"].uid, members["file"].gid) == (0, 0)
    members = read_back(stream_of(tree, user=(state.st_uid + 1, state.st_gid + 1)))
    assert (members["file"].uid, members["file"].gid) == (state.st_uid, state.st_gid)


@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.parametrize("change", [-5, 5])
def test_a_file_that_changes_meanwhile_is_an_error_that_names_it(
    tree: Path, size: int, change: int
) -> None:
    (tree / "log").write_bytes(b"x" * size)
    image = open_directory(str(tree), wanted=None)
    os.truncate(tree / "log", size + change)
    with (
        pytest.raises(SourceError, match="log changed while it was read"),
        image.layers[0].open() as stream,
    ):
        stream.read()


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tree: Path) -> None:
    (tree / "log").write_bytes(b"x" * 3_000_000)
    with open_directory(str(tree), wanted=None).layers[0].open() as stream:
        stream.read(200_000)
        stream.read(200_000)
        os.truncate(tree / "log", 1_000_000)
        with pytest.raises(SourceError, match="bytes shorter"):
            stream.read()


def test_a_file_that_disappears_is_an_error_that_names_it(tree: Path) -> None:
    (tree / "gone").write_bytes(b"x")
    image = open_directory(str(tree), wanted=None)
    (tree / "gone").unlink()
    with pytest.raises(SourceError, match="gone"), image.layers[0].open() as stream:
        stream.read()


def test_numbers_beyond_a_header_go_into_records(tree: Path) -> None:
    (tree / "node").write_bytes(b"")
    entry = TreeEntry(
        b"node", b"3", 0o600, 4294967294, 2097152, 0, -5, b"", (300, 70000), has_holes=False
    )
    tar = DirectoryTar(os.fsencode(tree), [entry]).read()
    (member,) = read_tar(io.BytesIO(tar), layer="test")
    assert (member.uid, member.gid, member.mtime) == (4294967294, 2097152, -5 * 10**9)
    assert member.device == (300, 70000)
    assert read_back(tar)["node"].mtime == -5


def test_a_big_tree_is_cut_into_parts_that_give_the_whole(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        (tree / f"d{number % 4}").mkdir(exist_ok=True)
        (tree / f"d{number % 4}/f{number:02}").write_bytes(b"x" * 3000)
    os.link(tree / "d0/f00", tree / "d3/z")
    whole = read_back(stream_of(tree))
    monkeypatch.setattr(directory, "PART_BYTES", 40_000)
    image = open_directory(str(tree), wanted=None)
    assert 1 < len(image.layers) <= directory.MAXIMUM_PARTS
    parts = []
    for layer in image.layers:
        with layer.open() as stream:
            parts.append(read_back(stream.read()))
    assert all(member.isdir() for name, member in parts[0].items() if name in {".", "d3"})
    assert not any(member.isdir() for part in parts[1:] for member in part.values())
    names = [name for part in parts for name in part]
    assert sorted(names) == sorted(whole)
    assert parts[-1]["d3/z"].islnk()
    assert image == open_directory(str(tree), wanted=None)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    files=st.dictionaries(
        st.lists(st.sampled_from(["a", "bb", "c" * 90]), min_size=1, max_size=4).map("/".join),
        st.tuples(
            st.sampled_from([0, 1, 511, 512, 513, 131071, 131072, 131073, 2_000_000]),
            st.sampled_from([0, 1, 2**31, 2**33 + 5]),
        ),
        max_size=6,
    ),
    step=st.sampled_from([1, 100, 512, 70_000, 1 << 20]),
)
def test_any_tree_reads_back_the_same_in_reads_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, tuple[int, int]], step: int
) -> None:
    tree = tmp_path_factory.mktemp("tree")
    made = {}
    for name, (size, mtime) in files.items():
        if any(other.startswith(f"{name}/") for other in files):
            continue
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        made[name] = os.urandom(min(size, 70)) * (size // 70 + 1)
        (tree / name).write_bytes(made[name][:size])
        os.utime(tree / name, (mtime, mtime))
    image = open_directory(str(tree), wanted=None)
    pieces = []
    with image.layers[0].open() as stream:
        step = step if sum(size for size, _ in files.values()) < 10_000 else max(step, 512)
        while piece := stream.read(step):
            pieces.append(piece)
    tar = b"".join(pieces)
    assert len(tar) % 512 == 0
    found = {}
    reader = read_tar(io.BytesIO(tar), layer="test")
    for member in reader:
        if member.kind == EntryKind.FILE:
            state = (tree / os.fsdecode(member.path)).stat()
            assert member.mode == stat.S_IMODE(state.st_mode)
            assert member.mtime // 10**9 == state.st_mtime_ns // 10**9
            found[os.fsdecode(member.path)] = reader.read(member.size)
    assert found == {name: (tree / name).read_bytes() for name in made}
