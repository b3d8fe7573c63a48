"""A process beside the container's own is like it, but for what the user says."""

from typing import Any

import pytest

from sampan.engines.native.exec import ExecRequest, plan_exec
from sampan.engines.native.users import UserNotFoundError

PASSWD = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"
GROUP = "root:x:0:\nextra:x:2000:app\n"
OWN: dict[str, Any] = {
    "terminal": True,
    "consoleSize": {"height": 1, "width": 2},
    "args": ["server"],
    "env": ["PATH=/bin", "HOME=/root", "A=1"],
    "cwd": "/srv",
    "user": {"uid": 0, "gid": 0, "umask": 18, "additionalGids": [0]},
    "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": []},
    "noNewPrivileges": True,
}


def plan(**words: Any) -> dict[str, Any]:
    return plan_exec(OWN, ExecRequest(("ls", "-l"), **words), PASSWD, GROUP)


def test_it_is_like_the_containers_own() -> None:
    assert plan() == {
        **{key: value for key, value in OWN.items() if key != "consoleSize"},
        "args": ["ls", "-l"],
        "terminal": False,
    }


def test_a_variable_of_the_container_can_be_taken_away() -> None:
    assert plan(removed_variables=("A",))["env"] == ["PATH=/bin", "HOME=/root"]


def test_variables_are_changed_and_added() -> None:
    planned = plan(environment=(("A", "2"), ("B", "x=y")))
    assert planned["env"] == ["PATH=/bin", "HOME=/root", "A=2", "B=x=y"]


def test_a_terminal_has_a_type() -> None:
    planned = plan(terminal=True)
    assert planned["terminal"] is True
    assert "TERM=xterm" in planned["env"]


def test_another_directory() -> None:
    assert plan(working_directory="/tmp")["cwd"] == "/tmp"


def test_another_user_has_his_groups_and_home_and_no_rights() -> None:
    planned = plan(user="app")
    assert planned["user"] == {
        "uid": 1000, "gid": 1001, "umask": 18, "additionalGids": [1001, 2000],
    }  # fmt: skip
    assert planned["capabilities"] == {
        "bounding": ["CAP_KILL"],
        "effective": [],
        "permitted": [],
    }
    assert "HOME=/home/app" in planned["env"]


def test_root_has_the_rights_that_the_container_may_have() -> None:
    assert plan(user="root")["capabilities"]["permitted"] == ["CAP_KILL"]


def test_a_user_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserNotFoundError):
        plan(user="nobody")


def test_the_pattern_stays_as_it_was() -> None:
    before = repr(OWN)
    plan(user="app", environment=(("A", "2"),), terminal=True)
    assert repr(OWN) == before
