"""Any registry asked for tags and details, and an image held against a host's driver unfetched."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.engines.remote_details import describe_image
from sampan.model.image import Platform
from sampan.model.inventory import Inventory
from sampan.model.reference import parse_reference
from sampan.registry.catalogue import list_tags
from sampan.registry.client import Origin, RegistryClient
from sampan.registry.details import read_remote_details
from sampan.registry.endpoints import Endpoint
from sampan.registry.failures import NotFoundError
from support.driver_host import make_h200_host
from support.layouts import LayoutMaker, make_tar, named, on_platform
from support.registries import IMPATIENT, docker_registry, front, layout_backend, push

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Docker-registry with one image under four tags, which demands CUDA 12.4."""
    base = tmp_path_factory.mktemp("lookups")
    maker = LayoutMaker(base / "layout")
    config = {"Env": ["CUDA_VERSION=12.4.1", "NVIDIA_REQUIRE_CUDA=cuda>=12.4"]}
    image = maker.add_image([make_tar({"file": b"x"}), make_tar({"other": b"y"})], config=config)
    maker.write_index([named(image, "all")])
    with docker_registry(base) as host:
        for tag in ("9.1", "12.4", "12.10", "latest"):
            push(maker.root, "all", f"{host}/my/cuda:{tag}")
        yield host


def list_names(host: str, **options: object) -> list[str]:
    """Tags of the repository in order."""
    chosen = {"order": "date", "limit": 0, "pattern": "", "environment": {}, **options}
    found = list_tags(parse_reference(f"{host}/my/cuda"), **chosen)  # type: ignore[arg-type]
    assert found.order == "name"
    return [listing.tag for listing in found.tags]


def test_tags_of_any_registry_are_listed_with_the_greatest_version_first(registry: str) -> None:
    assert list_names(registry) == ["12.10", "12.4", "9.1", "latest"]
    assert list_names(registry, pattern="12.*", limit=1) == ["12.10"]
    assert list_names(registry, order="size") == ["12.10", "12.4", "9.1", "latest"]


def test_a_repository_that_is_not_there_is_said_to_be_missing(registry: str) -> None:
    with pytest.raises(NotFoundError):
        list_tags(
            parse_reference(f"{registry}/my/nothing"), order="date", limit=0, pattern="", environment={}
        )  # fmt: skip


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    """The driver of an H200 host."""
    return make_h200_host(tmp_path).take()


@pytest.mark.parametrize(("cuda", "fits"), [("13.0", True), ("12.4", True), ("12.2", False)])
def test_whether_an_image_fits_is_said_before_it_is_fetched(
    registry: str, inventory: Inventory, cuda: str, fits: bool
) -> None:
    details = describe_image(
        f"{registry}/my/cuda:12.4",
        environment={},
        platform=Platform("linux", "amd64"),
        find_inventory=lambda: inventory._replace(cuda_version=cuda),
    )
    assert details.host.fits is fits
    assert details.host.driver == inventory.module_version
    assert ("wants cuda>=12.4" in details.host.why_not) is not fits
    assert details.needs == ("a driver for CUDA 12.4 or newer (driver 550 or newer)",)
    (image,) = details.remote.images
    assert image.layers == 2
    assert details.remote.signatures == ()


def test_docker_hub_is_not_asked_for_more_manifests_than_needed(tmp_path: Path) -> None:
    maker = LayoutMaker(tmp_path / "layout")
    both = [
        on_platform(maker.add_image([make_tar({name: b"x"})], architecture=name), name)
        for name in ("amd64", "arm64")
    ]
    maker.write_index([named(maker.add_list(both), "all")])
    with front(layout_backend(maker.root)) as server:
        place = Endpoint(server.host, scheme="http")
        client = RegistryClient(Origin("docker.io", None, IMPATIENT, place), {})
        reference = parse_reference("docker.io/my/cuda:all")
        details = read_remote_details(client, reference, Platform("linux", "arm64"))
        client.close()
        asked = [path for path in server.paths("/manifests/") if not path.endswith(".sig")]
    assert [(str(image.platform), image.layers) for image in details.images] == [
        ("linux/amd64", 0),
        ("linux/arm64", 1),
    ]
    assert len(asked) == 2


def test_without_a_driver_nothing_is_claimed(registry: str, inventory: Inventory) -> None:
    details = describe_image(
        f"{registry}/my/cuda:12.4",
        environment={},
        platform=Platform("linux", "amd64"),
        find_inventory=lambda: inventory._replace(platform="none"),
    )
    assert details.host.fits is None
    assert details.catalogue is None
