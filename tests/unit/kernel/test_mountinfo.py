"""Which mount a file lies on, as the kernel itself shows it."""

import os

from sampan.kernel.mountinfo import find_mount


def test_the_mount_of_proc_is_known_by_its_type_and_options() -> None:
    mount = find_mount(os.stat("/proc").st_dev)
    assert mount is not None
    assert mount.kind == "proc"
    assert "rw" in mount.options or "ro" in mount.options


def test_a_device_number_that_nothing_has_is_no_mount() -> None:
    assert find_mount(os.makedev(4000, 1)) is None
