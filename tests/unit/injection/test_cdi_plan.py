"""Edits of CDI documents as plans: what is added, what replaces what, what hooks become."""

import pytest

from sampan.injection.cdi_hook_jobs import CdiHookError, read_hooks
from sampan.injection.cdi_plan import HostFacts, plan_edits
from sampan.injection.oci import apply_plan
from sampan.model.cdi import CdiDeviceNode, CdiEdits, CdiHook, CdiMount
from sampan.model.facts import CudaCompat, ImageFacts
from sampan.model.hook import (
    HookFile,
    HookLibrary,
    HookLink,
    HookRequest,
    render_hook_arguments,
)
from sampan.model.ldcache import parse_loader_cache
from sampan.model.plan import (
    ImportPlan,
    PlannedDevice,
    PlannedHook,
    PlannedLink,
    PlannedMount,
)
from support.plan_facts import make_facts

FACTS = make_facts()
NAME = "example.com/widget=one"
OPTIONS = ("ro", "nosuid", "nodev", "rbind", "rprivate")
CUDA = CdiMount("/host/libcuda.so.580.1", "/usr/lib64/libcuda.so.580.1", OPTIONS)
HOST = HostFacts({"/host/libcuda.so.580.1": ("x86_64", "libcuda.so.1")})


def nvidia(*words: str, program: str = "/usr/bin/nvidia-cdi-hook") -> CdiHook:
    return CdiHook("createContainer", program, (program.rpartition("/")[2], *words), ("A=b",))


def ours(request: HookRequest) -> CdiHook:
    path = "/usr/libexec/sampan/sampan-hook"
    return CdiHook("createContainer", path, render_hook_arguments(request), ("A=b",))


def plan(edits: CdiEdits, facts: ImageFacts = FACTS, **more: object) -> ImportPlan:
    return plan_edits(edits, facts, names=NAME, **more)  # type: ignore[arg-type]


def cached(planned: ImportPlan) -> dict[str, str]:
    (file,) = [file for file in planned.files if file.path == "/etc/ld.so.cache"]
    entries = parse_loader_cache(file.content).entries
    return {entry.name.decode(): entry.path.decode() for entry in entries}


def test_nodes_get_what_a_document_leaves_out_by_cdis_rules() -> None:
    node = CdiDeviceNode("/dev/widget", "/dev/null", "u", 1, 3)
    (device,) = plan(CdiEdits(device_nodes=(node,)), host=HostFacts(owner=(7, 8))).devices
    assert device == PlannedDevice("/dev/widget", "/dev/null", 1, 3, 0o666, 7, 8, "rwm", "c")


def test_a_node_with_permissions_none_has_no_rule() -> None:
    node = CdiDeviceNode("/dev/widget", "/dev/null", "c", 1, 3, permissions="none")
    planned = plan(CdiEdits(device_nodes=(node,)))
    config = apply_plan({}, planned)
    assert config["linux"]["devices"][0]["path"] == "/dev/widget"
    assert config["linux"]["resources"]["devices"] == []


def test_a_fifo_has_no_numbers_and_a_block_device_stays_one() -> None:
    nodes = (
        CdiDeviceNode("/dev/pipe", "/dev/pipe", "p"),
        CdiDeviceNode("/dev/disk", "/dev/sda", "b", 8, 0, permissions="r"),
    )
    linux = apply_plan({}, plan(CdiEdits(device_nodes=nodes)))["linux"]
    assert "major" not in linux["devices"][0]
    assert linux["devices"][1]["type"] == "b"
    assert linux["resources"]["devices"] == [
        {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "r"}
    ]


def test_what_was_there_before_is_replaced_at_the_same_path() -> None:
    base = ImportPlan(
        mounts=(PlannedMount("/old", "/opt/x", OPTIONS),),
        links=(PlannedLink("/usr/lib64/libcuda.so.580.1", "elsewhere"),),
        environment=(("A", "1"),),
    )
    edits = CdiEdits(env=("A=2", "B=3"), mounts=(CdiMount("/new", "/opt/x", ("ro",)), CUDA))
    planned = plan(edits, base=base)
    assert planned.mounts == (
        PlannedMount("/new", "/opt/x", ("ro",)),
        PlannedMount(CUDA.host_path, CUDA.container_path, OPTIONS),
    )
    assert planned.links == ()
    assert dict(planned.environment) == {"A": "2", "B": "3"}


