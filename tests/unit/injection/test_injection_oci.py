"""A plan as edits of config.json."""

import copy

import pytest

from sampan.injection.oci import apply_plan
from sampan.model.plan import ImportPlan, PlannedDevice, PlannedFile, PlannedMount

CONFIG = {
    "ociVersion": "1.0.2",
    "process": {
        "env": ["PATH=/bin", "NVIDIA_VISIBLE_DEVICES=void"],
        "user": {"uid": 0, "gid": 0, "additionalGids": [5]},
    },
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"},
        {"destination": "/usr/bin/nvidia-smi", "type": "bind", "source": "/old"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
    ],
    "linux": {
        "devices": [{"path": "/dev/nvidia0", "type": "c", "major": 1, "minor": 1}],
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": "mount"}],
    },
}
PLAN = ImportPlan(
    mounts=(PlannedMount("/host/nvidia-smi", "/usr/bin/nvidia-smi", ("ro", "rbind")),),
    devices=(
        PlannedDevice("/dev/nvidia0", "/dev/nvidia0", 195, 0, 0o666, 0, 0, "rwm"),
        PlannedDevice("/dev/nvidiactl", "/dev/nvidiactl", 195, 255, 0o660, 0, 44, "rwm"),
    ),
    files=(PlannedFile("/etc/ld.so.cache", b"x", 0o644),),
    environment=(("NVIDIA_VISIBLE_DEVICES", "all"),),
    additional_gids=(44, 5),
)


def test_the_given_configuration_is_not_changed() -> None:
    before = copy.deepcopy(CONFIG)
    apply_plan(CONFIG, PLAN)
    assert before == CONFIG


def test_mounts_replace_those_of_the_same_path_and_parents_come_first() -> None:
    mounts = apply_plan(CONFIG, PLAN)["mounts"]
    assert [mount["destination"] for mount in mounts] == [
        "/proc", "/dev", "/dev/shm", "/usr/bin/nvidia-smi",
    ]  # fmt: skip
    assert mounts[-1] == {
        "destination": "/usr/bin/nvidia-smi",
        "type": "bind",
        "source": "/host/nvidia-smi",
        "options": ["ro", "rbind"],
    }


def test_nodes_replace_those_of_the_same_path_and_are_allowed() -> None:
    linux = apply_plan(CONFIG, PLAN)["linux"]
    assert [(node["path"], node["major"], node["minor"]) for node in linux["devices"]] == [
        ("/dev/nvidia0", 195, 0),
        ("/dev/nvidiactl", 195, 255),
    ]
    assert linux["devices"][1]["fileMode"] == 0o660
    rules = linux["resources"]["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert {(rule.get("major"), rule.get("minor")) for rule in rules[1:]} == {(195, 0), (195, 255)}
    assert linux["namespaces"] == [{"type": "mount"}]


def test_variables_of_the_same_name_are_replaced_and_groups_are_added_once() -> None:
    process = apply_plan(CONFIG, PLAN)["process"]
    assert process["env"] == ["PATH=/bin", "NVIDIA_VISIBLE_DEVICES=all"]
    assert process["user"]["additionalGids"] == [5, 44]


def test_nodes_can_be_bound_where_none_can_be_made() -> None:
    edited = apply_plan(CONFIG, PLAN, bind_devices=True)
    sources = {mount["destination"]: mount["source"] for mount in edited["mounts"]}
    assert sources["/dev/nvidiactl"] == "/dev/nvidiactl"
    assert edited["linux"]["devices"] == CONFIG["linux"]["devices"]  # type: ignore[index]


def test_a_file_over_proc_is_mounted_from_where_the_caller_wrote_it() -> None:
    params = "/proc/driver/nvidia/params"
    plan = ImportPlan(files=(PlannedFile(params, b"x", 0o444, mount=True),))
    edited = apply_plan(CONFIG, plan, file_sources={params: "/run/private/params"})
    assert edited["mounts"][-1]["source"] == "/run/private/params"
    with pytest.raises(KeyError):
        apply_plan(CONFIG, plan)


def test_the_empty_plan_changes_nothing_that_counts() -> None:
    edited = apply_plan(CONFIG, ImportPlan())
    assert edited["process"] == CONFIG["process"]
    assert edited["linux"] == CONFIG["linux"]


def test_an_empty_configuration_can_be_edited() -> None:
    edited = apply_plan({}, PLAN)
    assert edited["process"]["env"] == ["NVIDIA_VISIBLE_DEVICES=all"]
    assert len(edited["linux"]["devices"]) == 2
