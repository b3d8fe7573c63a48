"""Configurations of root file systems, and --change."""

import json
from typing import Any

import pytest

from sampan.errors import UsageError
from sampan.images.sources.changes import change_config, detect_architecture, make_config
from sampan.model.image import Platform, match_platform, parse_image_config, parse_platform
from sampan.model.layer import Entry, EntryKind

AMD64 = Platform("linux", "amd64")
DIFF = "sha256:" + "0" * 64


def changed(*changes: str, start: dict[str, Any] | None = None) -> dict[str, Any]:
    document = json.loads(change_config(json.dumps({"config": start or {}}).encode(), changes))
    return dict(document["config"])


def test_a_made_configuration_has_no_time_and_reads_back() -> None:
    config = make_config(Platform("linux", "arm64", "v8"), [DIFF], ['CMD ["sh"]'])
    assert config == make_config(Platform("linux", "arm64", "v8"), [DIFF], ['CMD ["sh"]'])
    parsed = parse_image_config(json.loads(config))
    assert parsed.platform == Platform("linux", "arm64", "v8")
    assert parsed.diff_ids == (DIFF,)
    assert parsed.command == ("sh",)


def test_no_change_leaves_a_configuration_byte_by_byte() -> None:
    assert change_config(b'{ "config" :{}}', []) == b'{ "config" :{}}'


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('CMD ["a", "b c"]', {"Cmd": ["a", "b c"]}),
        ("cmd a b", {"Cmd": ["/bin/sh", "-c", "a b"]}),
        ('ENTRYPOINT ["/x"]', {"Entrypoint": ["/x"]}),
        ("WORKDIR /a b", {"WorkingDir": "/a b"}),
        ("USER 1000:1000", {"User": "1000:1000"}),
        ("STOPSIGNAL SIGINT", {"StopSignal": "SIGINT"}),
        ('ENV A=1 B="2 3"', {"Env": ["A=1", "B=2 3"]}),
        ("ENV A one two", {"Env": ["A=one two"]}),
        ('LABEL a.b="c d" e=f', {"Labels": {"a.b": "c d", "e": "f"}}),
        ('VOLUME ["/data", "/x"]', {"Volumes": {"/data": {}, "/x": {}}}),
        ("VOLUME /data /x", {"Volumes": {"/data": {}, "/x": {}}}),
        ("EXPOSE 80 53/udp", {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}),
    ],
)
def test_an_instruction_changes_the_configuration_as_docker_import_does(
    change: str, expected: dict[str, Any]
) -> None:
    assert changed(change) == expected


def test_a_variable_replaces_the_one_of_the_same_name() -> None:
    assert changed("ENV A=2", start={"Env": ["A=1", "B=1"]}) == {"Env": ["B=1", "A=2"]}


@pytest.mark.parametrize(
    "change", ["RUN x", "CMD", "ENV", "ENV =1", 'ENV A="', "USER", "WORKDIR", "LABEL", ""]
)
def test_what_cannot_be_changed_is_refused(change: str) -> None:
    with pytest.raises(UsageError):
        changed(change)


def entry(path: bytes) -> Entry:
    return Entry(path, EntryKind.FILE, 0o755, 0, 0, 0, b"", (0, 0), (), 0)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([b"lib64/ld-linux-x86-64.so.2"], "amd64"),
        ([b"usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"], "arm64"),
        ([b"lib/ld-musl-aarch64.so.1"], "arm64"),
        ([b"lib/ld-linux.so.2", b"lib64/ld-linux-x86-64.so.2"], "amd64"),
        ([b"lib/ld-linux.so.2"], "386"),
        ([b"usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1"], "s390x"),
        ([b"lib/ld64.so.1", b"lib/ld-linux-aarch64.so.1"], "s390x"),
        ([], "s390x"),
    ],
)
def test_a_tree_is_for_the_machine_whose_loader_it_has(paths: list[bytes], expected: str) -> None:
    assert detect_architecture(map(entry, paths), host="s390x") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/arm64/v8", Platform("linux", "arm64", "v8")),
        ("aarch64", Platform("linux", "arm64")),
        ("Linux/x86_64", AMD64),
        ("armv6l", Platform("linux", "arm", "v6")),
    ],
)
def test_a_platform_is_read_in_gos_and_the_kernels_words(text: str, expected: Platform) -> None:
    assert parse_platform(text) == expected


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_platform(text)


def test_a_default_variant_is_the_same_as_none() -> None:
    v7, v8 = Platform("linux", "arm", "v7"), Platform("linux", "arm", "v8")
    assert match_platform(Platform("linux", "arm"), v7) > match_platform(
        Platform("linux", "arm"), v8
    )
    assert match_platform(v7, Platform("linux", "arm")) > 0
    assert match_platform(v8, v7) == 0
    assert match_platform(AMD64, Platform("windows", "amd64")) == 0
