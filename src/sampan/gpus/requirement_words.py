"""What an image demands of driver and GPU, in words for people; before it is fetched."""

from collections.abc import Mapping, Sequence

from sampan.gpus.requirements import (
    TRUE_WORDS,
    Demand,
    compare_versions,
    list_requirements,
    parse_alternative,
)

_BRANCHES = (
    ("13.1", 590), ("13.0", 580), ("12.9", 575), ("12.8", 570), ("12.6", 560), ("12.5", 555),
    ("12.4", 550), ("12.3", 545), ("12.2", 535), ("12.1", 530), ("12.0", 525), ("11.8", 520),
    ("11.7", 515), ("11.6", 510), ("11.5", 495), ("11.4", 470), ("11.3", 465), ("11.2", 460),
    ("11.1", 455), ("11.0", 450), ("10.2", 440), ("10.1", 418), ("10.0", 410), ("9.2", 396),
    ("9.1", 390), ("9.0", 384), ("8.0", 367),
)  # fmt: skip
"""CUDA version -> first driver branch that brings it (CUDA toolkit release notes, driver table)."""


def describe_requirements(environment: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence for each ``NVIDIA_REQUIRE_*`` variable; all of them must hold.

    Args:
        environment: ENV of the image.

    Raises:
        RequirementError: one of them cannot be read.
    """
    if environment.get("NVIDIA_DISABLE_REQUIRE", "") in TRUE_WORDS:
        return ()
    return tuple(
        sentence
        for name, text in list_requirements(environment)
        if (sentence := _describe([parse_alternative(name, part) for part in text.split()]))
    )


def find_cuda_version(environment: Mapping[str, str]) -> str:
    """The CUDA that the image was built with, as its ENV says; empty when it does not."""
    version = environment.get("CUDA_VERSION", "")
    return version if version.replace(".", "").isdecimal() else ""


def brings_compatibility(environment: Mapping[str, str]) -> bool:
    """Whether the image names forward-compatibility libraries of its own (NGC's frameworks do)."""
    return bool(environment.get("_CUDA_COMPAT_PATH"))


def driver_branch(cuda: str) -> int | None:
    """The first driver branch that brings a CUDA version; None when it is not known."""
    if compare_versions(cuda, _BRANCHES[0][0]) > 0:
        return None
    known = [branch for version, branch in _BRANCHES if compare_versions(version, cuda) >= 0]
    return known[-1] if known else None


def _describe(alternatives: Sequence[Sequence[Demand]]) -> str:
    plain: dict[str, None] = {}
    by_brand: dict[str, list[str]] = {}
    for demands in alternatives:
        wanted = [demand for demand in demands if (demand.name, demand.operator) == ("brand", "=")]
        brands = [demand.value for demand in wanted]
        rest = _join_demands([demand for demand in demands if demand not in wanted])
        for brand in brands:
            by_brand.setdefault(brand, []).append(rest)
        if not brands and rest:
            plain[rest] = None
    # Equal wishes of several brands once: CUDA's images name ten brands for each driver.
    together: dict[tuple[str, ...], list[str]] = {}
    for brand, wishes in by_brand.items():
        together.setdefault(tuple(dict.fromkeys(wishes)), []).append(brand)
    for same, brands in together.items():
        drivers = [wish.removeprefix("driver ") for wish in same]
        are_branches = all(driver.isdecimal() for driver in drivers)
        what = f"driver {_either(drivers)}" if are_branches else _either(same)
        plain[f"{what} with a GPU of the brand {_either(brands)}".strip()] = None
    return "; or ".join(plain)


def _join_demands(demands: Sequence[Demand]) -> str:
    at_least = [d.value for d in demands if (d.name, d.operator) == ("driver", ">=")]
    below = [d.value for d in demands if (d.name, d.operator) == ("driver", "<")]
    words = []
    if len(at_least) == len(below) == 1 and _is_branch(at_least[0], below[0]):
        words.append(f"driver {at_least[0]}")
        demands = [demand for demand in demands if demand.name != "driver"]
    words += [_describe_demand(demand) for demand in demands]
    return " and ".join(words)


def _describe_demand(demand: Demand) -> str:
    name, operator, value = demand
    if operator != ">=":
        return f"{_NAMES[name]} {operator} {value}"
    if name == "cuda":
        branch = driver_branch(value)
        means = f" (driver {branch} or newer)" if branch else ""
        return f"a driver for CUDA {value} or newer{means}"
    return f"{_NAMES[name]} {value} or newer"


_NAMES = {"cuda": "CUDA", "driver": "driver", "arch": "compute capability", "brand": "brand"}


def _is_branch(first: str, end: str) -> bool:
    return first.isdecimal() and end.isdecimal() and int(end) == int(first) + 1


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
