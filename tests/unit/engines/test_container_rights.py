"""Capabilities, limits, security options and the system call filter of a container."""

import resource

import pytest

from sampan.engines.native.capabilities import DEFAULT, NAMES, choose_capabilities
from sampan.engines.native.rlimits import UNLIMITED, plan_rlimits
from sampan.engines.native.seccomp import render_filter
from sampan.engines.native.security import SecurityWords, parse_security_options
from sampan.errors import UsageError

EVERY = frozenset(NAMES)


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), DEFAULT),
        (("sys_admin",), (), DEFAULT | {"SYS_ADMIN"}),
        (("CAP_SYS_ADMIN",), ("cap_chown",), (DEFAULT | {"SYS_ADMIN"}) - {"CHOWN"}),
        (("ALL",), (), EVERY),
        (("ALL",), ("SYS_ADMIN",), EVERY - {"SYS_ADMIN"}),
        ((), ("ALL",), frozenset()),
        (("KILL",), ("all",), frozenset(("KILL",))),
    ],
)
def test_capabilities_as_docker_combines_them(
    add: tuple[str, ...], drop: tuple[str, ...], expected: frozenset[str]
) -> None:
    assert choose_capabilities(add, drop, EVERY) == (tuple(sorted(expected)), ())


def test_what_this_host_cannot_give_is_reported_only_when_asked_by_name() -> None:
    available = EVERY - {"SYS_RESOURCE", "MKNOD"}
    assert choose_capabilities((), (), available)[1] == ()
    assert choose_capabilities(("ALL",), (), available)[1] == ()
    assert choose_capabilities(("SYS_RESOURCE",), (), available)[1] == ("SYS_RESOURCE",)


def test_an_unknown_capability_is_refused() -> None:
    with pytest.raises(UsageError, match="no capability 'FLY'"):
        choose_capabilities(("FLY",), (), EVERY)


def test_pinned_memory_is_unlimited_and_core_files_are_off_where_permitted() -> None:
    entries, warnings = plan_rlimits((), may_raise=True)
    assert {"type": "RLIMIT_MEMLOCK", "soft": UNLIMITED, "hard": UNLIMITED} in entries
    assert {"type": "RLIMIT_CORE", "soft": 0, "hard": 0} in entries
    assert warnings == ()


def test_a_limit_above_ours_is_lowered_with_a_warning_when_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 200))
    entries, warnings = plan_rlimits((("nofile", 500, -1),), may_raise=False)
    assert {"type": "RLIMIT_NOFILE", "soft": 200, "hard": 200} in entries
    assert {"type": "RLIMIT_MEMLOCK", "soft": 200, "hard": 200} in entries
    (warning,) = warnings
    assert "--ulimit nofile=500:unlimited is lowered to 200:200" in warning


def test_security_options_in_dockers_words() -> None:
    words = ("no-new-privileges", "seccomp=unconfined", "apparmor:mine", "label=disable")
    assert parse_security_options(words) == SecurityWords(True, "mine", True, "unconfined")
    assert parse_security_options(("no-new-privileges=false",)) == SecurityWords(
        False, "", True, "default"
    )
    assert not parse_security_options(("systempaths=unconfined",)).masks


@pytest.mark.parametrize("word", ["seccomp", "apparmor=", "magic=on", "no-new-privileges=maybe"])
def test_other_security_options_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="is not known"):
        parse_security_options((word,))


PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"name": "personality", "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
    ],
}  # fmt: skip


def rules(capabilities: tuple[str, ...], machine: str, linux: tuple[int, int]) -> set[str]:
    filtered = render_filter(PROFILE, capabilities, machine, linux)
    return {f"{rule['names'][0]}:{rule['action'][9:]}" for rule in filtered["syscalls"]}


def test_rules_of_a_profile_apply_by_capability_architecture_and_kernel() -> None:
    common = {"read:ALLOW", "personality:ALLOW"}
    assert rules((), "x86_64", (6, 1)) == common | {
        "mount:ERRNO",
        "arch_prctl:ALLOW",
        "ptrace:ALLOW",
    }
    assert rules(("SYS_ADMIN",), "aarch64", (4, 4)) == common | {"mount:ALLOW"}


def test_a_filter_names_architectures_and_errors_as_the_profile_does() -> None:
    filtered = render_filter(PROFILE, (), "x86_64", (6, 1))
    assert filtered["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert filtered["defaultErrnoRet"] == 38
    assert {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1} in filtered["syscalls"]
    assert filtered["syscalls"][-1]["args"][0]["value"] == 8
