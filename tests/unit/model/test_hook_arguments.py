"""The argument vector between a CDI document and the hook."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.model.hook import (
    HookArgumentsError,
    HookFile,
    HookLibrary,
    HookLink,
    HookRequest,
    parse_hook_arguments,
    render_hook_arguments,
)

NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True)
DIRECTORIES = NAMES.map(lambda name: f"/usr/lib/{name}")
LIBRARIES = st.builds(
    HookLibrary,
    st.sampled_from(["x86_64", "i386", "aarch64"]),
    DIRECTORIES,
    NAMES,
    st.lists(NAMES, max_size=3).map(tuple),
)
REQUESTS = st.builds(
    HookRequest,
    libraries=st.lists(LIBRARIES, max_size=6).map(tuple),
    links=st.lists(st.builds(HookLink, DIRECTORIES, NAMES), max_size=3).map(tuple),
    files=st.lists(st.builds(HookFile, DIRECTORIES, st.text()), max_size=2).map(tuple),
    driver_version=st.sampled_from(["", "580.95.05"]),
    cuda_version=st.sampled_from(["", "13.0"]),
    params=st.booleans(),
    application_profile=st.booleans(),
    compat_directory=st.sampled_from(["", "/usr/local/cuda/compat_orin"]),
    unknown=st.just(()),
)


@given(REQUESTS)
def test_the_hook_reads_what_the_document_says(request: HookRequest) -> None:
    assert parse_hook_arguments(render_hook_arguments(request)) == request


def test_libraries_of_one_directory_name_it_once() -> None:
    words = render_hook_arguments(
        HookRequest(
            (
                HookLibrary("x86_64", "/usr/lib", "libcuda.so.580", ("libcuda.so.1", "libcuda.so")),
                HookLibrary("x86_64", "/usr/lib", "libnvoptix.so.1"),
            )
        )
    )
    assert words[:4] == ("sampan-hook", "createContainer", "--contract", "1")
    assert words[4:] == (
        "--library-directory", "x86_64::/usr/lib",
        "--library", "libcuda.so.580=libcuda.so.1,libcuda.so",
        "--library", "libnvoptix.so.1",
    )  # fmt: skip


def test_an_option_of_a_newer_document_is_stepped_over() -> None:
    request = parse_hook_arguments(
        ["sampan-hook", "createContainer", "--contract", "2", "--new", "x", "--link", "a::/b"]
    )
    assert request.unknown == ("--contract", "2", "--new", "x")
    assert request.links == (HookLink("/b", "a"),)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["sampan-hook"],
        ["sampan-hook", "prestart"],
        ["sampan-hook", "createContainer", "--link"],
        ["sampan-hook", "createContainer", "--link", "only-a-target"],
        ["sampan-hook", "createContainer", "--link", "a::relative"],
        ["sampan-hook", "createContainer", "--file", "relative::text"],
        ["sampan-hook", "createContainer", "--library", "libcuda.so.1"],
        ["sampan-hook", "createContainer", "word", "word"],
    ],
)
def test_a_vector_of_another_form_is_refused(words: list[str]) -> None:
    with pytest.raises(HookArgumentsError):
        parse_hook_arguments(words)


def test_a_name_that_would_change_the_meaning_is_not_written() -> None:
    library = HookLibrary("x86_64", "/usr/lib", "libcuda.so.1=x", ())
    with pytest.raises(HookArgumentsError):
        render_hook_arguments(HookRequest((library,)))