def test_void_does_not_hide_what_gpus_gave() -> None:
    base = ImportPlan(environment=(("NVIDIA_VISIBLE_DEVICES", "0"),))
    edits = CdiEdits(env=("NVIDIA_VISIBLE_DEVICES=void",))
    assert dict(plan(edits, base=base).environment) == {"NVIDIA_VISIBLE_DEVICES": "0"}
    assert dict(plan(edits).environment) == {"NVIDIA_VISIBLE_DEVICES": "void"}


def test_mounts_follow_the_images_own_links() -> None:
    facts = make_facts(resolved={**FACTS.resolved, "/usr/lib64": "/opt/lib"})
    (mount,) = plan(CdiEdits(mounts=(CUDA,)), facts).mounts
    assert mount.container_path == "/opt/lib/libcuda.so.580.1"


def test_nvidias_hooks_become_links_and_cache_entries() -> None:
    links = ("--link", "libcuda.so.1::/usr/lib64/libcuda.so")
    edits = CdiEdits(
        mounts=(CUDA,),
        hooks=(nvidia("create-symlinks", *links), nvidia("update-ldcache", "--folder=/usr/lib64")),
    )
    planned = plan(edits, host=HOST)
    assert {link.path: link.target for link in planned.links} == {
        "/usr/lib64/libcuda.so": "libcuda.so.1",
        "/usr/lib64/libcuda.so.1": "libcuda.so.580.1",
    }
    assert cached(planned) == {
        "libcuda.so": "/usr/lib64/libcuda.so",
        "libcuda.so.1": "/usr/lib64/libcuda.so.1",
        "libcuda.so.580.1": "/usr/lib64/libcuda.so.580.1",
    }
    assert planned.hooks == ()


def test_the_older_form_of_nvidias_hooks_is_the_same() -> None:
    words = ("hook", "update-ldcache", "--folder", "/usr/lib64")
    jobs = read_hooks([nvidia(*words, program="/usr/bin/nvidia-ctk")])
    assert jobs.folders == ("/usr/lib64",)
    assert jobs.foreign == ()


def test_our_hook_becomes_links_files_and_cache_entries() -> None:
    request = HookRequest(
        libraries=(
            HookLibrary("x86_64", "/usr/lib64", "libcuda.so.580.1", ("libcuda.so.1", "libcuda.so")),
        ),
        links=(HookLink("/usr/lib64/gbm/x.so", "../y.so"),),
        files=(HookFile("/etc/OpenCL/vendors/nvidia.icd", "libnvidia-opencl.so.1\n"),),
    )
    planned = plan(CdiEdits(mounts=(CUDA,), hooks=(ours(request),)))
    assert {link.path: link.target for link in planned.links} == {
        "/usr/lib64/gbm/x.so": "../y.so",
        "/usr/lib64/libcuda.so.1": "libcuda.so.580.1",
        "/usr/lib64/libcuda.so": "libcuda.so.1",
    }
    assert cached(planned)["libcuda.so"] == "/usr/lib64/libcuda.so"
    assert any(file.path == "/etc/OpenCL/vendors/nvidia.icd" for file in planned.files)


def test_the_drivers_params_and_the_profile_are_made_here() -> None:
    edits = CdiEdits(
        device_nodes=(CdiDeviceNode("/dev/nvidia5", "/dev/nvidia5", "c", 195, 5),),
        hooks=(nvidia("disable-device-node-modification"), nvidia("update-application-profile")),
    )
    planned = plan(edits, host=HostFacts(params="ModifyDeviceFiles: 1\n"))
    contents = {file.path: (file.content, file.mount) for file in planned.files}
    assert contents["/proc/driver/nvidia/params"] == (b"ModifyDeviceFiles: 0\n", True)
    profile = "/etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf"
    assert b"0x20" in contents[profile][0]


def compat_facts(version: str) -> ImageFacts:
    compat = CudaCompat("/usr/local/cuda/compat", version, "", ("libcuda.so.1",))
    return make_facts(cuda_compat=compat)


