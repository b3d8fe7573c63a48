"""Id maps of a container, and what a host says that gives none."""

from pathlib import Path

import pytest

from sampan.kernel import userns
from sampan.kernel.userns import IdMap

SUBUID = "other:1:65536\nme:200000:65536\n1000:100000:10\n"


def plan(subuid: str, subgid: str, *, helpers: bool = True) -> userns.IdMaps:
    return userns.plan_id_maps(1000, 100, "me", subuid, subgid, helpers=helpers)


def test_a_lent_range_follows_our_own_ids() -> None:
    maps = plan(SUBUID, "1000:300000:70000")
    assert maps.uids == (IdMap(0, 1000, 1), IdMap(1, 200000, 65536))
    assert maps.gids == (IdMap(0, 100, 1), IdMap(1, 300000, 65536))
    assert not maps.single


@pytest.mark.parametrize(
    ("subuid", "subgid", "helpers"),
    [("", "", True), (SUBUID, "", True), (SUBUID, SUBUID, False), ("me:5:100", SUBUID, True)],
)
def test_without_a_large_enough_range_there_is_one_id(
    subuid: str, subgid: str, helpers: bool
) -> None:
    maps = plan(subuid, subgid, helpers=helpers)
    assert maps == userns.IdMaps((IdMap(0, 1000, 1),), (IdMap(0, 100, 1),), single=True)


@pytest.mark.parametrize(
    "text", ["me", "me:", "me:x:65536", "me:1:", ":1:65536", "::", "me:-1:65536"]
)
def test_odd_lines_lend_nothing(text: str) -> None:
    assert userns.find_subordinate(text, 1000, "me") is None
    assert userns.find_subordinate(text, 1000, "") is None


def test_the_hosts_own_namespace_is_known_by_its_map() -> None:
    assert userns.is_initial_namespace("         0          0 4294967295\n")
    assert not userns.is_initial_namespace("0 1000 1\n")
    assert not userns.is_initial_namespace("")


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "apparmor_restrict"),
        ("kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "max_user_namespaces="),
        ("user/max_mnt_namespaces", "0", "max_mnt_namespaces="),
        ("user/max_user_namespaces", "1000", ""),
    ],
)
def test_the_setting_that_forbids_is_named_with_the_command_that_allows(
    tmp_path: Path, setting: str, value: str, remedy: str
) -> None:
    path = tmp_path / "proc/sys" / setting
    path.parent.mkdir(parents=True)
    path.write_text(f"{value}\n")
    said = userns.explain_refusal(str(tmp_path))
    assert remedy in said
    assert bool(said) == bool(remedy)
    if "mnt" not in setting:
        assert f"{setting.replace('/', '.')}={value}" in userns.describe_settings(str(tmp_path))


def test_a_refused_map_is_an_error_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(userns.UserNamespaceError) as caught:
        userns.write_id_maps(2**22 + 1, userns.single_id_maps(), "", "")
    assert "/proc/4194305/setgroups" in caught.value.evidence


def test_what_newuidmap_says_is_the_evidence(tmp_path: Path) -> None:
    helper = tmp_path / "newuidmap"
    helper.write_text('#!/bin/sh\necho "no range for $*" >&2\nexit 1\n')
    helper.chmod(0o755)
    maps = plan(SUBUID, SUBUID)
    with pytest.raises(userns.UserNamespaceError) as caught:
        userns.write_id_maps(1, maps, str(helper), str(helper))
    assert caught.value.evidence == "no range for 1 0 1000 1 1 200000 65536"
