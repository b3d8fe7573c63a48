"""CDI documents: reading, writing, what is refused, which version they need."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.injection.cdi_document import CdiDocumentError, decode_spec, encode_spec
from sampan.injection.cdi_names import (
    CdiNameError,
    is_qualified,
    requested_devices,
    split_qualified,
)
from sampan.injection.cdi_versions import required_version
from sampan.model.cdi import (
    CdiDevice,
    CdiDeviceNode,
    CdiEdits,
    CdiHook,
    CdiIntelRdt,
    CdiMount,
    CdiNetDevice,
    CdiSpec,
)


def document(**changes: Any) -> dict[str, Any]:
    """A small valid document."""
    edits = {"deviceNodes": [{"path": "/dev/x"}]}
    start = {"cdiVersion": "0.3.0", "kind": "vendor.com/class"}
    return {**start, "devices": [{"name": "one", "containerEdits": edits}], **changes}


def with_edits(version: str = "1.1.0", **edits: Any) -> dict[str, Any]:
    return document(cdiVersion=version, devices=[{"name": "one", "containerEdits": edits}])


WORDS = st.from_regex(r"[A-Za-z]([A-Za-z0-9_-]{0,6}[A-Za-z0-9])?", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
FILLED = TEXTS.filter(bool)
ENV = st.builds(lambda name, value: f"{name}={value}", WORDS, TEXTS)
NUMBERS = st.none() | st.integers(0, 1 << 20)
NODES = st.builds(
    CdiDeviceNode,
    path=FILLED,
    host_path=TEXTS,
    kind=st.sampled_from(["", "b", "c", "u", "p"]),
    major=NUMBERS,
    minor=NUMBERS,
    file_mode=NUMBERS,
    permissions=st.sampled_from(["", "r", "rwm", "none"]),
    uid=NUMBERS,
    gid=NUMBERS,
)
LISTS = st.lists(TEXTS, max_size=3).map(tuple)
MOUNTS = st.builds(CdiMount, host_path=FILLED, container_path=FILLED, options=LISTS, kind=TEXTS)
HOOKS = st.builds(
    CdiHook,
    name=st.sampled_from(["createContainer", "poststop"]),
    path=TEXTS.map(lambda text: f"/{text}"),
    args=LISTS,
    env=st.lists(ENV, max_size=2).map(tuple),
    timeout=NUMBERS,
)
RDT = st.builds(
    CdiIntelRdt,
    clos_id=WORDS,
    l3_cache_schema=TEXTS,
    mem_bw_schema=TEXTS,
    schemata=LISTS,
    enable_cmt=st.booleans(),
    enable_mbm=st.booleans(),
    enable_monitoring=st.booleans(),
)
EDITS = st.builds(
    CdiEdits,
    env=st.lists(ENV, max_size=2).map(tuple),
    device_nodes=st.lists(NODES, max_size=2).map(tuple),
    net_devices=st.lists(
        st.builds(CdiNetDevice, WORDS, WORDS),
        max_size=2,
        unique_by=(lambda d: d[0], lambda d: d[1]),
    ).map(tuple),
    mounts=st.lists(MOUNTS, max_size=2).map(tuple),
    hooks=st.lists(HOOKS, max_size=2).map(tuple),
    additional_gids=st.lists(st.integers(0, 70000), max_size=2).map(tuple),
    intel_rdt=st.none() | RDT,
)
ANNOTATIONS = st.dictionaries(WORDS, TEXTS, max_size=2).map(lambda d: tuple(sorted(d.items())))
DEVICES = st.builds(
    CdiDevice, name=WORDS, edits=EDITS.filter(lambda e: e != CdiEdits()), annotations=ANNOTATIONS
)
SPECS = st.builds(
    CdiSpec,
    version=st.just("1.1.0"),
    kind=st.builds(lambda a, b: f"{a}.com/{b}", WORDS, WORDS),
    devices=st.lists(DEVICES, min_size=1, max_size=3, unique_by=lambda d: d.name).map(tuple),
    edits=EDITS,
    annotations=ANNOTATIONS,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@given(SPECS)
@settings(max_examples=60)
def test_a_document_that_is_written_is_read_as_it_was(spec: CdiSpec) -> None:
    assert decode_spec(json.loads(json.dumps(encode_spec(spec)))) == spec


@given(SPECS)
@settings(max_examples=60)
def test_the_lowest_version_is_accepted_and_the_one_below_is_not(spec: CdiSpec) -> None:
    version, _ = required_version(spec)
    assert decode_spec(encode_spec(spec._replace(version=version)))
    below = {"1.1.0": "1.0.0", "0.7.0": "0.6.0", "0.6.0": "0.5.0", "0.5.0": "0.4.0"}.get(version)
    if below:
        with pytest.raises(CdiDocumentError, match=f"needs {version}"):
            decode_spec(encode_spec(spec._replace(version=below)))


@given(JSON, st.sampled_from(["kind", "devices", "containerEdits", "annotations", "all", "edits"]))
@settings(max_examples=150)
def test_values_of_any_type_anywhere_are_a_refusal_and_nothing_else(value: Any, where: str) -> None:
    damaged = with_edits(mounts=value) if where == "edits" else document(**{where: value})
    with suppress(CdiDocumentError):
        decode_spec(value if where == "all" else damaged)


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (document(extra=1), "unknown field extra"),
        (with_edits(env=["A=1"], mountz=[]), "unknown field devices[0].containerEdits.mountz"),
        (document(kind="vendor.com"), "not of the form vendor.com/class"),
        (document(kind="1vendor/class"), "vendor '1vendor'"),
        (document(kind="vendor.com/cl ass"), "class 'cl ass'"),
        (document(devices=[]), "there is no device"),
        (document(devices="x"), "devices is the text 'x', not a list"),
        (document(devices=[{"name": "a", "containerEdits": {}}]), "edits nothing"),
        (document(devices=[{"name": "a"}]), "devices[0].containerEdits is missing"),
        (document(devices=document()["devices"] * 2), "is there twice"),
        (document(cdiVersion="0.9.0"), "cdiVersion '0.9.0'"),
        (document(cdiVersion=0.5), "cdiVersion is the number 0.5, not a text"),
        (with_edits("0.5.0", additionalGids=[44]), "additionalGids of device one needs 0.7.0"),
        (with_edits("0.4.0", deviceNodes=[{"path": "/dev/x", "hostPath": "/y"}]), "needs 0.5.0"),
        (document(annotations={"a": "b"}), "annotations of the document needs 0.6.0"),
        (document(cdiVersion="1.0.0", annotations={"-a": "b"}), "annotation key '-a'"),
        (with_edits(env=["A"]), "is not NAME=VALUE"),
        (with_edits(env=["=A"]), "is not NAME=VALUE"),
        (with_edits(deviceNodes=[{"path": "/dev/x", "type": "z"}]), "type 'z'"),
        (with_edits(deviceNodes=[{"path": "/dev/x", "permissions": "rx"}]), "letters of rwm"),
        (with_edits(deviceNodes=[{"path": "/dev/x", "major": -1}]), "negative device number"),
        (with_edits(deviceNodes=[{"path": "/dev/x", "uid": -1}]), "0 to 4294967295"),
        (with_edits(hooks=[{"hookName": "boot", "path": "/x"}]), "no stage of a container"),
        (with_edits(hooks=[{"hookName": "prestart", "path": "x"}]), "is not absolute"),
        (with_edits(mounts=[{"hostPath": "", "containerPath": "/x"}]), "lacks hostPath"),
        (with_edits(intelRdt={"closID": "a/b"}), "closID"),
        (
            with_edits(
                netDevices=[
                    {"hostInterfaceName": "eth0", "name": "a"},
                    {"hostInterfaceName": "eth0", "name": "b"},
                ]
            ),
            "share the hostInterfaceName 'eth0'",
        ),
        ([], "the document is a list, not an object"),
        (None, "the document is null"),
    ],
)
def test_a_broken_rule_is_named(damaged: Any, said: str) -> None:
    with pytest.raises(CdiDocumentError) as caught:
        decode_spec(damaged)
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_all_problems_of_a_document_are_said_together() -> None:
    damaged = document(kind="x", cdiVersion="7", extra=0)
    with pytest.raises(CdiDocumentError) as caught:
        decode_spec(damaged)
    assert len(caught.value.problems) == 3
    damaged = document(
        kind="1x/y", devices=[{"name": "a b", "containerEdits": {"env": ["A=1"], "x": 1}}]
    )
    with pytest.raises(CdiDocumentError) as caught:
        decode_spec(damaged)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("edits", "version"),
    [
        ({"env": ["A=1"]}, "0.3.0"),
        ({"mounts": [{"hostPath": "/a", "containerPath": "/a", "type": "bind"}]}, "0.4.0"),
        ({"deviceNodes": [{"path": "/dev/x", "hostPath": "/y"}]}, "0.5.0"),
        ({"additionalGids": [44]}, "0.7.0"),
        ({"intelRdt": {"closID": "x"}}, "0.7.0"),
        ({"intelRdt": {"enableMonitoring": True}}, "1.1.0"),
        ({"netDevices": [{"hostInterfaceName": "a", "name": "b"}]}, "1.1.0"),
    ],
)
def test_each_field_asks_for_the_version_that_brought_it(edits: Any, version: str) -> None:
    assert required_version(decode_spec(with_edits(**edits)))[0] == version


def test_names_that_begin_with_a_digit_need_0_5_and_dots_in_the_class_0_6() -> None:
    node = {"deviceNodes": [{"path": "/dev/x"}]}
    named = document(cdiVersion="1.1.0", devices=[{"name": "0", "containerEdits": node}])
    assert required_version(decode_spec(named))[0] == "0.5.0"
    dotted = document(cdiVersion="1.1.0", kind="vendor.com/a.b")
    assert required_version(decode_spec(dotted))[0] == "0.6.0"


def test_qualified_names_are_told_from_paths_and_words() -> None:
    assert is_qualified("nvidia.com/gpu=0:1")
    for word in ("/dev/x", "nvidia.com/gpu", "gpu=0", "nvidia.com/gpu=", "a/b/c=0", "n.com/g=-0"):
        assert not is_qualified(word)
    assert split_qualified("nvidia.com/gpu=all") == ("nvidia.com/gpu", "all")
    with pytest.raises(CdiNameError, match="no '='"):
        split_qualified("nvidia.com/gpu")


def test_annotations_ask_for_devices_in_the_order_of_their_keys() -> None:
    annotations = {
        "cdi.k8s.io/b_1": "v.com/c=2,v.com/c=1",
        "cdi.k8s.io/a_0": "v.com/c=0",
        "other": "v.com/c=9",
    }
    assert requested_devices(annotations) == ("v.com/c=0", "v.com/c=2", "v.com/c=1")
    with pytest.raises(CdiNameError):
        requested_devices({"cdi.k8s.io/a": "v.com/c=0,"})
