"""A site's read-only store below one's own: found, used in place, never written, only when trusted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.cli.main import main
from sampan.images.catalogue import ImageOfSiteError, list_names, list_records, remove_image
from sampan.images.examining import examine_store
from sampan.images.importer import import_image
from sampan.images.naming import tag_image
from sampan.images.outgoing import open_outgoing
from sampan.images.prune import PruneOptions, prune
from sampan.images.site_stores import ConfigurationError, find_site_stores
from sampan.images.store import UnsafeStoreError, find_image, locate_image
from sampan.images.store_access import create_store
from sampan.images.store_layout import StoreLayout, locate_store
from support.layouts import LayoutMaker, named
from support.stores import BASE, TOPS, files, two_images


@pytest.fixture
def site(tmp_path: Path) -> StoreLayout:
    (tmp_path / "site").mkdir()
    return two_images(tmp_path / "site")


@pytest.fixture
def own(tmp_path: Path, site: StoreLayout) -> StoreLayout:
    return StoreLayout(str(tmp_path / "own"), (site.root,))


@pytest.fixture
def environment(own: StoreLayout) -> dict[str, str]:
    return {"SAMPAN_STORE": own.root, "SAMPAN_SITE_STORES": own.sites[0], "HOME": "/nowhere"}


def derived(tmp_path: Path) -> str:
    """A source that shares its first layer with the images of the site."""
    maker = LayoutMaker(tmp_path / "derived")
    maker.write_index([named(maker.add_image([BASE, TOPS[2]]), "d")])
    return f"oci:{maker.root}:d"


def test_an_image_is_used_where_it_lies_without_a_store_of_ones_own(
    own: StoreLayout, site: StoreLayout, environment: dict[str, str]
) -> None:
    before = files(site)
    image = locate_image("one:1", environment=environment)
    assert image.sif_path.startswith(site.root)
    assert locate_image(image.digest[7:19], environment=environment).sif_path == image.sif_path
    assert not os.path.exists(own.root)
    assert files(site) == before


def test_ones_own_name_goes_before_the_sites(
    own: StoreLayout, environment: dict[str, str], tmp_path: Path
) -> None:
    theirs = locate_image("one:1", environment=environment)
    import_image(derived(tmp_path), "one:1", store=own)
    ours = locate_image("one:1", environment=environment)
    assert ours.digest != theirs.digest
    assert ours.sif_path.startswith(own.root)


def test_layers_of_the_site_are_linked_from_and_not_copied(
    own: StoreLayout, site: StoreLayout, tmp_path: Path
) -> None:
    before = files(site)
    image = import_image(derived(tmp_path), "mine", store=own)
    assert len([n for n in os.listdir(own.packs("zstd")) if n.endswith(".pack")]) == 1
    assert files(site) == before
    lone = StoreLayout(f"{tmp_path}/lone")
    alone = import_image(f"oci:{tmp_path}/derived:d", "mine", store=lone)
    assert Path(image.sif_path).read_bytes() == Path(alone.sif_path).read_bytes()
    assert examine_store(own, is_quick=False).damage == ()
    assert len(open_outgoing(own, "mine").layers) == 2


def test_pulling_what_the_site_has_gives_it_a_name_and_copies_nothing(
    own: StoreLayout, site: StoreLayout, tmp_path: Path, environment: dict[str, str]
) -> None:
    image = import_image(f"oci:{tmp_path}/site/layout:a", "called:here", store=own)
    assert image.sif_path.startswith(site.root)
    assert os.listdir(own.images) == []
    assert locate_image("called:here", environment=environment).sif_path == image.sif_path
    assert remove_image(own, "called:here", containers={}) == ["Untagged: called:here"]
    assert os.path.exists(image.sif_path)


def test_a_name_whose_image_the_site_has_removed_means_nothing_any_more(
    own: StoreLayout, site: StoreLayout, tmp_path: Path, environment: dict[str, str]
) -> None:
    create_store(own)
    tag_image(own, "one:1", ["called:here"])
    for name in ("one:1", "also.example/one:x"):
        remove_image(site, name, containers={})
    assert find_image("called:here", environment=environment) is None
    assert list_names(own) == []
    again = import_image(f"oci:{tmp_path}/site/layout:a", "called:here", store=own)
    assert again.sif_path.startswith(own.root)


def test_an_image_of_the_site_is_not_removed_and_not_pruned(
    own: StoreLayout, site: StoreLayout
) -> None:
    create_store(own)
    before = files(site)
    for name in ("one:1", locate_image("one:1", store=own).digest):
        with pytest.raises(ImageOfSiteError) as caught:
            remove_image(own, name, containers={}, force=True)
        assert f"SAMPAN_STORE={site.root} sampan rmi" in caught.value.remedy
    prune(own, PruneOptions(all_packs=True, max_size=0), in_use=set(), now=1e12)
    assert files(site) == before


def test_the_list_says_in_which_store_an_image_is(
    own: StoreLayout, site: StoreLayout, tmp_path: Path, environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    import_image(derived(tmp_path), "mine", store=own)
    assert main(["images"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("STORE")
    assert sorted(line.split()[-1] for line in lines[1:]) == [own.root, *3 * [site.root]]
    assert main(["inspect", "-f", "{{.Sampan.File}}", "one:1"]) == 0
    assert capsys.readouterr().out.startswith(site.root)
    assert main(["rmi", "one:1"]) == 1
    assert "error[image-of-site]" in capsys.readouterr().err
    assert len(list_records(own)) == 1


def test_the_variable_decides_alone_then_the_users_file_then_the_machines(
    site: StoreLayout, tmp_path: Path
) -> None:
    others = []
    for name in ("a", "b"):
        others.append(StoreLayout(f"{tmp_path}/{name}"))
        create_store(others[-1])
    (tmp_path / "config/sampan").mkdir(parents=True)
    (tmp_path / "config/sampan/sampan.toml").write_text(f'[stores]\nsite = ["{others[0].root}"]')
    machine = tmp_path / "machine.toml"
    machine.write_text(f'[stores]\nsite = ["{others[1].root}", "{others[0].root}", "/not/there"]')
    variables = {"XDG_CONFIG_HOME": f"{tmp_path}/config"}
    both = tuple(store.root for store in others)
    assert find_site_stores(variables, system=str(machine)) == both
    variables["SAMPAN_SITE_STORES"] = f"{site.root}/:"
    assert find_site_stores(variables, system=str(machine)) == (site.root,)
    variables["SAMPAN_SITE_STORES"] = ""
    assert find_site_stores(variables, system=str(machine)) == ()


def test_ones_own_store_is_not_below_itself(site: StoreLayout) -> None:
    variables = {"SAMPAN_STORE": site.root, "SAMPAN_SITE_STORES": site.root}
    assert locate_store(variables) == StoreLayout(site.root)


@pytest.mark.parametrize(
    "text", ["[stores", "[stores]\nsite = 7", '[stores]\nsite = ["apps"]', "stores = 7", "\xff"]
)
def test_a_bad_configuration_is_an_error_with_its_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sampan.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError) as caught:
        find_site_stores({"HOME": "/nowhere"}, system=str(path))
    assert str(path) in caught.value.cause


@pytest.mark.parametrize("place", ["", "images/sha256", "refs", "packs/zstd/sha256"])
def test_a_store_that_everybody_may_write_to_is_refused(
    place: str, site: StoreLayout, environment: dict[str, str]
) -> None:
    os.chmod(f"{site.root}/{place}", 0o777)
    with pytest.raises(UnsafeStoreError) as caught:
        find_image("one:1", environment=environment)
    assert "go without: SAMPAN_SITE_STORES=" in caught.value.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_store_of_another_user_is_refused(site: StoreLayout, environment: dict[str, str]) -> None:
    os.chown(site.root, 65501, 65501)
    with pytest.raises(UnsafeStoreError, match="can be changed by others"):
        find_image("one:1", environment=environment)


def test_ones_own_image_needs_no_look_at_the_site(own: StoreLayout, tmp_path: Path) -> None:
    """A start from one's own store neither reads configuration nor imports what reads it."""
    import_image(derived(tmp_path), "mine", store=StoreLayout(own.root))
    program = (
        "import sys; from sampan.images.store import locate_image; locate_image('mine'); "
        "sys.exit(any(name in sys.modules for name in ('tomllib', 'sampan.images.site_stores')))"
    )
    variables = {**os.environ, "SAMPAN_STORE": own.root, "SAMPAN_SITE_STORES": "not absolute"}
    assert subprocess.run([sys.executable, "-c", program], env=variables).returncode == 0
