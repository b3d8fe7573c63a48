"""docs/driver-rules.md names tests that exist and every variable that the program reads."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = (REPOSITORY / "docs/driver-rules.md").read_text()


def test_every_test_that_the_rules_page_names_exists() -> None:
    existing: set[str] = set()
    for path in (REPOSITORY / "tests").rglob("test_*.py"):
        existing.update(re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named
    assert named <= existing, named - existing


def test_every_variable_of_the_driver_import_is_on_the_rules_page() -> None:
    read: set[str] = set()
    for room in ("gpus", "injection"):
        for path in (REPOSITORY / "src/sampan" / room).glob("*.py"):
            if not path.name.startswith("cdi_"):
                found = re.findall(r'"((?:NVIDIA_|CUDA_)[A-Z_]+)"', path.read_text())
                read.update(name.rstrip("_") for name in found)
    assert "NVIDIA_VISIBLE_DEVICES" in read
    assert not [name for name in sorted(read) if name not in PAGE]
