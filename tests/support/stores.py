"""Stores with real images of a few kilobytes, made by import."""

import random
from pathlib import Path

from sampan.images.importer import import_image
from sampan.images.naming import tag_image
from sampan.images.store_layout import StoreLayout
from support.layouts import LayoutMaker, make_tar, named

BASE = make_tar({"etc/base": b"base " * 1000, "etc/noise": random.Random(1).randbytes(300_000)})
TOPS = [make_tar({"top": bytes([48 + n]) * 3000}) for n in range(3)]
NAMES = ("also.example/one:x", "nvcr.io/org/two:2", "one:1")
"""Of two images that share a layer."""


def two_images(place: Path) -> StoreLayout:
    """A store with two images, three layers and three names, in ``place/store``."""
    layout = StoreLayout(str(place / "store"))
    maker = LayoutMaker(place / "layout")
    maker.write_index([
        named(maker.add_image([BASE, TOPS[0]], config={"Cmd": ["a"]}), "a"),
        named(maker.add_image([BASE, TOPS[1]]), "b"),
    ])  # fmt: skip
    import_image(f"oci:{maker.root}:a", "one:1", store=layout)
    import_image(f"oci:{maker.root}:b", "nvcr.io/org/two:2", store=layout)
    tag_image(layout, "one:1", ["also.example/one:x"])
    return layout


def flip(path: Path, at: int) -> None:
    """Change one byte, as a failing disk does; negative places count from the end."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0x55
    path.write_bytes(content)


def files(store: StoreLayout) -> dict[str, bytes]:
    """Every file of a store but locks."""
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for path in sorted(Path(store.root).rglob("*"))
        if path.is_file() and path.parent.name != "locks"
    }
