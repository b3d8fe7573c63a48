"""Whether this host has an NVIDIA driver that can be imported."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, broken, info, ok
from sampan.doctor.subject import Subject
from sampan.driver.absence import NoDriverError, require_driver

SYMPTOM = "Failed to initialize NVML: Driver Not Loaded"


def check(subject: Subject) -> Iterator[Finding]:
    """Broken when parts of a driver are missing; a machine without any is no trouble."""
    inventory = subject.host.inventory
    try:
        require_driver(inventory)
    except NoDriverError as error:
        # Login nodes and build machines have the libraries and no GPU: that is no trouble.
        if not (inventory.pci_devices or inventory.module_version or inventory.control_nodes):
            yield info(
                "driver-none",
                "this machine has no NVIDIA GPU, so no driver is looked for",
                error.evidence,
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
    yield ok(
        "driver",
        f"driver {inventory.driver_version or '?'} with {len(inventory.gpus)} GPUs",
        f"{inventory.platform}, {len(inventory.libraries)} libraries, driver root {inventory.driver_root}",
    )
