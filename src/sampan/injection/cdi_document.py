"""CDI documents as JSON values and as records, and everything that is wrong with one, at once.

Reading is as strict as the engines' own (CDI ``pkg/cdi``, strict decoding): an unknown field, a
wrong type or a field newer than the declared version refuses the document as a whole. What YAML or
JSON text looks like is not known here.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from sampan.errors import SampanError
from sampan.injection.cdi_checks import spec_problems
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

MAXIMUM_PROBLEMS = 20
_HALVES = re.compile("[\ud800-\udfff]")


class CdiDocumentError(SampanError):
    """A document breaks the specification; ``problems`` says where, one clause each."""

    id = "cdi-document"

    def __init__(self, problems: list[str]) -> None:
        shown = problems[:MAXIMUM_PROBLEMS]
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        super().__init__(
            "the CDI document is not valid",
            evidence="; ".join(shown),
            remedy="correct the file, or have it written anew: sampan cdi generate --output FILE",
        )
        self.problems = problems


class _Field(NamedTuple):
    """A member of a JSON object: its name there, the record's name for it, and its form."""

    json: str
    name: str
    form: "str | _Shape"
    required: bool = False


class _Shape(NamedTuple):
    """A JSON object and the record that it becomes. ``many``: as a field, it is a list of them."""

    record: Callable[..., Any]
    fields: tuple[_Field, ...]
    many: bool = True


_NODE = _Shape(
    CdiDeviceNode,
    (
        _Field("path", "path", "text", required=True),
        _Field("hostPath", "host_path", "text"),
        _Field("type", "kind", "text"),
        _Field("major", "major", "int64"),
        _Field("minor", "minor", "int64"),
        _Field("fileMode", "file_mode", "uint32"),
        _Field("permissions", "permissions", "text"),
        _Field("uid", "uid", "uint32"),
        _Field("gid", "gid", "uint32"),
    ),
)
_MOUNT = _Shape(
    CdiMount,
    (
        _Field("hostPath", "host_path", "text", required=True),
        _Field("containerPath", "container_path", "text", required=True),
        _Field("options", "options", "texts"),
        _Field("type", "kind", "text"),
    ),
)
_HOOK = _Shape(
    CdiHook,
    (
        _Field("hookName", "name", "text", required=True),
        _Field("path", "path", "text", required=True),
        _Field("args", "args", "texts"),
        _Field("env", "env", "texts"),
        _Field("timeout", "timeout", "uint32"),
    ),
)
_NET_DEVICE = _Shape(
    CdiNetDevice,
    (
        _Field("hostInterfaceName", "host_interface_name", "text", required=True),
        _Field("name", "name", "text", required=True),
    ),
)
_INTEL_RDT = _Shape(
    CdiIntelRdt,
    (
        _Field("closID", "clos_id", "text"),
        _Field("l3CacheSchema", "l3_cache_schema", "text"),
        _Field("memBwSchema", "mem_bw_schema", "text"),
        _Field("schemata", "schemata", "texts"),
        _Field("enableCMT", "enable_cmt", "flag"),
        _Field("enableMBM", "enable_mbm", "flag"),
        _Field("enableMonitoring", "enable_monitoring", "flag"),
    ),
    many=False,
)
_EDITS = _Shape(
    CdiEdits,
    (
        _Field("env", "env", "texts"),
        _Field("deviceNodes", "device_nodes", _NODE),
        _Field("netDevices", "net_devices", _NET_DEVICE),
        _Field("hooks", "hooks", _HOOK),
        _Field("mounts", "mounts", _MOUNT),
        _Field("intelRdt", "intel_rdt", _INTEL_RDT),
        _Field("additionalGids", "additional_gids", "uint32s"),
    ),
    many=False,
)
_DEVICE = _Shape(
    CdiDevice,
    (
        _Field("name", "name", "text", required=True),
        _Field("annotations", "annotations", "map"),
        _Field("containerEdits", "edits", _EDITS, required=True),
    ),
)
_SPEC = _Shape(
    CdiSpec,
    (
        _Field("cdiVersion", "version", "text", required=True),
        _Field("kind", "kind", "text", required=True),
        _Field("annotations", "annotations", "map"),
        _Field("devices", "devices", _DEVICE, required=True),
        _Field("containerEdits", "edits", _EDITS),
    ),
    many=False,
)


