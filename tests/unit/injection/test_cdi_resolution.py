"""What qualified names stand for when several documents are loaded."""

import pytest

from sampan.injection.cdi_resolve import (
    LoadedSpec,
    UnresolvableDeviceError,
    collect_devices,
    merge_edits,
    resolve_devices,
)
from sampan.model.cdi import CdiDevice, CdiDeviceNode, CdiEdits, CdiHook, CdiMount, CdiSpec


def loaded(
    path: str, priority: int, *names: str, env: str = "", kind: str = "v.com/c"
) -> LoadedSpec:
    devices = tuple(CdiDevice(n, CdiEdits(env=(f"{n}={path}",))) for n in names)
    edits = CdiEdits(env=(env,)) if env else CdiEdits()
    return LoadedSpec(path, priority, CdiSpec("0.3.0", kind, devices, edits))


def test_a_later_directory_hides_the_device_of_an_earlier_one() -> None:
    specs = [loaded("/etc/cdi/a", 0, "a", "b"), loaded("/var/run/cdi/a", 1, "a")]
    found = collect_devices(specs).found
    assert {name: spec.path for name, (spec, _) in found.items()} == {
        "v.com/c=a": "/var/run/cdi/a",
        "v.com/c=b": "/etc/cdi/a",
    }


def test_the_same_name_twice_in_a_directory_is_nobodys() -> None:
    specs = [loaded("/etc/cdi/a", 0, "a"), loaded("/etc/cdi/b", 0, "a", "b")]
    devices = collect_devices(specs)
    assert devices.conflicts == {"v.com/c=a": ("/etc/cdi/a", "/etc/cdi/b")}
    assert list(devices.found) == ["v.com/c=b"]
    with pytest.raises(UnresolvableDeviceError, match="more than once"):
        resolve_devices(["v.com/c=a"], specs)


def test_a_conflict_below_is_settled_by_the_directory_above() -> None:
    specs = [loaded("/a/a", 0, "a"), loaded("/a/b", 0, "a"), loaded("/b/c", 1, "a")]
    assert collect_devices(specs).conflicts == {}


def test_a_documents_own_edits_count_once() -> None:
    specs = [loaded("/a", 0, "a", "b", env="X=1"), loaded("/b", 0, "c", env="Y=1", kind="w.com/c")]
    edits = resolve_devices(["v.com/c=b", "w.com/c=c", "v.com/c=a", "v.com/c=b"], specs)
    assert edits.env == ("X=1", "b=/a", "Y=1", "c=/b", "a=/a")


def test_the_same_path_is_replaced_and_parents_are_mounted_first() -> None:
    first = CdiEdits(
        device_nodes=(CdiDeviceNode("/dev/x", major=1),),
        mounts=(CdiMount("/h", "/a/b/c"), CdiMount("/h", "/z")),
    )
    second = CdiEdits(
        device_nodes=(CdiDeviceNode("/dev/y"), CdiDeviceNode("/dev/x", major=2)),
        mounts=(CdiMount("/i", "/a/b/c"), CdiMount("/h", "/a")),
        additional_gids=(0, 44, 44),
    )
    merged = merge_edits([first, second])
    assert [(n.path, n.major) for n in merged.device_nodes] == [("/dev/y", None), ("/dev/x", 2)]
    assert [(m.container_path, m.host_path) for m in merged.mounts] == [
        ("/z", "/h"), ("/a", "/h"), ("/a/b/c", "/i"),
    ]  # fmt: skip
    assert merged.additional_gids == (44,)


def test_a_hook_that_two_devices_share_runs_once() -> None:
    hook = CdiHook("createContainer", "/x", ("x",))
    assert merge_edits([CdiEdits(hooks=(hook,)), CdiEdits(hooks=(hook,))]).hooks == (hook,)


@pytest.mark.parametrize(
    ("names", "specs", "said"),
    [
        (["v.com/c=x"], [loaded("/a", 0, "a")], "v.com/c has a"),
        (["w.com/c=x"], [loaded("/a", 0, "a")], "there are v.com/c"),
        (["v.com/c=x", "v.com/c=y"], [], "no valid file"),
    ],
)
def test_an_unknown_device_is_told_with_what_there_is(
    names: list[str], specs: list[LoadedSpec], said: str
) -> None:
    with pytest.raises(UnresolvableDeviceError) as caught:
        resolve_devices(names, specs)
    assert said in caught.value.evidence
    assert all(name in caught.value.cause for name in names)
