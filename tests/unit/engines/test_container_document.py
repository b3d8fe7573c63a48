"""config.json of a container: mounts, devices, namespaces."""

from typing import Any

import pytest

from sampan.engines.native.bundle import HostAbilities, UserNotMappedError, build_config
from sampan.engines.native.devices import DeviceError, default_rules, legacy_lines
from sampan.engines.native.filesystems import plan_mounts
from sampan.engines.native.process import Process
from sampan.engines.native.security import SecurityOptions
from sampan.engines.native.users import User
from sampan.kernel.userns import IdMap, IdMaps
from sampan.model.container import ContainerSpec, VolumeMount
from sampan.model.image import ImageConfig, parse_image_config
from sampan.model.plan import ImportPlan, PlannedDevice

IMAGE = parse_image_config({"config": {"Volumes": {"/data": {}, "/var/lib/x/": {}}}})
ROOT = User(0, 0, (7,), "/root")
NO_DRIVER = ImportPlan()
SINGLE = IdMaps((IdMap(0, 1000, 1),), (IdMap(0, 1000, 1),), single=True)
RANGED = IdMaps((IdMap(0, 1000, 1), IdMap(1, 9000, 65536)), (IdMap(0, 1000, 1),), single=False)


def build(
    spec: ContainerSpec,
    *,
    maps: IdMaps | None = None,
    user: User = ROOT,
    plan: ImportPlan = NO_DRIVER,
    image: ImageConfig = IMAGE,
    managed: bool = True,
    init: str = "",
) -> dict[str, Any]:
    return build_config(
        spec,
        image,
        Process(("/bin/true",), ("PATH=/bin",), "/"),
        user,
        plan,
        HostAbilities(maps, True, "mount", managed),
        SecurityOptions(),
        ("KILL",),
        hostname="box",
        cgroup_path="/sampan/x",
        file_sources={},
        init=init,
    ).config


def kinds(config: dict[str, Any]) -> list[str]:
    return [entry["type"] for entry in config["linux"]["namespaces"]]


def mount_on(config: dict[str, Any], destination: str) -> dict[str, Any]:
    (found,) = [one for one in config["mounts"] if one["destination"] == destination]
    return found


def test_root_gets_a_sysfs_of_its_own_and_a_user_a_bound_one() -> None:
    assert mount_on(build(ContainerSpec("i")), "/sys")["type"] == "sysfs"
    bound = mount_on(build(ContainerSpec("i"), maps=RANGED), "/sys")
    assert (bound["type"], bound["source"]) == ("bind", "/sys")
    assert "ro" in bound["options"]


def test_the_terminals_group_is_named_only_where_it_exists() -> None:
    assert "gid=5" in mount_on(build(ContainerSpec("i"), maps=RANGED), "/dev/pts")["options"]
    assert "gid=5" not in mount_on(build(ContainerSpec("i"), maps=SINGLE), "/dev/pts")["options"]


def test_namespaces_follow_the_options() -> None:
    assert kinds(build(ContainerSpec("i"))) == ["pid", "mount", "uts", "ipc", "cgroup"]
    assert kinds(build(ContainerSpec("i", ipc="host"), maps=RANGED)) == ["pid", "mount", "uts"]


def test_another_user_of_a_single_id_is_shown_by_a_nested_namespace() -> None:
    config = build(ContainerSpec("i"), maps=SINGLE, user=User(33, 34, (5,), "/"))
    assert "user" in kinds(config)
    assert config["linux"]["uidMappings"] == [{"containerID": 33, "hostID": 0, "size": 1}]
    assert config["linux"]["gidMappings"] == [{"containerID": 34, "hostID": 0, "size": 1}]
    assert config["process"]["user"]["additionalGids"] == []
    assert config["process"]["capabilities"]["effective"] == []
    assert "user" not in kinds(build(ContainerSpec("i"), maps=SINGLE))


def test_an_id_beyond_the_logins_range_is_refused_before_the_start() -> None:
    with pytest.raises(UserNotMappedError, match="user id 70000") as caught:
        build(ContainerSpec("i"), maps=RANGED, user=User(70000, 0, (), "/"))
    assert "65536" in caught.value.evidence
    assert "--add-subuids" in caught.value.remedy
    assert build(ContainerSpec("i"), maps=SINGLE, user=User(70000, 0, (), "/"))