@pytest.mark.parametrize(
    ("version", "directory"), [("590.10", "/usr/local/cuda/compat"), ("570.10", "/usr/lib64")]
)
def test_forward_compatibility_is_decided_by_nvidias_rule(version: str, directory: str) -> None:
    hooks = (
        nvidia("enable-cuda-compat", "--host-driver-version", "580.1"),
        nvidia("update-ldcache", "--folder", "/usr/lib64"),
    )
    planned = plan(CdiEdits(mounts=(CUDA,), hooks=hooks), compat_facts(version), host=HOST)
    assert cached(planned)["libcuda.so.1"] == f"{directory}/libcuda.so.1"


def test_a_jetson_orins_compatibility_libraries_are_those_of_the_document() -> None:
    note = '{"CUDA Version": "13.0", "Driver": []}'
    directory = "/usr/local/cuda/compat_orin"
    facts = make_facts(cuda_compat_orin=CudaCompat(directory, "1.1", note, ("libcuda.so.1",)))
    told = ("enable-cuda-compat", "--host-cuda-version=12.6")
    folder = nvidia("update-ldcache", "--folder", "/usr/lib64")
    for words, place in (
        ((*told, f"--cuda-compat-container-root={directory}"), directory),
        (told, "/usr/lib64"),
        ((*told, "--cuda-compat-container-root=/elsewhere"), "/usr/lib64"),
    ):
        planned = plan(CdiEdits(mounts=(CUDA,), hooks=(nvidia(*words), folder)), facts, host=HOST)
        assert cached(planned)["libcuda.so.1"] == f"{place}/libcuda.so.1"


def test_told_no_version_forward_compatibility_is_left_alone() -> None:
    hooks = (nvidia("enable-cuda-compat"), nvidia("update-ldcache", "--folder", "/usr/lib64"))
    planned = plan(CdiEdits(mounts=(CUDA,), hooks=hooks), compat_facts("590.10"), host=HOST)
    assert cached(planned)["libcuda.so.1"] == "/usr/lib64/libcuda.so.1"


def test_in_a_musl_image_the_libraries_are_named_as_useless() -> None:
    edits = CdiEdits(mounts=(CUDA,), hooks=(nvidia("update-ldcache", "--folder", "/usr/lib64"),))
    planned = plan(edits, make_facts(libc="musl"), host=HOST)
    assert "its C library is musl" in planned.warnings[0]
    assert planned.files == ()


def test_a_hook_of_tomorrow_is_passed_over_with_a_word() -> None:
    assert "'teleport'" in plan(CdiEdits(hooks=(nvidia("teleport"),))).warnings[0]


def test_another_vendors_hook_keeps_its_words_and_gets_an_environment() -> None:
    hook = CdiHook("createRuntime", "/opt/vendor/hook", (), (), 5)
    (planned,) = plan(CdiEdits(hooks=(hook,))).hooks
    assert planned == PlannedHook(
        "createRuntime", "/opt/vendor/hook", ("/opt/vendor/hook",),
        ("PATH=/usr/sbin:/usr/bin:/sbin:/bin",), 5,
    )  # fmt: skip
    config = apply_plan(
        {"hooks": {"createRuntime": [{"path": "/first"}]}}, ImportPlan(hooks=(planned,))
    )
    assert [entry["path"] for entry in config["hooks"]["createRuntime"]] == [
        "/first",
        "/opt/vendor/hook",
    ]
    assert config["hooks"]["createRuntime"][1]["timeout"] == 5


def test_arguments_of_our_hook_in_another_form_are_refused() -> None:
    with pytest.raises(CdiHookError, match="cannot be understood"):
        read_hooks([CdiHook("createContainer", "/x/sampan-hook", ("sampan-hook", "prestart"))])


def test_two_documents_share_one_loader_cache() -> None:
    other = CdiMount("/host/libw.so.1", "/opt/w/libw.so.1", OPTIONS)
    host = HostFacts({**HOST.libraries, "/host/libw.so.1": ("x86_64", "libw.so.1")})
    hooks = (nvidia("update-ldcache", "--folder", "/usr/lib64"),)
    first = plan(CdiEdits(mounts=(CUDA,), hooks=hooks), host=host)
    hooks = (nvidia("update-ldcache", "--folder", "/opt/w"),)
    second = plan(CdiEdits(mounts=(other,), hooks=hooks), host=host, base=first)
    assert {"libcuda.so.1", "libw.so.1"} <= set(cached(second))
