"""Image configurations as strangers write them (image-spec, config.md)."""

from typing import Any

import pytest

from sampan.model.image import ImageConfigError, parse_image_config


def test_absent_and_null_members_take_the_defaults() -> None:
    for run in (
        None,
        {},
        {"Env": None, "Cmd": None, "Volumes": None, "Labels": None, "User": None},
    ):
        image = parse_image_config({"config": run, "rootfs": None})
        assert (image.environment, image.command, image.volumes, image.labels) == ((), (), (), {})
        assert (image.user, str(image.platform)) == ("", "linux/amd64")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("Env", {"A": "b"}),
        ("Env", ["A=b", None]),
        ("Env", ["A=b\0c"]),
        ("Env", "A=b"),
        ("Entrypoint", "/bin/sh -c true"),
        ("Entrypoint", [1]),
        ("Entrypoint", ["/bin/sh\0"]),
        ("Cmd", [None]),
        ("WorkingDir", 5),
        ("WorkingDir", "/a\0b"),
        ("WorkingDir", "/\ud800"),
        ("User", ["root"]),
        ("StopSignal", -5),
        ("Volumes", ["/a"]),
        ("Volumes", {"/a\0b": {}}),
        ("Labels", ["a"]),
        ("Labels", {"a": 1}),
    ],
)
def test_a_member_of_another_type_is_refused_by_its_name(member: str, value: Any) -> None:
    with pytest.raises(ImageConfigError, match=member):
        parse_image_config({"config": {member: value}})


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"config": [1]},
        {"rootfs": [1]},
        {"rootfs": {"diff_ids": "x"}},
        {"architecture": ["a"]},
        {"os": 5},
    ],
)
def test_a_document_of_another_form_is_refused(document: Any) -> None:
    with pytest.raises(ImageConfigError):
        parse_image_config(document)
