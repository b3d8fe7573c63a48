"""Whether work fits into the store: free space, inodes, and the user's quota there."""

import errno
import os
from typing import NamedTuple

from sampan.images.store_access import REMEDIES, StoreError, existing_place, store_errors
from sampan.images.store_layout import StoreLayout
from sampan.kernel.quota import Quota, find_quotas


class Room(NamedTuple):
    """What may still be written where a store is, or will be.

    Attributes:
        free_bytes: on the file system, for this user.
        free_inodes: likewise; None where the file system does not count them.
        quotas: of user and group, where there are any.
    """

    free_bytes: int
    free_inodes: int | None
    quotas: tuple[Quota, ...]

    @property
    def usable_bytes(self) -> int:
        """The least of space and quotas."""
        left = [quota.free_bytes for quota in self.quotas if quota.free_bytes is not None]
        return min([self.free_bytes, *left])

    @property
    def usable_inodes(self) -> int | None:
        """The least of inodes and quotas; None where nothing limits them."""
        left = [self.free_inodes, *(quota.free_inodes for quota in self.quotas)]
        return min((number for number in left if number is not None), default=None)


def measure_room(layout: StoreLayout) -> Room:
    """Look how much room there is; the store need not exist.

    Raises:
        StoreError: the file system does not say.
    """
    with store_errors(layout):
        place = existing_place(layout)
        state = os.statvfs(place)
    return Room(
        free_bytes=state.f_bavail * state.f_frsize,
        free_inodes=state.f_favail if state.f_files else None,
        quotas=find_quotas(place),
    )


def require_room(layout: StoreLayout, room: Room, *, needed_bytes: int, needed_files: int) -> None:
    """Refuse work that cannot fit.

    Args:
        layout: the store.
        room: in it.
        needed_bytes: that will be written at the least.
        needed_files: likewise.

    Raises:
        StoreError: says how much is missing, and of what.
    """
    lacks = [
        ("on the file system", "bytes", needed_bytes, room.free_bytes, errno.ENOSPC),
        ("on the file system", "inodes", needed_files, room.free_inodes, errno.ENOSPC),
    ]
    for quota in room.quotas:
        where = f"in the {quota.kind}'s quota"
        lacks += [
            (where, "bytes", needed_bytes, quota.free_bytes, errno.EDQUOT),
            (where, "inodes", needed_files, quota.free_inodes, errno.EDQUOT),
        ]
    for where, unit, needed, free, number in lacks:
        if free is not None and needed > free:
            raise StoreError(
                f"not enough room in the store {layout.root}",
                evidence=f"needs at least {needed:,} {unit}, {free:,} are free {where}: "
                f"{needed - free:,} are missing",
                remedy=REMEDIES[number],
            )
