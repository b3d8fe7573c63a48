"""Facts of an image, from trees that imitate well-known distributions."""

import json
import struct

import pytest

from sampan.images.facts import collect_facts
from sampan.images.facts_json import FactsError, dump_facts, load_facts
from sampan.images.generated import GeneratedPath, pack_generated
from sampan.images.overlay import merge_layers
from sampan.model.elf_note import read_note
from sampan.model.facts import RESOLVED_DIRECTORIES, CudaCompat, ImageFacts
from sampan.model.image import parse_image_config
from sampan.model.layer import EntryKind

BANNER = (
    b"\x7fELF...GNU C Library (Debian GLIBC 2.36-9+deb12u10) stable release version 2.36.\nCopy"
)


def collect(
    files: dict[str, bytes],
    links: dict[str, str] | None = None,
    directories: tuple[str, ...] = (),
    architecture: str = "amd64",
) -> ImageFacts:
    paths = [GeneratedPath(p.encode(), EntryKind.DIRECTORY, 0o755) for p in directories]
    paths += [GeneratedPath(p.encode(), EntryKind.FILE, 0o755, c) for p, c in files.items()]
    paths += [
        GeneratedPath(p.encode(), EntryKind.SYMLINK, 0o777, link=t.encode())
        for p, t in (links or {}).items()
    ]
    pack, _ = pack_generated(paths, "zstd")
    contents = [p.content for p in paths if p.kind == EntryKind.FILE]
    return collect_facts(
        merge_layers([pack]),
        parse_image_config({"architecture": architecture}),
        lambda node, at, limit: contents[node.entry.content][at : at + limit],
        lambda node: len(contents[node.entry.content]),
        digest="sha256:x",
    )


DEBIAN_LINKS = {"lib": "usr/lib", "lib64": "usr/lib64", "bin": "usr/bin"}
DEBIAN = {
    "usr/lib/x86_64-linux-gnu/libc.so.6": BANNER,
    "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": b"loader",
    "usr/bin/dash": b"sh",
    "etc/passwd": b"root:x:0:0::/root:/bin/sh\nj\xf6rg:x:1:1::/:\n",
    "etc/ld.so.cache": b"\0\xffcache",
}
DEBIAN_MORE_LINKS = {
    **DEBIAN_LINKS,
    "usr/lib64/ld-linux-x86-64.so.2": "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "usr/bin/sh": "dash",
}


def test_debian_has_its_directories_resolved_and_its_glibc_read_from_the_library() -> None:
    facts = collect(DEBIAN, DEBIAN_MORE_LINKS)
    assert (facts.libc, facts.libc_version) == ("glibc", "2.36")
    assert facts.interpreter == "/lib64/ld-linux-x86-64.so.2"
    assert facts.resolved["/lib64"] == "/usr/lib64"
    assert facts.resolved["/lib/x86_64-linux-gnu"] == "/usr/lib/x86_64-linux-gnu"
    assert facts.resolved["/usr/share/vulkan/icd.d"] == "/usr/share/vulkan/icd.d"
    assert set(facts.resolved) == set(RESOLVED_DIRECTORIES)
    assert "/usr/bin" in facts.directories
    assert "/bin" not in facts.directories
    assert facts.library_directories == ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")
    assert facts.loader_cache == b"\0\xffcache"
    assert facts.passwd.startswith("root:x:0:0")
    assert facts.group == ""
    assert facts.shell == "/bin/sh"
    assert facts.cuda_compat is None


def test_an_older_glibc_is_told_by_the_name_of_its_file() -> None:
    facts = collect(
        {"lib64/libc-2.28.so": b"no banner", "lib64/ld-2.28.so": b""},
        {"lib64/libc.so.6": "libc-2.28.so", "lib64/ld-linux-x86-64.so.2": "ld-2.28.so"},
    )
    assert (facts.libc, facts.libc_version) == ("glibc", "2.28")
    assert facts.library_directories == ("/lib64",)


def test_arm64_has_its_own_loader_and_directories() -> None:
    facts = collect(
        {
            "lib/ld-linux-aarch64.so.1": b"",
            "lib/aarch64-linux-gnu/libc.so.6": BANNER,
            "usr/lib/aarch64-linux-gnu/x": b"",
        },
        architecture="arm64",
    )
    assert (facts.libc, facts.interpreter) == ("glibc", "/lib/ld-linux-aarch64.so.1")
    assert facts.library_directories[0] == "/usr/lib/aarch64-linux-gnu"
    assert facts.architecture == "arm64"


