"""Small files that containers of other engines mount or read, kept below the user's cache directory.

Named by their content, so that equal ones are one file, nobody changes one in use, and a container
that starts again finds what it had.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from sampan.driver.cache import locate_cache
from sampan.engines.cdi import render_spec
from sampan.kernel.atomic import write_atomic
from sampan.kernel.trust import who_may_change
from sampan.model.cdi import CdiSpec
from sampan.model.plan import PlannedFile


def keep_files(files: Sequence[PlannedFile]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Host paths of files by their container paths, and what is to be said of those left out."""
    paths = {file.path: _keep(file.content, file.path.rpartition("/")[2]) for file in files}
    lost = [path for path, kept in paths.items() if not kept]
    notes = (f"left out, for there is nowhere to keep them: {', '.join(lost)}",) if lost else ()
    return {path: kept for path, kept in paths.items() if kept}, notes


def keep_document(spec: CdiSpec) -> str:
    """A directory with this CDI document alone; empty when there is nowhere to keep it."""
    path = _keep(render_spec(spec, as_json=True).encode(), "sampan.json")
    return os.path.dirname(path)


def _keep(content: bytes, name: str) -> str:
    """Path of a file with this content, in a directory of its own; empty when there is no home."""
    cache = locate_cache([], os.environ)
    if not cache:
        return ""
    digest = hashlib.sha256(content).hexdigest()[:24]
    path = Path(cache).parent / "given" / digest / name
    try:
        # Engines read it as root, and in the container everybody does.
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if os.geteuid() == 0 and who_may_change(str(path.parent)):
            # sudo that keeps HOME: that user could change what root's container is told.
            return ""
        if path.exists() and path.read_bytes() == content:
            return str(path)
        write_atomic(path, content, 0o444)
    except OSError:
        return ""
    return str(path)