def decode_spec(document: object) -> CdiSpec:
    """The record of a document that was read as JSON values.

    Raises:
        CdiDocumentError: with all its problems.
    """
    problems: list[str] = []
    unknown: list[str] = []
    spec: CdiSpec | None = _decode(document, _SPEC, "", problems, unknown)
    problems += unknown
    if spec is not None:
        problems += spec_problems(spec)
    if problems or spec is None:
        raise CdiDocumentError(problems)
    return spec


def encode_spec(spec: CdiSpec) -> dict[str, Any]:
    """The document as JSON values; what is absent or empty is left out."""
    return _encode(spec, _SPEC)


def encode_edits(edits: CdiEdits) -> dict[str, Any]:
    """``containerEdits`` alone as JSON values."""
    return _encode(edits, _EDITS)


def _decode(
    value: object, shape: _Shape, where: str, problems: list[str], unknown: list[str]
) -> Any:
    """The record, or None where ``problems`` says why; ``unknown`` fields spoil no record."""
    if not isinstance(value, dict):
        problems.append(f"{where or 'the document'} is {_kind_of(value)}, not an object")
        return None
    here = f"{where}." if where else ""
    known = {field.json for field in shape.fields}
    unknown += [f"unknown field {here}{key}" for key in value if key not in known]
    said: dict[str, Any] = {}
    complete = True
    for field in shape.fields:
        found = value.get(field.json)
        if found is None:
            if field.required:
                problems.append(f"{here}{field.json} is missing")
                complete = False
            continue
        before = len(problems)
        result = _decode_value(found, field.form, f"{here}{field.json}", problems, unknown)
        if len(problems) == before:
            said[field.name] = result
        elif field.required:
            complete = False
    return shape.record(**said) if complete else None


def _decode_value(
    value: object, form: "str | _Shape", where: str, problems: list[str], unknown: list[str]
) -> Any:
    if isinstance(form, _Shape):
        if not form.many:
            return _decode(value, form, where, problems, unknown)
        if not isinstance(value, list):
            problems.append(f"{where} is {_kind_of(value)}, not a list")
            return None
        return tuple(
            _decode(item, form, f"{where}[{number}]", problems, unknown)
            for number, item in enumerate(value)
        )
    if form.endswith("s"):
        if not isinstance(value, list):
            problems.append(f"{where} is {_kind_of(value)}, not a list")
            return None
        single = form[:-1]
        return tuple(
            _decode_value(item, single, f"{where}[{number}]", problems, unknown)
            for number, item in enumerate(value)
        )
    if form == "map":
        if not isinstance(value, dict) or not all(
            isinstance(key, str) and isinstance(text, str) for key, text in value.items()
        ):
            problems.append(f"{where} is not an object of texts")
            return None
        return tuple(sorted(value.items()))
    if not _fits(value, form):
        problems.append(f"{where} is {_kind_of(value)}, not {_FORMS[form][0]}")
    return value


_FORMS: dict[str, tuple[str, int, int]] = {
    "text": ("a text", 0, 0),
    "flag": ("true or false", 0, 0),
    "int64": ("a 64-bit number", -(1 << 63), (1 << 63) - 1),
    "uint32": ("a number of 0 to 4294967295", 0, (1 << 32) - 1),
}


def _fits(value: object, form: str) -> bool:
    if form == "text":
        # JSON can write half of a character, which no file name and no variable can hold.
        return isinstance(value, str) and "\0" not in value and not _HALVES.search(value)
    if form == "flag":
        return isinstance(value, bool)
    _, low, high = _FORMS[form]
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _kind_of(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return f"the number {value}" if abs(value) < 1 << 80 else "a huge number"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return "a list" if isinstance(value, list) else "an object"


def _encode(record: Any, shape: _Shape) -> dict[str, Any]:
    document: dict[str, Any] = {}
    defaults = getattr(type(record), "_field_defaults", {})
    for field in shape.fields:
        value = getattr(record, field.name)
        if not field.required and value == defaults[field.name]:
            continue
        if isinstance(field.form, _Shape):
            if field.form.many:
                value = [_encode(item, field.form) for item in value]
            else:
                value = _encode(value, field.form)
        elif field.form == "map":
            value = dict(value)
        elif field.form.endswith("s"):
            value = list(value)
        document[field.json] = value
    return document
