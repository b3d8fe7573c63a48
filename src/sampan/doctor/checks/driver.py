"""Whether this host has an NVIDIA driver that can be imported."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, broken, info, ok
from sampan.doctor.subject import Subject
from sampan.driver.absence import NoDriverError, list_missing, require_driver

SYMPTOM = "Failed to initialize NVML: Driver Not Loaded"


def check(subject: Subject) -> Iterator[Finding]:
    """Broken when parts of a driver are missing; a machine without any is no trouble."""
    inventory = subject.host.inventory
    try:
        require_driver(inventory)
    except NoDriverError as error:
        # Even a machine without GPUs may hold a forgotten library or a node; that is no driver.
        if not (inventory.pci_devices or inventory.module_version or inventory.libraries):
            yield info(
                "driver-none", "this machine has no NVIDIA GPU and no driver", error.evidence
            )
            return
        yield broken(
            "driver-incomplete",
            error.cause,
            error.evidence,
            symptom=SYMPTOM if not inventory.module_version else "",
            remedy=error.remedy,
        )
        return
    # Other platforms have no module version, which the list of missing parts knows.
    assert not list_missing(inventory)
    yield ok(
        "driver",
        f"driver {inventory.driver_version or '?'} with {len(inventory.gpus)} GPUs",
        f"{inventory.platform}, {len(inventory.libraries)} libraries, driver root {inventory.driver_root}",
    )
