"""Reading the store's own small files, which may be damaged or, in a shared store, hostile.

On the start path of a container: ``os``, ``json`` and the model only. Each file is opened without
waiting for a FIFO, looked at before it is read, and read up to a limit.
"""

import json
import os
import stat
from typing import Any

from sampan.errors import SampanError
from sampan.model.image import ImageConfig, parse_image_config

MAXIMUM_BYTES = 64 << 20
"""Largest file that is read; configurations are kilobytes, facts hold the image's loader cache."""


class DamagedStoreError(SampanError):
    """A record, configuration, facts or name file is not what we wrote there."""

    id = "store-damaged"


def read_document(path: str) -> bytes:
    """The content of a small file of the store.

    Raises:
        DamagedStoreError: it is no regular file, or larger than MAXIMUM_BYTES.
        FileNotFoundError: it is not there.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _damaged(path, "it is no regular file")
        if status.st_size > MAXIMUM_BYTES:
            raise _damaged(path, f"it has {status.st_size} bytes, at most {MAXIMUM_BYTES} are read")
        return stream.read()


def read_json(path: str) -> dict[str, Any] | None:
    """A small JSON object of the store; None when the file is not there.

    Raises:
        DamagedStoreError: the file is damaged.
    """
    try:
        document = json.loads(read_document(path))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error) or "it is nested too deeply") from error
    if not isinstance(document, dict):
        raise _damaged(path, "it is no JSON object")
    return document


def read_config(path: str) -> ImageConfig:
    """The configuration of an image that is in the store.

    Raises:
        DamagedStoreError: the file is missing or damaged.
        ImageConfigError: a member has another type.
    """
    document = read_json(path)
    if document is None:
        raise _damaged(path, "it is missing")
    return parse_image_config(document)


def _damaged(path: str, reason: str) -> DamagedStoreError:
    return DamagedStoreError(
        "a file of the image store is damaged",
        evidence=f"{path}: {reason}",
        remedy="sampan store repair    or: sampan rmi -f the image, then import or pull it again",
    )
