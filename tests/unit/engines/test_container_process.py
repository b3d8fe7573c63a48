"""How the user's words and the image's combine into the container's process."""

import pytest

from sampan.engines.native.process import plan_process
from sampan.errors import UsageError
from sampan.model.container import ContainerSpec
from sampan.model.image import ImageConfig, parse_image_config


def image(**run: object) -> ImageConfig:
    return parse_image_config({"config": run})


def arguments(spec: ContainerSpec, config: ImageConfig) -> tuple[str, ...]:
    return plan_process(spec, config, home="/root", hostname="box").arguments


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (ContainerSpec("i"), ("/entry", "-x", "cmd")),
        (ContainerSpec("i", ("mine",)), ("/entry", "-x", "mine")),
        (ContainerSpec("i", entrypoint=("sh",)), ("sh",)),
        (ContainerSpec("i", ("-c", "x"), entrypoint=("sh",)), ("sh", "-c", "x")),
        (ContainerSpec("i", ("mine",), entrypoint=("",)), ("mine",)),
        (ContainerSpec("i", ("mine",), entrypoint=()), ("mine",)),
    ],
)
def test_entrypoint_command_and_words(spec: ContainerSpec, expected: tuple[str, ...]) -> None:
    assert arguments(spec, image(Entrypoint=["/entry", "-x"], Cmd=["cmd"])) == expected


@pytest.mark.parametrize("spec", [ContainerSpec("i"), ContainerSpec("i", entrypoint=("",))])
def test_nothing_to_run_is_said(spec: ContainerSpec) -> None:
    with pytest.raises(UsageError, match="no command to run"):
        arguments(spec, image())


def test_variables_of_the_user_win_over_the_drivers_over_the_images() -> None:
    process = plan_process(
        ContainerSpec("i", ("x",), environment=(("A", "user"), ("EMPTY", "")), terminal=True),
        image(Env=["A=image", "B=image", "C=image", "PATH=/image", "ODD"]),
        home="/home/app",
        hostname="box",
        driver=(("A", "driver"), ("B", "driver")),
    )
    assert dict(line.split("=", 1) for line in process.environment) == {
        "A": "user", "B": "driver", "C": "image", "PATH": "/image", "ODD": "", "EMPTY": "",
        "HOSTNAME": "box", "TERM": "xterm", "HOME": "/home/app",
    }  # fmt: skip


def test_a_variable_of_the_image_can_be_taken_away() -> None:
    process = plan_process(
        ContainerSpec("i", ("x",), removed_variables=("A", "PATH", "HOSTNAME")),
        image(Env=["A=image", "B=image"]),
        home="/root",
        hostname="box",
    )
    assert process.environment == ("B=image", "HOME=/root")


def test_home_of_the_image_or_the_user_is_kept() -> None:
    for spec, config in (
        (ContainerSpec("i", ("x",), environment=(("HOME", "/mine"),)), image()),
        (ContainerSpec("i", ("x",)), image(Env=["HOME=/mine"])),
    ):
        assert "HOME=/mine" in plan_process(spec, config, home="/root", hostname="b").environment


@pytest.mark.parametrize(
    ("asked", "images", "expected"),
    [("", "", "/"), ("", "work/", "/work"), ("/a/../b//c", "/work", "/b/c"), ("", "/../..", "/")],
)
def test_the_working_directory_is_absolute_and_plain(
    asked: str, images: str, expected: str
) -> None:
    spec = ContainerSpec("i", ("x",), working_directory=asked)
    process = plan_process(spec, image(WorkingDir=images), home="/", hostname="b")
    assert process.working_directory == expected
