"""A runtime-spec ``linux.seccomp`` document compiled to the BPF program that seccomp(2) takes.

By libseccomp, the library that crun and runc themselves use, once per profile instead of at each
start, where it costs more than everything else together. Not on the start path: the result is kept
(``engines/native/seccomp.py``). Rules: libseccomp's manual pages; runtime-spec config-linux.md.
"""

import ctypes
import os
from collections.abc import Mapping
from typing import Any

_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_VALUE = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_COMPARISONS = {
    f"SCMP_CMP_{name}": number
    for number, name in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), 1)
}
_EPERM = 1
_OPTIMIZE = 8
_BINARY_TREE = 2
_EEXIST = 17


class _Condition(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def compile_filter(document: Mapping[str, Any]) -> bytes:
    """The program, as an array of ``struct sock_filter``.

    Raises:
        OSError: libseccomp is not there, or refuses a rule.
        KeyError: an action or comparison it does not know (SCMP_ACT_NOTIFY among them).
    """
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    for name in ("arch_add", "attr_set", "rule_add_array", "export_bpf", "release"):
        getattr(library, f"seccomp_{name}").argtypes = None
    default = _action(document["defaultAction"], document.get("defaultErrnoRet"))
    context = ctypes.c_void_p(library.seccomp_init(default))
    if not context.value:
        raise OSError("libseccomp: seccomp_init refuses the default action")
    try:
        for name in document.get("architectures") or ():
            word = name.removeprefix("SCMP_ARCH_").lower().encode()
            token = ctypes.c_uint32(library.seccomp_arch_resolve_name(word))
            _check(library.seccomp_arch_add(context, token), f"architecture {name}", _EEXIST)
        # The tree costs a handful of comparisons a call where the list costs hundreds.
        library.seccomp_attr_set(context, _OPTIMIZE, ctypes.c_uint32(_BINARY_TREE))
        for rule in document.get("syscalls") or ():
            action = _action(rule["action"], rule.get("errnoRet"))
            if action != default:
                _add_rule(library, context, action, rule)
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _add_rule(
    library: ctypes.CDLL, context: ctypes.c_void_p, action: int, rule: Mapping[str, Any]
) -> None:
    conditions = [
        _Condition(one["index"], _COMPARISONS[one["op"]], one["value"], one.get("valueTwo") or 0)
        for one in rule.get("args") or ()
    ]
    # libseccomp takes one condition an argument; several on one are alternatives, as runc reads it.
    repeated = len({one.arg for one in conditions}) < len(conditions)
    groups = [[one] for one in conditions] if repeated else [conditions]
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            continue  # newer than this libseccomp: the default action applies
        for group in groups:
            array = (_Condition * len(group))(*group)
            done = library.seccomp_rule_add_array(
                context, ctypes.c_uint32(action), number, ctypes.c_uint(len(group)), array
            )
            _check(done, f"rule for {name}", _EEXIST)


def _export(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    descriptor = os.memfd_create("seccomp")
    try:
        _check(library.seccomp_export_bpf(context, descriptor), "export")
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)


def _action(name: str, value: int | None) -> int:
    code = _ACTIONS[name]
    return code | (_EPERM if value is None else value) if name in _WITH_VALUE else code


def _check(result: int, what: str, tolerated: int = 0) -> None:
    if result < 0 and -result != tolerated:
        raise OSError(-result, f"libseccomp: {what}: {os.strerror(-result)}")
