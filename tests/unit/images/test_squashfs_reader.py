"""Single files are read out of squashfs images, whoever wrote them; damaged ones are refused."""

import random
from pathlib import Path

import pytest

from sampan.errors import SampanError
from sampan.images.squashfs.decompression import SquashfsError
from sampan.images.squashfs.reader import SquashfsReader
from support.sif_files import make_squashfs

NOISE = random.Random(3).randbytes(300_000)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    (root / "etc/deep").mkdir(parents=True)
    (root / "etc/small").write_bytes(b"small")
    (root / "etc/empty").write_bytes(b"")
    (root / "etc/noise").write_bytes(NOISE)
    (root / "etc/exact").write_bytes(NOISE[: 128 << 10])
    (root / "etc/zeros").write_bytes(bytes(400_000) + b"end")
    (root / "etc/absolute").symlink_to("/etc/deep/../small")
    (root / "etc/outside").symlink_to("../../../../etc/small")
    (root / "etc/loop").symlink_to("loop")
    (root / "many").mkdir()
    for number in range(700):
        (root / f"many/{number:04}").write_bytes(b"%d" % number)
    return root


@pytest.fixture(scope="module", params=["gzip", "zstd", "xz"])
def image(request: pytest.FixtureRequest, tree: Path, tmp_path_factory: pytest.TempPathFactory):
    target = tmp_path_factory.mktemp("image") / "a.squashfs"
    return make_squashfs(tree, target, "-comp", request.param)


def read(path: Path, name: str, limit: int = 1 << 20) -> bytes | None:
    with path.open("rb") as file:
        reader = SquashfsReader(file.fileno(), 0, path.stat().st_size)
        return reader.read_file(name, limit)


@pytest.mark.parametrize("name", ["small", "empty", "noise", "exact", "zeros"])
def test_a_file_is_read_byte_for_byte(image: Path, tree: Path, name: str) -> None:
    assert read(image, f"/etc/{name}") == (tree / "etc" / name).read_bytes()


def test_only_as_much_as_is_wanted_is_read(image: Path) -> None:
    assert read(image, "etc/noise", 200_000) == NOISE[:200_000]


def test_links_are_followed_inside_the_image_alone(image: Path) -> None:
    assert read(image, "/etc/absolute") == b"small"
    assert read(image, "/etc/outside") == b"small"
    assert read(image, "/etc/loop") is None


def test_what_is_not_there_is_no_error(image: Path) -> None:
    for name in ("/nowhere", "/etc", "/etc/small/below"):
        assert read(image, name) is None


def test_a_large_directory_is_listed_whole(image: Path) -> None:
    with image.open("rb") as file:
        reader = SquashfsReader(file.fileno(), 0, image.stat().st_size)
        assert reader.list_directory("/many") == [f"{number:04}" for number in range(700)]
        assert reader.list_directory("/nowhere") == []


def test_an_unknown_compression_is_named_with_what_to_do(tree: Path, tmp_path: Path) -> None:
    image = make_squashfs(tree, tmp_path / "a.squashfs", "-comp", "lz4")
    with pytest.raises(SquashfsError) as caught:
        read(image, "/etc/small")
    assert "lz4" in caught.value.cause
    assert "unsquashfs" in caught.value.remedy


def test_damage_anywhere_is_refused_and_nothing_else_happens(tree: Path, tmp_path: Path) -> None:
    image = make_squashfs(tree, tmp_path / "a.squashfs", "-comp", "zstd")
    whole = image.read_bytes()
    chance = random.Random(7)
    places = [*range(96), *(chance.randrange(len(whole) - 30_000, len(whole)) for _ in range(120))]
    refused = 0
    for place in places:
        bent = bytearray(whole)
        bent[place] ^= chance.randrange(1, 256)
        image.write_bytes(bent)
        with image.open("rb") as file:
            try:
                reader = SquashfsReader(file.fileno(), 0, len(bent))
                reader.list_directory("/many")
                reader.read_file("/etc/noise", 1 << 20)
            except SampanError:
                refused += 1
    assert refused > 10
