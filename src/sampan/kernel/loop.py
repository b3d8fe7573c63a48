"""Loop devices: a range of a file as a block device that vanishes with its last user.

Rules: loop(4) and the kernel's ``uapi/linux/loop.h``. ``LO_FLAGS_AUTOCLEAR`` has the kernel detach
the device when nobody has it open or mounted any more, so that a killed process leaves none.
"""

import errno
import fcntl
import os
import struct

_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LOOP_SET_FD = 0x4C00
_LOOP_CLR_FD = 0x4C01
_LOOP_SET_STATUS64 = 0x4C04
_READ_ONLY = 1
_AUTOCLEAR = 4
_INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")
_CONFIG_TAIL = bytes(64)
_ATTEMPTS = 64


def attach_loop(file_path: str, offset: int, length: int) -> tuple[int, str]:
    """Make a read-only loop device of ``length`` bytes of a file from ``offset`` on.

    Returns:
        an open descriptor, to be closed after the mount, and the device's path.

    Raises:
        OSError: no loop devices here, or no right to them.
    """
    backing = os.open(file_path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        try:
            for _ in range(_ATTEMPTS):
                path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
                device = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    _configure(device, backing, offset, length)
                    return device, path
                except OSError as error:
                    os.close(device)
                    # Another process took the free device in between.
                    if error.errno != errno.EBUSY:
                        raise
        finally:
            os.close(control)
    finally:
        os.close(backing)
    raise OSError(errno.EBUSY, "every free loop device was taken by others", "/dev/loop-control")


def _configure(device: int, backing: int, offset: int, length: int) -> None:
    flags = _READ_ONLY | _AUTOCLEAR
    info = _INFO.pack(0, 0, 0, offset, length, 0, 0, 0, flags, b"sampan", b"", b"", 0, 0)
    try:
        fcntl.ioctl(device, _LOOP_CONFIGURE, struct.pack("=II", backing, 0) + info + _CONFIG_TAIL)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTTY):
            raise
        # Linux before 5.8 has the two steps only.
        fcntl.ioctl(device, _LOOP_SET_FD, backing)
        try:
            fcntl.ioctl(device, _LOOP_SET_STATUS64, info)
        except OSError:
            fcntl.ioctl(device, _LOOP_CLR_FD, 0)
            raise
