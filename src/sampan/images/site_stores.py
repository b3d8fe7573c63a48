"""Which read-only stores lie below the user's own: of a node, of a site (decision 110).

``SAMPAN_SITE_STORES``, directories separated by colons, decides alone when it is set, even to
nothing. Else ``stores.site`` of ``$XDG_CONFIG_HOME/sampan/sampan.toml`` and then of
``/etc/sampan/sampan.toml`` count::

    [stores]
    site = ["/apps/sampan"]

Whoever can write into such a store decides what the user runs, so it must belong to root or to the
user. Not on the start path, unless the user's own store lacks the image.
"""

import os
from collections.abc import Iterator, Mapping

from sampan.errors import SampanError
from sampan.images.store import UnsafeStoreError
from sampan.images.store_layout import COMPRESSIONS, StoreLayout

SYSTEM_CONFIGURATION = "/etc/sampan/sampan.toml"

_VARIABLE = "SAMPAN_SITE_STORES"


class ConfigurationError(SampanError):
    """A configuration file, or a variable in its place, cannot be used."""

    id = "configuration"


def find_site_stores(
    environment: Mapping[str, str], *, system: str = SYSTEM_CONFIGURATION
) -> tuple[str, ...]:
    """Roots of the site stores that are there, the first to be asked first.

    Args:
        environment: variables.
        system: the machine's configuration file.

    Raises:
        ConfigurationError: a file cannot be read, or a store's path is not absolute.
        UnsafeStoreError: others than root and the user may write into one of them.
    """
    roots = [
        os.path.normpath(_checked(root, place)) for root, place in _configured(environment, system)
    ]
    return tuple(root for root in dict.fromkeys(roots) if _is_trusted_store(StoreLayout(root)))


def _configured(environment: Mapping[str, str], system: str) -> Iterator[tuple[object, str]]:
    listed = environment.get(_VARIABLE)
    if listed is not None:
        for root in listed.split(":"):
            if root:
                yield root, _VARIABLE
        return
    home = environment.get("XDG_CONFIG_HOME", "")
    if not home.startswith("/"):
        home = f"{environment.get('HOME', '')}/.config"
    users = f"{home}/sampan/sampan.toml"
    # Under sudo and setpriv HOME is often another user's, whose wishes are none of ours.
    for path in (users, system) if os.access(users, os.R_OK) else (system,):
        for site in _read(path):
            yield site, path


def _read(path: str) -> list[object]:
    """``stores.site`` of a file; nothing when the file or the key is not there."""
    try:
        stream = open(path, "rb")  # noqa: SIM115 - closed below, whatever is read
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}", evidence=str(error.strerror)) from error
    import tomllib

    with stream:
        try:
            sites = tomllib.load(stream).get("stores", {}).get("site", [])
        except (ValueError, AttributeError, OSError) as error:
            raise ConfigurationError(
                f"{path} is no configuration of Sampan", evidence=str(error), remedy=f"edit {path}"
            ) from error
    if not isinstance(sites, list):
        raise ConfigurationError(
            f"{path}: stores.site is no list", evidence=repr(sites), remedy='site = ["/DIRECTORY"]'
        )
    return sites


def _checked(root: object, place: str) -> str:
    if not isinstance(root, str) or not root.startswith("/"):
        raise ConfigurationError(
            f"{place}: the path of a site store must be absolute", evidence=repr(root)
        )
    return root


def _is_trusted_store(layout: StoreLayout) -> bool:
    """Whether there is a store; refused when the wrong people may write into it."""
    for path in (
        layout.root,
        os.path.dirname(layout.images),
        layout.images,
        layout.refs,
        *map(layout.packs, COMPRESSIONS),
        *map(layout.diffs, COMPRESSIONS),
    ):
        try:
            status = os.stat(path)
        except OSError:
            # Not mounted here, not for us, or of a version that has no such directory.
            if path in (layout.root, layout.images):
                return False
            continue
        reason = ""
        if status.st_uid not in (0, os.geteuid()):
            reason = f"{path} belongs to user {status.st_uid}, neither root nor you"
        elif status.st_mode & 0o002:
            reason = f"the mode of {path} is {status.st_mode & 0o7777:04o}"
        if reason:
            raise UnsafeStoreError(
                f"the site store {layout.root} can be changed by others",
                evidence=f"{reason}; whoever may write there decides what you run",
                remedy=f"its owner: chown -R root {layout.root} && chmod -R o-w {layout.root}    "
                f"or go without: {_VARIABLE}=",
            )
    return True
