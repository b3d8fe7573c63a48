"""Each capability gives exactly its files: golden plans of every kind of host."""

import posixpath
from pathlib import Path

import pytest

from sampan.injection.plan import plan_import
from sampan.model.facts import ImageFacts
from sampan.model.inventory import CAPABILITIES, Inventory
from sampan.model.plan import ImportPlan
from sampan.model.request import Request
from support.driver_host import TESTDATA
from support.driver_trees import CASES, Case, is_updating
from support.plan_facts import make_facts

MODULES = "/usr/lib/xorg/modules"
NARROW = "/usr/lib/i386-linux-gnu"


def make_image(machine: str) -> ImageFacts:
    """A Debian-like image that has room for everything: an X server, 32-bit libraries."""
    library = f"/usr/lib/{machine}-linux-gnu"
    return make_facts(
        architecture={"x86_64": "amd64", "aarch64": "arm64"}[machine],
        directories=(library, NARROW, MODULES),
        library_directories=(library,),
    )


def make_plan(inventory: Inventory, capabilities: tuple[str, ...], machine: str) -> ImportPlan:
    request = Request(True, ("all",), None, capabilities, "test")
    return plan_import(inventory, request, make_image(machine), inventory.gpus)


def items(made: ImportPlan, root: str) -> dict[str, None]:
    """A line for each thing in the plan; what lies in the files is others' to test."""
    lines = [
        f"mount  {mount.container_path} <- {mount.host_path.removeprefix(root)}"
        for mount in made.mounts
    ]
    lines += [f"device {device.path}" for device in made.devices]
    lines += [f"link   {link.path} -> {link.target}" for link in made.links]
    lines += [f"file   {file.path}" for file in made.files if file.content]
    lines += [f"env    {name}={value}" for name, value in made.environment if name.endswith("_DIR")]
    return dict.fromkeys(lines)


def describe(inventory: Inventory, machine: str) -> str:
    """What everybody gets, then what each capability adds; compat32 adds to all the others."""
    root = inventory.driver_root
    common = items(make_plan(inventory, (), machine), root)
    lines = ["[always]", *common]
    for capability in CAPABILITIES:
        if capability == "compat32":
            others = tuple(word for word in CAPABILITIES if word != "compat32")
            before = items(make_plan(inventory, others, machine), root)
            made = items(make_plan(inventory, CAPABILITIES, machine), root)
        else:
            before, made = common, items(make_plan(inventory, (capability,), machine), root)
        lines += ["", f"[{capability}]", *(line for line in made if line not in before)]
    everything = make_plan(inventory, CAPABILITIES, machine)
    lines += ["", "[warnings]", *(text.replace(root, "") for text in everything.warnings)]
    return "\n".join(lines) + "\n"


class Host:
    """A case's inventory, taken once for all tests; a discrete one has a GPU."""

    def __init__(self, base: Path, name: str) -> None:
        case = Case(base, name)
        self.name, self.machine = name, case.machine
        self.inventory = case.take()
        if self.inventory.platform not in ("wsl", "tegra"):
            case.host.add_gpu(0)
            self.inventory = case.take()


@pytest.fixture(scope="module", params=CASES)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("host"), request.param)


def test_each_capability_gives_exactly_its_files(host: Host) -> None:
    text = describe(host.inventory, host.machine)
    golden = TESTDATA / host.name / "plan.txt"
    if is_updating():
        golden.write_text(text)
    assert text == golden.read_text()


def test_nothing_of_a_plan_lies_where_the_image_keeps_its_own_loaders(host: Host) -> None:
    made = make_plan(host.inventory, CAPABILITIES, host.machine)
    neutral = ("libGL.so", "libEGL.so", "libGLX.so", "libOpenGL.so", "libvulkan.so", "libOpenCL.so")
    names = {path.rpartition("/")[2] for path in (mount.container_path for mount in made.mounts)}
    assert not [name for name in names if name.startswith(neutral)]


def test_no_link_of_a_plan_leads_nowhere(host: Host) -> None:
    for capabilities in (CAPABILITIES, *((word,) for word in CAPABILITIES)):
        made = make_plan(host.inventory, capabilities, host.machine)
        mounts = {mount.container_path for mount in made.mounts}
        links = {link.path for link in made.links}
        assert not mounts & links
        for link in made.links:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(link.path), link.target))
            assert target in mounts | links, (capabilities, link)
