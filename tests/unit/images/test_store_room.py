"""Room in a store: space, inodes, quota, each named when it is what lacks."""

import struct

import pytest

from sampan.images.room import Room, require_room
from sampan.images.store_access import StoreError
from sampan.images.store_layout import StoreLayout
from sampan.kernel.quota import Quota, find_quotas, read_quota

STORE = StoreLayout("/somewhere/store")


def refusal(room: Room, needed_bytes: int = 100, needed_files: int = 10) -> StoreError:
    with pytest.raises(StoreError) as caught:
        require_room(STORE, room, needed_bytes=needed_bytes, needed_files=needed_files)
    return caught.value


def test_what_fits_passes() -> None:
    require_room(STORE, Room(100, 10, ()), needed_bytes=100, needed_files=10)
    require_room(STORE, Room(100, None, ()), needed_bytes=100, needed_files=10)


def test_too_few_inodes_are_said() -> None:
    assert (
        "needs at least 10 inodes, 3 are free on the file system"
        in refusal(Room(100, 3, ())).evidence
    )


def test_a_quota_is_said_with_whose_it_is() -> None:
    refused = refusal(Room(1000, 1000, (Quota("user", 40, None),)))
    assert "40 are free in the user's quota: 60 are missing" in refused.evidence
    assert "your quota is used up" in refused.remedy
    refused = refusal(Room(1000, 1000, (Quota("group", None, 2),)))
    assert "2 are free in the group's quota" in refused.evidence


def test_the_usable_room_is_the_least_of_all() -> None:
    room = Room(1000, None, (Quota("user", 40, 7), Quota("group", 50, None)))
    assert (room.usable_bytes, room.usable_inodes) == (40, 7)


def test_the_kernels_answer_is_read() -> None:
    """Limits in KiB, use in bytes (linux/quota.h, struct if_dqblk)."""
    answer = struct.pack("=8QI4x", 2048, 1024, 1 << 20, 100, 90, 40, 0, 0, 63)
    assert read_quota("user", answer) == Quota("user", 1 << 20, 60)
    nothing = struct.pack("=8QI4x", 0, 0, 1 << 20, 0, 0, 40, 0, 0, 63)
    assert read_quota("user", nothing) == Quota("user", None, None)
    beyond = struct.pack("=8QI4x", 1, 1, 1 << 20, 1, 1, 40, 0, 0, 63)
    assert read_quota("user", beyond) == Quota("user", 0, 0)


def test_where_there_are_no_quotas_none_are_found() -> None:
    assert find_quotas("/proc") == ()
    assert find_quotas("/nowhere") == ()