def test_alpine_is_musl_even_with_gcompat() -> None:
    files = {"lib/ld-musl-x86_64.so.1": b"musl", "bin/busybox": b""}
    facts = collect(files, {"bin/sh": "/bin/busybox"})
    assert (facts.libc, facts.libc_version, facts.interpreter) == (
        "musl", "", "/lib/ld-musl-x86_64.so.1",
    )  # fmt: skip
    assert facts.shell == "/bin/sh"
    gcompat = {"lib64/ld-linux-x86-64.so.2": "../lib/libgcompat.so.0"}
    assert collect({**files, "lib/libgcompat.so.0": b"g"}, gcompat).libc == "musl"


def test_debian_with_its_musl_package_is_glibc() -> None:
    files = {**DEBIAN, "usr/lib/ld-musl-x86_64.so.1": b""}
    assert collect(files, DEBIAN_MORE_LINKS).libc == "glibc"


def test_an_image_with_one_static_program_has_no_libc_and_no_shell() -> None:
    facts = collect({"app": b"static"})
    assert (facts.libc, facts.interpreter, facts.shell) == ("none", "", "")
    assert facts.library_directories == ()
    assert facts.libraries == {}


def test_driver_and_vendor_neutral_libraries_are_listed_with_their_sizes() -> None:
    facts = collect(
        {
            "usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15": b"12345",
            "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1": b"",
            "usr/lib/x86_64-linux-gnu/libEGL.so.1": b"egl",
            "usr/lib/x86_64-linux-gnu/libnvidia-container.so.1": b"not of the driver either",
            "usr/lib/x86_64-linux-gnu/libcudart.so.12": b"not of the driver",
            "usr/local/nvidia/lib64/libcuda.so.1": b"old",
            "opt/libcuda.so.1": b"elsewhere",
        },
        {
            "lib": "usr/lib",
            "usr/lib/x86_64-linux-gnu/libcuda.so.1": "libcuda.so.550.54.15",
            "usr/lib/x86_64-linux-gnu/libGLX_nvidia.so.0": "gone",
        },
    )
    multiarch = "/usr/lib/x86_64-linux-gnu"
    assert facts.libraries == {
        f"{multiarch}/libEGL.so.1": 3,
        f"{multiarch}/libGLX_nvidia.so.0": -1,
        f"{multiarch}/libcuda.so.1": 5,
        f"{multiarch}/libcuda.so.550.54.15": 5,
        f"{multiarch}/libnvidia-ml.so.1": 0,
        "/usr/local/nvidia/lib64/libcuda.so.1": 3,
    }


NOTE = b'{"Format": 1, "CUDA Version": "12.4", "Driver": [535, 550], "Device": []}'


