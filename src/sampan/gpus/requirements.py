"""What an image demands of driver and GPU: the ``NVIDIA_REQUIRE_*`` variables.

All variables count together (AND). Inside one, spaces part alternatives (OR) and commas part what
an alternative demands (AND). A demand is ``cuda``, ``driver``, ``arch`` (versions) or ``brand``
(a word), an operator and a value. Field note nvidia-container-toolkit, section 3.3.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sampan.errors import SampanError
from sampan.gpus.request import is_legacy_image
from sampan.model.inventory import Gpu, Inventory

TRUE_WORDS = frozenset({"1", "t", "T", "TRUE", "true", "True"})
OPERATORS: dict[str, Callable[[int], bool]] = {
    ">=": lambda order: order >= 0,
    "<=": lambda order: order <= 0,
    "!=": lambda order: order != 0,
    "=": lambda order: order == 0,
    ">": lambda order: order > 0,
    "<": lambda order: order < 0,
}


class RequirementError(SampanError):
    """The host's driver or GPU does not meet what the image demands."""

    id = "requirement"


class Demand(NamedTuple):
    """One comparison, e.g. ``cuda``, ``>=``, ``12.4``."""

    name: str
    operator: str
    value: str

    def __str__(self) -> str:
        return "".join(self)


def check_requirements(
    environment: Mapping[str, str], inventory: Inventory, gpus: Sequence[Gpu]
) -> None:
    """Return when the host meets every requirement for each of ``gpus``.

    Values that the host does not tell (architecture without NVML) count as met.

    Raises:
        RequirementError: all unmet requirements together, with the host's values.
    """
    if environment.get("NVIDIA_DISABLE_REQUIRE", "") in TRUE_WORDS:
        return
    unmet: dict[str, None] = {}
    for name, text in list_requirements(environment):
        alternatives = [parse_alternative(name, part) for part in text.split()]
        for gpu in gpus or (None,):
            host = _host_values(inventory, gpu)
            if alternatives and not any(_meets(demands, host) for demands in alternatives):
                unmet[_describe(name, alternatives, host, gpu)] = None
    if unmet:
        raise RequirementError(
            "the image demands more than this host's driver or GPU has",
            evidence="; ".join(unmet),
            remedy="update the host's driver, choose an older tag of the image, or try at your own"
            " risk: -e NVIDIA_DISABLE_REQUIRE=1",
        )


def list_requirements(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variable and text of each requirement; an image from before them demands its CUDA version."""
    found = [
        (name, value)
        for name, value in sorted(environment.items())
        if name.startswith("NVIDIA_REQUIRE_") and name != "NVIDIA_REQUIRE_JETPACK" and value
    ]
    if is_legacy_image(environment):
        numbers = environment["CUDA_VERSION"].split(".")
        if len(numbers) >= 2 and all(number.isdecimal() for number in numbers[:2]):
            found.append(("CUDA_VERSION", f"cuda>={numbers[0]}.{numbers[1]}"))
    return found


def parse_alternative(name: str, text: str) -> tuple[Demand, ...]:
    """Demands of one alternative, e.g. ``brand=tesla,driver>=470,driver<471``.

    Raises:
        RequirementError: no operator, an unknown name, a value that is no version.
    """
    return tuple(_parse_demand(name, part) for part in text.split(",") if part)


def _parse_demand(variable: str, text: str) -> Demand:
    for operator in OPERATORS:
        name, found, value = text.partition(operator)
        if not found:
            continue
        # ">" also occurs in a ">=" that was tried before it; "=" inside "!=" and "<=" likewise.
        if name not in ("cuda", "driver", "arch", "brand"):
            break
        if name == "brand" and operator in ("=", "!="):
            return Demand(name, operator, value)
        if name != "brand" and value and all(part.isdecimal() for part in value.split(".")):
            return Demand(name, operator, value)
        break
    raise RequirementError(
        f"the image's requirement {text!r} cannot be read",
        evidence=f"in {variable}; known: cuda, driver, arch with a version, brand = or != a word",
        remedy="-e NVIDIA_DISABLE_REQUIRE=1 ignores the image's requirements",
    )


def _host_values(inventory: Inventory, gpu: Gpu | None) -> dict[str, str]:
    return {
        "cuda": inventory.cuda_version,
        "driver": inventory.module_version or inventory.driver_version,
        "arch": gpu.architecture if gpu else "",
        "brand": gpu.brand if gpu else "",
    }


def _meets(demands: Sequence[Demand], host: Mapping[str, str]) -> bool:
    for demand in demands:
        value = host[demand.name]
        if not value:
            continue
        if demand.name == "brand":
            order = int(not _same_brand(value, demand.value))
        else:
            order = compare_versions(value, demand.value)
        if not OPERATORS[demand.operator](order):
            return False
    return True


def _same_brand(host: str, wanted: str) -> bool:
    def plain(word: str) -> str:
        return word.lower().replace("_", "").replace("-", "")

    return plain(host) == plain(wanted)


def compare_versions(first: str, second: str) -> int:
    """-1, 0 or 1, number by number; missing numbers are 0 and leading zeros mean nothing."""
    left = [int(part) for part in first.split(".") if part.isdecimal()]
    right = [int(part) for part in second.split(".") if part.isdecimal()]
    length = max(len(left), len(right))
    left += [0] * (length - len(left))
    right += [0] * (length - len(right))
    return (left > right) - (left < right)


def _describe(
    name: str, alternatives: Sequence[Sequence[Demand]], host: Mapping[str, str], gpu: Gpu | None
) -> str:
    wanted = " or ".join(",".join(map(str, demands)) for demands in alternatives)
    used = {demand.name for demands in alternatives for demand in demands}
    has = ", ".join(f"{key} {host[key]}" for key in ("cuda", "driver", "arch", "brand")
                    if key in used and host[key])  # fmt: skip
    where = f"GPU {gpu.nvml_index} has" if gpu else "the host has"
    return f"{name} wants {wanted}; {where} {has}"