def test_groups_that_open_a_gpus_node_are_kept_rather_than_mapped() -> None:
    plan = ImportPlan(additional_gids=(44,))
    assert 44 in build(ContainerSpec("i"), plan=plan)["process"]["user"]["additionalGids"]
    config = build(ContainerSpec("i"), plan=plan, maps=RANGED)
    assert config["process"]["user"]["additionalGids"] == [0, 7]
    assert config["annotations"] == {"run.oci.keep_original_groups": "1"}


def test_nodes_are_made_for_root_and_bound_for_users() -> None:
    plan = ImportPlan(
        devices=(PlannedDevice("/dev/nvidia0", "/dev/nvidia0", 195, 0, 0o666, 0, 0, "rw"),)
    )
    spec = ContainerSpec("i", devices=(("/dev/null", "/dev/mine", "r"),))
    config = build(spec, plan=plan)
    assert {node["path"] for node in config["linux"]["devices"]} == {"/dev/nvidia0", "/dev/mine"}
    allowed = legacy_lines(config["linux"]["resources"]["devices"])
    assert "c 195:0 rw" in allowed
    assert "c 1:3 r" in allowed
    config = build(spec, plan=plan, maps=RANGED, managed=False)
    assert not config["linux"].get("devices")
    assert mount_on(config, "/dev/nvidia0")["source"] == "/dev/nvidia0"
    assert mount_on(config, "/dev/mine")["source"] == "/dev/null"
    assert "resources" not in config["linux"]


def test_a_device_that_is_none_is_refused() -> None:
    for path in ("/nowhere/at/all", "/"):
        with pytest.raises(DeviceError):
            build(ContainerSpec("i", devices=((path, path, "rwm"),)))


def test_device_rules_allow_nodes_to_be_made_but_few_to_be_opened() -> None:
    lines = legacy_lines(default_rules())
    assert lines[:2] == ("c *:* m", "b *:* m")
    assert "c 1:3 rwm" in lines
    assert "c 136:* rwm" in lines
    assert not any(line.startswith("a") for line in lines)


def test_limits_are_the_runtimes_only_when_it_manages_the_group() -> None:
    spec = ContainerSpec("i", memory_bytes=1 << 30, cpus=1.5, pids_limit=9)
    resources = build(spec)["linux"]["resources"]
    assert resources["memory"] == {"limit": 1 << 30, "swap": 2 << 30}
    assert resources["cpu"] == {"period": 100000, "quota": 150000}
    assert resources["pids"] == {"limit": 9}
    assert "cgroupsPath" not in build(spec, managed=False)["linux"]


def test_init_is_bound_and_runs_the_command() -> None:
    config = build(ContainerSpec("i"), init="/usr/bin/catatonit")
    assert config["process"]["args"] == ["/dev/init", "--", "/bin/true"]
    assert mount_on(config, "/dev/init")["source"] == "/usr/bin/catatonit"


def planned(spec: ContainerSpec, volumes: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return plan_mounts(
        spec, volumes, rootless=False, tty_group=True, cgroup="none", deep_read_only=True
    )


def test_mounts_of_the_user_come_parents_first_and_after_our_own() -> None:
    inner = VolumeMount("bind", "/b", "/a/b", ("rbind",))
    outer = VolumeMount("bind", "/a", "/a", ("rbind",))
    names = [one["destination"] for one in planned(ContainerSpec("i", mounts=(inner, outer)))]
    assert names[-2:] == ["/a", "/a/b"]


def test_volumes_of_the_image_stay_writable_below_a_read_only_root() -> None:
    volumes = ("/data", "/var/lib/x/", "/")
    assert not [one for one in planned(ContainerSpec("i"), volumes) if "x" in one["destination"]]
    mine = VolumeMount("bind", "/host", "/data", ("rbind",))
    anonymous = VolumeMount("volume", "", "/scratch", ())
    mounts = planned(ContainerSpec("i", read_only=True, mounts=(mine, anonymous)), volumes)
    chosen = {one["destination"]: one["type"] for one in mounts}
    assert (chosen["/data"], chosen["/var/lib/x"], chosen["/scratch"]) == ("bind", "tmpfs", "tmpfs")
    assert "/" not in chosen


def test_ipc_decides_over_shared_memory() -> None:
    def shm(ipc: str, size: int | None = None) -> list[dict[str, Any]]:
        mounts = planned(ContainerSpec("i", ipc=ipc, shm_bytes=size))
        return [one for one in mounts if one["destination"] == "/dev/shm"]

    assert not any(option.startswith("size") for option in shm("private")[0]["options"])
    assert "size=4096" in shm("private", 4096)[0]["options"]
    assert shm("host")[0]["type"] == "bind"
    assert shm("none") == []
