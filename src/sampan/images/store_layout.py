"""Where things lie in a store (design.md §4). Names, and whether they are there: nothing here writes.

A store is a directory of content-addressed files::

    packs/<compression>/sha256/<hex>.pack, .index    one packed layer, by the layer's digest
    packs/<compression>/sha256/<hex>.headers         what its tar holds besides contents
    packs/<compression>/sha256/<hex>.pushed          JSON: its blobs that registries were given
    packs/<compression>/diff/<hex>                    by diffID: the digest of the layer's pack
    images/sha256/<hex>.sif, .facts.json, .config.json, .record.json    by the config's digest
    partial/<hex>.<offset>                            see partial.py
    quarantine/<file>                                 damaged files that a repair set aside
    refs/<escaped name>                               small JSON: which image a name means
    locks/                                            see store_locks

An image exists when its record does, a pack when its index does: each is written last.

On the start path: ``os`` and the model only.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from sampan.model.reference import Reference

COMPRESSIONS = ("zstd", "gzip")

PACK_SUFFIXES = ("index", "pack", "headers", "pushed")
"""A pack's files; it exists while its index does."""

_LONGEST_FILE_NAME = 240


class StoreLayout(NamedTuple):
    """The paths of the store at ``root``, and the stores below it that are only read.

    Attributes:
        root: absolute.
        sites: roots of site stores (``site_stores.py``), the first one asked first.
    """

    root: str
    sites: tuple[str, ...] = ()

    @property
    def stack(self) -> "tuple[StoreLayout, ...]":
        """This store and those below it, each alone."""
        return tuple(map(StoreLayout, (self.root, *self.sites)))

    def image_home(self, digest: str) -> "StoreLayout":
        """The store of the stack in which a complete image lies; this one when it lies nowhere."""
        if self.sites:
            for home in self.stack:
                record, sif = (home.image_file(digest, one) for one in ("record.json", "sif"))
                if os.path.exists(record) and os.path.exists(sif):
                    return home
        return self

    def pack_home(self, compression: str, digest: str) -> "StoreLayout":
        """The store of the stack in which a pack lies; this one when it lies nowhere."""
        if self.sites:
            for home in self.stack:
                if os.path.exists(home.pack_file(compression, digest, "index")):
                    return home
        return self

    @property
    def images(self) -> str:
        """Directory of the images' files."""
        return f"{self.root}/images/sha256"

    @property
    def refs(self) -> str:
        """Directory of the names."""
        return f"{self.root}/refs"

    @property
    def locks(self) -> str:
        """Directory of the lock files."""
        return f"{self.root}/locks"

    @property
    def partials(self) -> str:
        """Directory of the fetched parts of layers that are not packed yet."""
        return f"{self.root}/partial"

    @property
    def quarantine(self) -> str:
        """Directory of damaged files that a repair has set aside."""
        return f"{self.root}/quarantine"

    def packs(self, compression: str) -> str:
        """Directory of the packs of one compression."""
        return f"{self.root}/packs/{compression}/sha256"

    def diffs(self, compression: str) -> str:
        """Directory of the notes which pack has a diffID."""
        return f"{self.root}/packs/{compression}/diff"

    def image_file(self, digest: str, suffix: str) -> str:
        """One of an image's files; suffix ``sif``, ``facts.json``, ``config.json``, ``record.json``."""
        return f"{self.images}/{hex_of(digest)}.{suffix}"

    def pack_file(self, compression: str, digest: str, suffix: str) -> str:
        """One of a pack's files; suffix one of PACK_SUFFIXES."""
        return f"{self.packs(compression)}/{hex_of(digest)}.{suffix}"

    def ref_file(self, reference: Reference) -> str:
        """The file of a name."""
        return f"{self.refs}/{escape_name(reference)}"


def locate_store(environment: Mapping[str, str]) -> StoreLayout:
    """The user's store with the site stores below it.

    Raises:
        SampanError: the site stores cannot be used (see ``site_stores``).
    """
    from sampan.images.site_stores import find_site_stores

    own = locate_own_store(environment)
    sites = find_site_stores(environment)
    return own._replace(sites=tuple(site for site in sites if site != own.root))


def locate_own_store(environment: Mapping[str, str]) -> StoreLayout:
    """The user's store: SAMPAN_STORE, else XDG data home, else ``~/.local/share/sampan``."""
    root = environment.get("SAMPAN_STORE", "")
    if not root:
        data = environment.get("XDG_DATA_HOME", "")
        # The XDG specification says to ignore relative paths.
        if not data.startswith("/"):
            home = environment.get("HOME", "")
            data = f"{home if home.startswith('/') else _home_of_user()}/.local/share"
        root = f"{data}/sampan"
    return StoreLayout(os.path.abspath(root))


def hex_of(digest: str) -> str:
    """The file name part of a digest."""
    return digest.removeprefix("sha256:")


def escape_name(reference: Reference) -> str:
    """A file name for an image name: ``+`` for ``/``, which the grammar leaves free."""
    name = str(reference).replace("/", "+")
    if len(name) > _LONGEST_FILE_NAME:
        # Rare, so the hash is imported here and not at every container start.
        from hashlib import sha256

        name = f"{name[:160]}+{sha256(name.encode()).hexdigest()}"
    return name


def _home_of_user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "/"
