"""Which images the containers of this user use; the store itself knows nothing of containers."""


def images_in_use() -> dict[str, str]:
    """Image id -> name of one container that uses it and has not ended."""
    from sampan.engines.native.state import container_status, list_records

    return {
        record.image_digest: record.name
        for record in list_records()
        if container_status(record).state in ("created", "running")
    }
