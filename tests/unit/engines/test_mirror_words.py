"""What a mirror makes of its sources, patterns and destination."""

import pytest

from sampan.engines import mirror as module
from sampan.engines.mirror import MirrorOptions, mirror, read_list
from sampan.errors import SampanError, UsageError
from sampan.model.reference import parse_reference
from sampan.registry.catalogue import Tags
from sampan.registry.listings import TagListing


def test_a_list_holds_one_name_a_line() -> None:
    text = "# mirror\nnvcr.io/a/b:1  sha256:ignored\n\n  c:2 # why\r\n"
    assert read_list(text) == ["nvcr.io/a/b:1", "c:2"]


@pytest.mark.parametrize(
    ("patterns", "fitting"),
    [
        ((), ["24.05-py3", "24.05-igpu", "23.1"]),
        (("24.*",), ["24.05-py3", "24.05-igpu"]),
        (("*-py3", "23*"), ["24.05-py3", "23.1"]),
        ((r"/^\d+\.\d+$/",), ["23.1"]),
    ],
)
def test_tags_are_chosen_by_patterns(patterns: tuple[str, ...], fitting: list[str]) -> None:
    fits = module._tag_filter(patterns)
    assert [tag for tag in ("24.05-py3", "24.05-igpu", "23.1") if fits(tag)] == fitting


@pytest.mark.parametrize("destination", ["mirror", "team/mirror", "reg.example/x:1", "oci:d:t"])
def test_a_destination_must_be_a_place_for_many(destination: str) -> None:
    with pytest.raises(UsageError):
        mirror(["a:1"], destination, environment={}, options=MirrorOptions())


@pytest.mark.parametrize("source", ["reg.example/space/", "No Name", "a@sha256:12"])
def test_a_source_that_cannot_be_is_said_before_anything_is_copied(source: str) -> None:
    with pytest.raises(SampanError):
        mirror(["a:1", source], "reg.example/x", environment={}, options=MirrorOptions())


def test_a_pattern_that_is_none_is_refused() -> None:
    options = MirrorOptions(tags=("/(/",))
    with pytest.raises(UsageError, match="regular expression"):
        mirror(["a:1"], "reg.example/x", environment={}, options=options)


@pytest.mark.parametrize(
    ("source", "destination", "target"),
    [
        ("nvcr.io/nvidia/cuda:12", "reg.example/mirror/", "reg.example/mirror/nvidia/cuda:12"),
        ("debian:12", "localhost:5000", "localhost:5000/library/debian:12"),
        ("debian:12", "oci:/srv/x", "oci:/srv/x:docker.io/library/debian:12"),
    ],
)
def test_repositories_keep_their_path(source: str, destination: str, target: str) -> None:
    assert module._target_of(parse_reference(source), destination) == target


def test_the_newest_tags_are_chosen_by_date(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = tuple(TagListing(f"t{n}", updated=f"20{30 - n}-01-01T00:00:00Z") for n in range(12))
    monkeypatch.setattr(module, "list_tags", lambda *_, **__: Tags(tags, 12, "date", ()))
    monkeypatch.setattr("time.time", lambda: 1_767_225_600.0)  # 2026
    repository = parse_reference("a")

    def choose(**options: object) -> list[str]:
        return module._choose_tags(
            repository, {}, MirrorOptions(**options), lambda _: True, lambda _: None
        )  # type: ignore[arg-type]

    assert choose(limit=2) == ["t0", "t1"]
    assert choose(newer_than_s=366 * 86400) == ["t0", "t1", "t2", "t3", "t4", "t5"]
    undated = tuple(tag._replace(updated="") for tag in tags)
    monkeypatch.setattr(module, "list_tags", lambda *_, **__: Tags(undated, 12, "name", ()))
    dates = {f"t{n}": tag.updated for n, tag in enumerate(tags)}
    monkeypatch.setattr(module, "_creation", lambda reference, *_: dates[reference.tag])
    assert choose(newer_than_s=366 * 86400, limit=3) == ["t0", "t1", "t2"]
