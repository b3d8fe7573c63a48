"""The program around the commands: what a user sees when it cannot go on."""

import os
import subprocess
import sys

import pytest


def sampan(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sampan", *arguments],
        capture_output="stdout" not in options, text=True, **options,
    )  # fmt: skip


def test_without_arguments_the_commands_are_listed():
    assert "  run            run a command in a new container\n" in sampan().stdout


def test_a_misspelt_command_is_answered_with_the_nearest_one():
    done = sampan("rnu")
    assert done.returncode == 125
    assert done.stderr == "error[usage]: no command 'rnu'\n  remedy:   did you mean: sampan run\n"


def test_an_unknown_option_is_refused_with_docker_s_exit_code():
    done = sampan("images", "--no-such-option")
    assert done.returncode == 125
    assert done.stderr.startswith("error[usage]: unrecognized arguments: --no-such-option\n")


@pytest.mark.parametrize(
    "words",
    [
        ("login", "-u", "jo", "-p", "hunter22", "registry.example"),
        ("login", "-u", "jo", "-phunter22", "registry.example"),
        ("login", "--password=hunter22", "registry.example"),
        ("login", "--password-stdin=hunter22", "registry.example"),
        ("pull", "--creds", "jo:hunter22", "registry.example/a:1"),
        ("copy", "--src-creds=jo:hunter22", "registry.example/a:1", "oci:/nowhere"),
        ("pull", "https://jo:hunter22@registry.example/a:1"),
        ("pull", "jo:hunter22@registry.example/a:1"),
        ("login", "https://jo:hunter22@registry.example/"),
        ("login", "nvapi-hunter22"),
    ],
)
def test_a_password_on_the_command_line_is_refused_and_not_repeated(words):
    done = sampan(*words)
    assert done.returncode == 125
    assert "hunter22" not in done.stderr + done.stdout
    if words[0] == "login" and "--password-stdin=hunter22" not in words:
        assert "--password-stdin" in done.stderr


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("pull", "--authfile", "f", "a:1"), "REGISTRY_AUTH_FILE=FILE sampan pull ..."),
        (("copy", "--src-tls-verify=false", "a:1", "b:1"), "sampan copy --tls-verify=false ..."),
        (("pull", "--arch=arm64", "a:1"), "sampan pull --platform OS/ARCH[/VARIANT] ..."),
        (("pull", "-a", "a"), "sampan mirror takes all tags of a repository"),
    ],
)
def test_options_of_podman_and_skopeo_are_answered_with_ours(words, remedy):
    done = sampan(*words)
    assert done.returncode == 125
    assert done.stderr.endswith(f"  remedy:   {remedy}\n")


def test_a_usage_error_names_the_help_of_the_command_that_was_typed():
    assert sampan("rmi").stderr.endswith("  remedy:   sampan rmi --help shows the options\n")


def test_a_misspelt_option_of_the_program_is_called_an_option():
    done = sampan("--verison")
    assert done.returncode == 125
    assert done.stderr == (
        "error[usage]: no option '--verison'\n  remedy:   did you mean: sampan --version\n"
    )


def test_help_with_a_command_s_name_shows_that_command_s_help():
    assert sampan("help", "rmi").stdout == sampan("rmi", "--help").stdout


def test_a_full_disk_behind_standard_output_is_an_error_without_a_traceback(tmp_path):
    with open("/dev/full", "w") as full:
        done = sampan(
            "images", stdout=full, stderr=subprocess.PIPE,
            env={**os.environ, "SAMPAN_STORE": str(tmp_path / "store")},
        )  # fmt: skip
    assert done.returncode == 125
    assert done.stderr.splitlines() == [
        "error[operating-system]: sampan images failed",
        "  evidence: No space left on device",
    ]


def test_a_reader_that_goes_away_ends_the_program_quietly():
    read, write = os.pipe()
    os.close(read)
    done = sampan("--help", stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("shell", "debian"), "sampan run --rm -it IMAGE sh"),
        (("instance", "start"), "sampan run -d --name NAME IMAGE COMMAND; sampan ps; sampan stop NAME"),
        (("cache", "list"), "sampan store du    or: sampan prune"),
        (("run", "--nv", "debian", "true"), "sampan run --gpus all ..."),
        (("run", "--bind=/tmp", "debian", "true"), "sampan run -v SOURCE:TARGET ..."),
        (("run", "-P", "debian"), "sampan run -p HOST:PORT ..., once for each port"),
    ],
)  # fmt: skip
def test_habits_from_docker_and_apptainer_are_answered_with_what_to_type_here(words, remedy):
    done = sampan(*words)
    assert done.returncode == 125
    assert done.stderr.endswith(f"  remedy:   {remedy}\n")


def test_building_is_answered_with_the_way_from_docker():
    error = sampan("build", ".").stderr
    assert "sampan does not build images" in error
    assert "sampan import docker-archive:- NAME" in error


@pytest.mark.parametrize("command", ["run", "explain"])
@pytest.mark.parametrize("place", ["tool.sif", "./tool.sif"])
def test_a_file_in_place_of_an_image_is_answered_with_import(tmp_path, command, place):
    (tmp_path / "tool.sif").write_bytes(b"x")
    store = {**os.environ, "SAMPAN_STORE": str(tmp_path / "store")}
    done = sampan(command, place, *(["true"] if command == "run" else []), env=store, cwd=tmp_path)
    assert done.returncode == 125
    assert f"{place} is a file, not the name of an image" in done.stderr
    assert f"sampan import {place} NAME" in done.stderr


def test_exec_of_something_that_is_no_container_names_the_way_for_images():
    assert "for an image: sampan run --rm no/such COMMAND" in sampan("exec", "no/such", "ls").stderr
