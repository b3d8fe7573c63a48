"""What an image demands of driver and GPU: the ``NVIDIA_REQUIRE_*`` variables.

All variables count together (AND). Inside one, spaces part alternatives (OR) and commas part what
an alternative demands (AND). A demand is ``cuda``, ``driver``, ``arch`` (versions) or ``brand``
(a word), an operator and a value. Field note nvidia-container-toolkit, section 3.3.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from sampan.errors import SampanError
from sampan.gpus.variables import is_legacy_image, is_number
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
DRIVER_BRANCHES: dict[str, int] = {
    "10.0": 410, "10.1": 418, "10.2": 440, "11.0": 450, "11.1": 455, "11.2": 460, "11.3": 465,
    "11.4": 470, "11.5": 495, "11.6": 510, "11.7": 515, "11.8": 520, "12.0": 525, "12.1": 530,
    "12.2": 535, "12.3": 545, "12.4": 550, "12.5": 555, "12.6": 560, "12.7": 565, "12.8": 570,
    "12.9": 575, "13.0": 580,
}  # fmt: skip
"""The first driver branch that has a CUDA version (CUDA toolkit release notes, table of drivers)."""


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
        RequirementError: all unmet requirements together, with the failing terms, the host's values
            and what would meet them.
    """
    if environment.get("NVIDIA_DISABLE_REQUIRE", "") in TRUE_WORDS:
        return
    unmet: list[str] = []
    failing: dict[Demand, None] = {}
    for name, text in list_requirements(environment):
        alternatives = [parse_alternative(name, part) for part in text.split()]
        lacking = [
            (gpu, host)
            for gpu, host in ((gpu, _host_values(inventory, gpu)) for gpu in gpus or (None,))
            if alternatives and not any(_meets(demands, host) for demands in alternatives)
        ]
        if lacking:
            unmet.append(_describe(name, alternatives, lacking))
        for _, host in lacking:
            # The first alternative is the usual one; the others are for old drivers.
            failing.update((term, None) for term in _failing_terms(alternatives[:1], host))
    if unmet:
        raise RequirementError(
            "the image demands more than this host's driver or GPU has",
            evidence="; ".join(unmet),
            remedy="    or: ".join(_remedies(failing)),
        )


def _failing_terms(
    alternatives: Sequence[Sequence[Demand]], host: Mapping[str, str]
) -> list[Demand]:
    return [term for terms in alternatives for term in terms if not _meets((term,), host)]


def _remedies(failing: Iterable[Demand]) -> list[str]:
    """What to do, the most lasting first; the last one turns the question off."""
    remedies: dict[str, None] = {}
    for term in failing:
        numbers = term.value.split(".")
        if term.operator in ("<", "<=", "!="):
            continue
        if term.name == "cuda":
            version = ".".join([*numbers, "0"][:2])
            branch = DRIVER_BRANCHES.get(version)
            driver = f"driver {branch} or newer" if branch else "a newer driver"
            package = f"cuda-compat-{version.replace('.', '-')}"
            remedies[f"install {driver} on the host (which brings CUDA {version})"] = None
            remedies[f"on a data-centre GPU, an image with the package {package}"] = None
        elif term.name == "driver" and term.operator != "=":
            remedies[f"install driver {term.value} or newer on the host"] = None
        elif term.name in ("arch", "brand"):
            remedies[f"choose a GPU that has {term}: sampan gpus lists them"] = None
    return [
        *remedies,
        "choose another tag of the image",
        "try at your own risk: -e NVIDIA_DISABLE_REQUIRE=1",
    ]


def list_requirements(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variable and text of each requirement; an image from before them demands its CUDA version."""
    found = [
        (name, value)
        for name, value in sorted(environment.items())
        if name.startswith("NVIDIA_REQUIRE_") and name != "NVIDIA_REQUIRE_JETPACK" and value
    ]
    if is_legacy_image(environment):
        numbers = environment["CUDA_VERSION"].split(".")
        if len(numbers) >= 2 and all(map(is_number, numbers[:2])):
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
        if name != "brand" and all(map(is_number, value.split("."))):
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
    left = [int(part) for part in first.split(".") if is_number(part)]
    right = [int(part) for part in second.split(".") if is_number(part)]
    length = max(len(left), len(right))
    left += [0] * (length - len(left))
    right += [0] * (length - len(right))
    return (left > right) - (left < right)


def _describe(
    name: str,
    alternatives: Sequence[Sequence[Demand]],
    lacking: Sequence[tuple[Gpu | None, Mapping[str, str]]],
) -> str:
    """One variable: what it wants, what fails, and once for all GPUs alike what they have."""
    wanted = " or ".join(",".join(map(str, demands)) for demands in alternatives)
    used = {demand.name for demands in alternatives for demand in demands}
    failing: dict[str, None] = {}
    alike: dict[str, list[str]] = {}
    for gpu, host in lacking:
        failing.update((str(term), None) for term in _failing_terms(alternatives, host))
        has = ", ".join(f"{key} {host[key]}" for key in ("cuda", "driver", "arch", "brand")
                        if key in used and host[key])  # fmt: skip
        alike.setdefault(has, []).append(str(gpu.nvml_index) if gpu else "")
    unmet = f", of which {', '.join(failing)} fails" if len(failing) < _terms(alternatives) else ""
    owners = "; ".join(f"{_name_owners(indexes)} {has}" for has, indexes in alike.items())
    return f"{name} wants {wanted}{unmet}; {owners}"


def _name_owners(indexes: Sequence[str]) -> str:
    if not indexes[0]:
        return "the host has"
    many = len(indexes) > 1
    return f"GPU{'s' if many else ''} {', '.join(indexes)} {'have' if many else 'has'}"


def _terms(alternatives: Sequence[Sequence[Demand]]) -> int:
    return sum(len(demands) for demands in alternatives)
