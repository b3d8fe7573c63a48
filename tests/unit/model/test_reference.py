"""Image names are read as docker reads them."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.model.reference import ImageNameError, parse_reference

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("index.docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("me/app:1.0-rc_1", "docker.io/me/app:1.0-rc_1", "me/app:1.0-rc_1"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/a/b", "localhost:5000/a/b:latest", "localhost:5000/a/b:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        ("nvcr.io/nvidia/pytorch:24.05-py3",) * 3,
        ("Host.example/a:T", "Host.example/a:T", "Host.example/a:T"),
        (f"debian@{DIGEST}", f"docker.io/library/debian@{DIGEST}", f"debian@{DIGEST}"),
        (f"debian:12@{DIGEST}", f"docker.io/library/debian:12@{DIGEST}", f"debian:12@{DIGEST}"),
        ("a__b/c---d/e.f", "docker.io/a__b/c---d/e.f:latest", "a__b/c---d/e.f:latest"),
    ],
)
def test_a_name_gets_dockers_defaults_and_is_shown_without_them(
    text: str, full: str, familiar: str
) -> None:
    reference = parse_reference(text)
    assert str(reference) == full
    assert reference.familiar == familiar


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("docker://debian:12", "docker.io/library/debian:12"),
        ("docker://nvcr.io/nvidia/cuda:12", "nvcr.io/nvidia/cuda:12"),
        (f"docker://debian:12@{DIGEST}", f"docker.io/library/debian:12@{DIGEST}"),
        ("nvcr.io#nvidia/cuda:12", "nvcr.io/nvidia/cuda:12"),
        ("docker://nvcr.io#nvidia/cuda:12", "nvcr.io/nvidia/cuda:12"),
        ("docker://$oauthtoken@nvcr.io#nvidia/cuda:12", "nvcr.io/nvidia/cuda:12"),
        ("$oauthtoken@nvcr.io#nvidia/cuda:12", "nvcr.io/nvidia/cuda:12"),
        (f"docker://me@nvcr.io#nvidia/cuda@{DIGEST}", f"nvcr.io/nvidia/cuda@{DIGEST}"),
        ("docker://me@ubuntu:22.04", "docker.io/library/ubuntu:22.04"),
        ("docker://localhost:5000#a", "localhost:5000/a:latest"),
        ("docker://[::1]:5000#a", "[::1]:5000/a:latest"),
        ("oras://ghcr.io/me/tool:1", "oras://ghcr.io/me/tool:1"),
        (f"oras://ghcr.io/me/tool@{DIGEST}", f"oras://ghcr.io/me/tool@{DIGEST}"),
    ],
)
def test_names_as_apptainer_skopeo_and_enroot_write_them_are_read(text: str, full: str) -> None:
    reference = parse_reference(text)
    assert str(reference) == full
    assert parse_reference(full) == reference
    assert parse_reference(reference.familiar) == reference
    assert reference.is_artifact is text.startswith("oras://")


@pytest.mark.parametrize(
    ("text", "evidence", "remedy"),
    [
        ("https://nvcr.io/nvidia/cuda:12", "https: is no", "without scheme: nvcr.io/nvidia/cuda:12"),
        ("library://alpine", "library: is no", "apptainer pull"),
        ("shub://a/b", "shub: is no", "gone"),
        ("docker-daemon:alpine:3", "docker-daemon: is no", "docker save -o FILE alpine:3"),
        ("dockerd://alpine", "dockerd: is no", "docker save -o FILE alpine"),
        ("containers-storage:localhost/a:1", "containers-storage: is no", "podman save"),
        ("docker-archive:/tmp/x.tar", "file or directory", "sampan import docker-archive:/tmp/x.tar"),
        ("oci:./layout:1", "file or directory", "sampan import oci:./layout:1"),
        ("ftp://a/b", "is not known", "docker:// and oras://"),
        ("acme#image:1", "cannot be told", "acme:443/image:1"),
        ("#image:1", "cannot be told", "registry.example:443/image:1"),
        # A pin that is wrong is never read as a user's name.
        ("docker://image@sha256:abc", "64 hexadecimal digits", ""),
        ("docker://image@md5:" + "0" * 32, "is no digest", ""),
        ("docker://", "empty", ""),
        ("oras://", "empty", ""),
    ],
)  # fmt: skip
def test_what_is_written_for_something_else_is_told_what_to_type(
    text: str, evidence: str, remedy: str
) -> None:
    with pytest.raises(ImageNameError) as caught:
        parse_reference(text)
    assert evidence in caught.value.evidence
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ("", "empty"),
        ("a//b", "empty"),
        ("a/", "empty"),
        ("Debian", "capital letters"),
        ("a b", "' ' cannot stand in a name"),
        ("a/../etc", "between them"),
        ("a___b", "between them"),
        ("a..b", "between them"),
        ("-a", "between them"),
        ("a:", "tag after ':' is empty"),
        ("a:.x", "is no tag"),
        ("a:" + "t" * 129, "longer than 128"),
        ("a@md5:abc", "is no digest"),
        ("a@sha256:abc", "64 hexadecimal digits"),
        ("a" * 64, "an image id"),
        ("localhost:x/a", "is no port"),
        ("-bad.example/a", "is no host name"),
        ("x/" * 130 + "a", "longer than 255"),
        ("a\n", "cannot stand in a name"),
        ("\N{GREEK SMALL LETTER ALPHA}", "cannot stand in a name"),
    ],
)
def test_what_is_no_name_is_refused_with_the_reason(text: str, evidence: str) -> None:
    with pytest.raises(ImageNameError) as caught:
        parse_reference(text)
    assert evidence in caught.value.evidence


def test_a_name_in_capitals_gets_the_lower_case_one_as_remedy() -> None:
    with pytest.raises(ImageNameError) as caught:
        parse_reference("My/Image")
    assert caught.value.remedy == "did you mean my/image"


@given(
    st.builds(
        str.__add__,
        st.sampled_from(["", "docker://", "oras://", "oci:"]),
        st.text(alphabet="abz09._-/:@A[]\n\x00é#", max_size=40),
    )
)
def test_any_text_is_a_name_that_reads_back_the_same_or_is_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except ImageNameError:
        return
    assert parse_reference(str(reference)) == reference
    assert parse_reference(reference.familiar) == reference


def test_reading_a_name_imports_almost_nothing() -> None:
    code = "import sys, sampan.model.reference; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"re", "json", "pathlib", "dataclasses", "enum"} & set(done.stdout.split()) - set(
        _bare_modules()
    )


def _bare_modules() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", "import sys, typing; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("docker.io/evil.example/tool", "docker.io/evil.example/tool:latest"),
        ("docker.io/localhost/tool", "docker.io/localhost/tool:latest"),
        ("docker.io/library/a/b", "library/a/b:latest"),
        ("docker.io/library/evil.example/tool", "library/evil.example/tool:latest"),
        ("docker.io/library/debian", "debian:latest"),
    ],
)
def test_a_short_form_never_names_another_image(text: str, familiar: str) -> None:
    name = parse_reference(text)
    assert name.familiar == familiar
    assert parse_reference(familiar) == name
