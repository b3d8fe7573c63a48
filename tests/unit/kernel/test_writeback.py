"""Asking the disk to begin is a wish: it changes no byte and never fails."""

import os
from pathlib import Path

from sampan.kernel.writeback import start_writeback


def test_a_file_stays_as_it_is_and_a_pipe_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = os.urandom(3 << 20)
    with path.open("w+b") as stream:
        stream.write(content)
        stream.flush()
        start_writeback(stream.fileno(), 1 << 20, 1 << 20)
        start_writeback(stream.fileno(), 1 << 40, 1 << 20)
    assert path.read_bytes() == content
    reader, writer = os.pipe()
    start_writeback(writer, 0, 1)
    os.close(reader)
    os.close(writer)
