"""Which way GPUs get into containers of docker and podman, and what keeps us from the others."""

from pathlib import Path
from typing import NamedTuple

import pytest

from sampan.engines import gpu_ways
from sampan.engines.cdi import make_spec, render_spec
from sampan.engines.gpu_ways import Wanted, Way, choose_way
from sampan.engines.protocol import EngineState, EngineUnavailableError
from sampan.injection.cdi_generate import CdiOptions
from sampan.model.inventory import CAPABILITIES, Inventory
from sampan.model.request import Request
from support.described_host import make_described_host

DOCKER = EngineState("28.5.2")
RUNTIME = (("nvidia", "/usr/bin/nvidia-container-runtime"), ("runc", "runc"))


class Site(NamedTuple):
    inventory: Inventory
    directory: Path

    def write(self, name: str, **options: object) -> Path:
        made = make_spec(self.inventory, CdiOptions(**options))  # type: ignore[arg-type]
        path = self.directory / f"{name}.yaml"
        path.write_text(render_spec(made.spec, as_json=False, fingerprint=""))
        return path

    def choose(self, *, removed: bool = True, engine: str = "docker", **more: object) -> Way:
        request = Request(True, ("all",), None, ("compute", "utility"), "--gpus all")
        gpus = more.pop("gpus", self.inventory.gpus)
        state = DOCKER._replace(cdi_directories=(str(self.directory),))
        state = state._replace(**more.pop("state", {}))  # type: ignore[arg-type]
        request = request._replace(**more)  # type: ignore[arg-type]
        return choose_way(engine, state, Wanted(self.inventory, request, gpus, removed))  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(gpu_ways, "locate_hook", lambda: "")
    directory = tmp_path / "cdi"
    directory.mkdir()
    return Site(make_described_host(tmp_path / "host", "two-gpus").take(nvml=True), directory)


def devices(way: Way) -> list[str]:
    return [way.words[at + 1] for at, word in enumerate(way.words) if word == "--device"]


def test_documents_of_the_capabilities_alone_come_first_then_the_runtime_then_all_of_it(
    site: Site,
) -> None:
    assert site.choose().name == "plain flags"
    site.write("nvidia")
    whole = site.choose()
    assert (whole.name, whole.words[1]) == ("CDI", f"nvidia.com/gpu={site.inventory.gpus[0].uuid}")
    assert "graphics" in whole.notes[0]
    assert site.choose(state={"runtimes": RUNTIME}).name == "runtime"
    for word in ("compute", "utility"):
        site.write(word, class_name=f"gpu-{word}", capabilities=(word,))
    exact = site.choose(state={"runtimes": RUNTIME}, gpus=site.inventory.gpus[:1])
    uuid = site.inventory.gpus[0].uuid
    assert devices(exact) == [f"nvidia.com/gpu-compute={uuid}", f"nvidia.com/gpu-utility={uuid}"]
    assert not exact.notes
    everything = site.choose(capabilities=CAPABILITIES, state={"runtimes": RUNTIME})
    assert devices(everything) == [f"nvidia.com/gpu={gpu.uuid}" for gpu in site.inventory.gpus]


def test_a_name_that_leads_to_another_gpus_node_is_no_name_of_this_one(site: Site) -> None:
    path = site.write("nvidia")
    path.write_text(path.read_text().replace("/dev/nvidia1", "/dev/nvidia0"))
    way = site.choose(gpus=site.inventory.gpus[1:])
    assert way.name == "plain flags"
    assert any("no document in" in text for text in way.passed_over)


def test_a_document_that_the_release_cannot_read_is_passed_over(site: Site) -> None:
    site.write("nvidia", additional_gids=True, capabilities=CAPABILITIES, version="0.7.0")
    way = site.choose(engine="podman", state={"version": "4.3.1"})
    assert way.name == "plain flags"
    assert any("podman-4.3.1 reads CDI up to 0.5.0" in text for text in way.passed_over)


def test_a_document_of_another_driver_is_passed_over(site: Site) -> None:
    path = site.write("nvidia")
    text = render_spec(make_spec(site.inventory, CdiOptions()).spec, as_json=False, fingerprint="0123")  # fmt: skip
    path.write_text(text)
    assert any("made of another driver" in text for text in site.choose().passed_over)


def test_extras_and_no_gpu_at_all_are_not_in_documents(site: Site) -> None:
    site.write("nvidia")
    assert site.choose(extras=("gds",)).name == "plain flags"
    assert site.choose(gpus=(), devices=()).name == "plain flags"
    none = site.choose(gpus=(), devices=(), state={"runtimes": RUNTIME})
    assert "NVIDIA_VISIBLE_DEVICES=none" in none.words


def test_a_document_for_one_run_is_for_podman_with_a_hook_and_a_container_that_goes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_ways, "locate_hook", lambda: "/usr/local/libexec/sampan/sampan-hook")
    can = {"version": "5.8.0", "takes_cdi_directories": True}
    way = site.choose(engine="podman", state=can, gpus=site.inventory.gpus[1:])
    option, directory = way.engine_words
    assert option == "--cdi-spec-dir"
    text = (Path(directory) / "sampan.json").read_text()
    assert "/dev/nvidia1" in text
    assert "/dev/nvidia0" not in text
    assert devices(way) == ["sampan.run/gpu=all"]
    kept = site.choose(engine="podman", state=can, removed=False)
    assert kept.name == "plain flags"
    assert any("--rm is not given" in text for text in kept.passed_over)


def test_a_machine_elsewhere_gets_no_flags_but_may_have_a_runtime(site: Site) -> None:
    site.write("nvidia")
    with pytest.raises(EngineUnavailableError, match="another machine"):
        site.choose(state={"elsewhere": "ssh://gpu1"})
    assert site.choose(state={"elsewhere": "ssh://gpu1", "runtimes": RUNTIME}).name == "runtime"


def test_groups_of_nodes_are_the_users_own_in_a_rootless_podman(site: Site) -> None:
    wide = ("compute", "graphics", "utility")
    rootless = site.choose(engine="podman", capabilities=wide, state={"rootless": True})
    assert rootless.words[-2:] == ("--group-add", "keep-groups")
    assert site.choose(capabilities=wide).words[-2:] == ("--group-add", "44")