def elf_with_note(name: bytes = b".note.cuda.fwd_compatibility", order: str = "<") -> bytes:
    owner = b"NVIDIA Corporation\0"
    note = struct.pack(order + "III", len(owner), len(NOTE) + 1, 1)
    note += owner.ljust(-(-len(owner) // 4) * 4, b"\0") + NOTE + b"\0"
    names = b"\0.shstrtab\0" + name + b"\0"
    note_at, names_at = 64, 64 + len(note)
    table_at = names_at + len(names)

    def section(name_at: int, kind: int, offset: int, size: int) -> bytes:
        return struct.pack(order + "IIQQQQIIQQ", name_at, kind, 0, 0, offset, size, 0, 0, 4, 0)

    head = b"\x7fELF\x02" + (b"\x01" if order == "<" else b"\x02") + b"\x01" + bytes(9)
    head += struct.pack(order + "HHIQQQIHHHHHH", 3, 62, 1, 0, 0, table_at, 0, 64, 0, 0, 64, 3, 1)
    table = (
        section(0, 0, 0, 0)
        + section(1, 3, names_at, len(names))
        + section(11, 7, note_at, len(note))
    )
    return head + note + names + table


def test_forward_compatibility_libraries_are_found_through_links_with_their_note() -> None:
    facts = collect(
        {"usr/local/cuda-12.4/compat/libcuda.so.550.54.15": elf_with_note()},
        {
            "usr/local/cuda": "/etc/alternatives/cuda",
            "etc/alternatives/cuda": "/usr/local/cuda-12.4",
            "usr/local/cuda-12.4/compat/libcuda.so.1": "libcuda.so.550.54.15",
        },
    )
    assert facts.cuda_compat == CudaCompat(
        "/usr/local/cuda-12.4/compat",
        "550.54.15",
        NOTE.decode(),
        ("libcuda.so.1", "libcuda.so.550.54.15"),
    )
    assert facts.resolved["/usr/local/cuda/compat"] == "/usr/local/cuda-12.4/compat"


def test_a_jetson_orins_compatibility_libraries_are_known_apart() -> None:
    facts = collect({"usr/local/cuda/compat_orin/libcuda.so.1.1": elf_with_note()})
    assert facts.cuda_compat is None
    assert facts.cuda_compat_orin is not None
    assert facts.cuda_compat_orin.directory == "/usr/local/cuda/compat_orin"
    assert load_facts(dump_facts(facts)) == facts


def test_a_compatibility_library_without_note_is_still_named() -> None:
    facts = collect({"usr/local/cuda/compat/libcuda.so.470.82.01": b"no elf"})
    assert facts.cuda_compat == CudaCompat(
        "/usr/local/cuda/compat", "470.82.01", "", ("libcuda.so.470.82.01",)
    )


def test_two_compatibility_libraries_are_none() -> None:
    files = {f"usr/local/cuda/compat/libcuda.so.{v}": b"x" for v in ("550.1.1", "535.1.1")}
    assert collect(files).cuda_compat is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_note_is_read_in_both_byte_orders(order: str) -> None:
    data = elf_with_note(order=order)
    assert read_note(lambda at, n: data[at : at + n], b".note.cuda.fwd_compatibility",
                     b"NVIDIA Corporation") == NOTE  # fmt: skip


def test_no_damage_to_the_elf_file_does_more_than_lose_the_note() -> None:
    good = elf_with_note()
    for at in range(len(good)):
        for value in (0, 0xFF):
            data = good[:at] + bytes([value]) + good[at + 1 :]
            asked: list[int] = []

            def read(offset: int, limit: int, data=data, asked=asked) -> bytes:
                asked.append(limit)
                return data[offset : offset + limit]

            read_note(read, b".note.cuda.fwd_compatibility", b"NVIDIA Corporation")
            assert max(asked) <= 1 << 20
    for end in range(len(good)):
        cut = good[:end]
        read_note(lambda at, n, cut=cut: cut[at : at + n], b".note", b"NVIDIA Corporation")


def test_links_that_never_end_are_left_alone() -> None:
    facts = collect(
        {"etc/group": b"root:x:0:\n"}, {"lib": "lib", "usr": "/usr/../usr", "bin": "/bin/bin"}
    )
    assert facts.resolved["/lib"] == "/lib"
    assert facts.libc == "none"
    assert facts.group == "root:x:0:\n"


def test_facts_survive_their_file_whatever_the_bytes() -> None:
    facts = collect(DEBIAN, DEBIAN_MORE_LINKS)._replace(
        cuda_compat=CudaCompat(
            "/usr/local/cuda/compat", "550.54.15", NOTE.decode(), ("libcuda.so.1",)
        )
    )
    assert load_facts(dump_facts(facts)) == facts
    assert dump_facts(facts) == dump_facts(load_facts(dump_facts(facts)))
    assert "\udcf6" in facts.passwd


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"version": 2}', b'{"version": 2, "loader_cache": 3}', b"\xff\xfe"],
)
def test_a_damaged_facts_file_says_so(data: bytes) -> None:
    with pytest.raises(FactsError, match="damaged"):
        load_facts(data)


def test_facts_of_another_version_ask_for_a_new_import() -> None:
    document = json.loads(dump_facts(collect({})))
    document["version"] = 99
    with pytest.raises(FactsError) as caught:
        load_facts(json.dumps(document).encode())
    assert "version 99" in caught.value.evidence
    assert "sampan import" in caught.value.remedy


def test_a_compatibility_library_with_an_odd_version_counts_as_one_of_several() -> None:
    place = "usr/local/cuda/compat/libcuda.so."
    odd = collect({f"{place}r550.beta": elf_with_note()}).cuda_compat
    assert odd is not None
    assert odd.version == "r550.beta"
    both = {f"{place}r550.beta": elf_with_note(), f"{place}550.54.15": elf_with_note()}
    assert collect(both).cuda_compat is None
