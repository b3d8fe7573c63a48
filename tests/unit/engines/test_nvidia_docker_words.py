"""`sampan docker`: which words are docker's options, and which decide."""

from pathlib import Path

import pytest

from sampan.engines.nvidia_docker import plan_docker_words, read_run_options

DOCKER = """#!/bin/sh
case "$*" in
  *info*) echo '{"ServerVersion": "20.10.24", "Runtimes": {"nvidia": {"path": "x"}, "runc": {"path": "runc"}}}' ;;
  *context*) echo unix:///var/run/docker.sock ;;
esac
"""


@pytest.mark.parametrize(
    ("line", "image"),
    [
        ("img cmd", "img"), ("-it --rm img", "img"), ("-itd -p 80:80 img x", "img"),
        ("-p80:80 -vx:y img", "img"), ("-eA=b -e C img", "img"), ("--name n --gpus all img", "img"),
        ("--name=n -w=/x img", "img"), ("--rm=false img", "img"), ("--read-only -P --init img", "img"),
        ("-- img", "img"), ("-itv a:b img", "img"), ("--name", ""), ("", ""), ("-it", ""),
    ],
)  # fmt: skip
def test_the_image_is_the_first_word_that_is_no_option_and_no_value(line: str, image: str) -> None:
    assert read_run_options(line.split()).image == image


def test_values_are_found_in_every_spelling() -> None:
    options = read_run_options(
        ["-eA=1", "-e", "B", "--env=C=3", "--env", "D=4", "--gpus=all", "img", "-e", "E=5"]
    )
    assert options.variables({"B": "2"}) == {"A": "1", "B": "2", "C": "3", "D": "4"}
    assert options.last("gpus") == "all"
    assert options.last("runtime") is None
    flags = read_run_options(["--rm=false", "-it", "--privileged", "img"])
    assert [flags.is_set(name) for name in ("rm", "i", "privileged", "init")] == [
        False,
        True,
        True,
        False,
    ]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    program = tmp_path / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return str(program)


@pytest.mark.parametrize(
    ("line", "gpus", "added_after", "added"),
    [
        ("run -it img", "", "run", ["--runtime=nvidia"]),
        ("run img", "0 1", "run", ["--runtime=nvidia", "-e", "NVIDIA_VISIBLE_DEVICES=0,1"]),
        ("create img", "GPU-1, GPU-2", "create",
            ["--runtime=nvidia", "-e", "NVIDIA_VISIBLE_DEVICES=GPU-1,GPU-2"]),
        ("-H unix:///x container run img", "", "run", ["--runtime=nvidia"]),
    ],
)  # fmt: skip
def test_run_and_create_get_the_runtime_and_the_gpus_of_nv_gpu(
    docker: str, line: str, gpus: str, added_after: str, added: list[str]
) -> None:
    words = line.split()
    planned = plan_docker_words(words, {"NV_GPU": gpus})
    at = words.index(added_after) + 1
    assert list(planned.arguments) == [docker, *words[:at], *added, *words[at:]]


@pytest.mark.parametrize(
    "line",
    ["ps -a", "exec c run", "--help", "", "-- run x", "build .", "volume create v", "compose run web",
        "--context run ps", "container ls"],
)  # fmt: skip
def test_everything_else_is_dockers_own(docker: str, line: str) -> None:
    planned = plan_docker_words(line.split(), {"NV_GPU": "0"})
    assert planned.arguments == (docker, *line.split())


def test_nv_docker_is_the_command_with_its_own_words(docker: str) -> None:
    planned = plan_docker_words(["version"], {"NV_DOCKER": f"env {docker} --debug"})
    assert planned.arguments[1:] == (docker, "--debug", "version")
    assert planned.asks_version
