"""Documents of strangers whose paths and texts are none: what they plan stays in the container."""

from pathlib import Path

import pytest

from sampan.engines.native.upper import UpperLayer
from sampan.injection.cdi_document import CdiDocumentError, decode_spec
from sampan.injection.cdi_hook_jobs import CdiHookError
from sampan.injection.cdi_plan import HostFacts, plan_edits
from sampan.model.cdi import CdiEdits, CdiHook, CdiMount
from support.hostile import take_snapshot
from support.plan_facts import make_facts

PATHS = ("/", "//", "/.", "/..", "/../../../../outside/x", "/etc/../../outside/x", "relative",
         "/etc/.", "/etc/..", "/a\nb", "/" + "x" * 5000, "/usr/lib64/../../../outside/x")  # fmt: skip


def hooks_for(path: str) -> list[CdiHook]:
    words = [
        ["sampan-hook", "createContainer", "--contract", "1", "--link", f"target::{path}"],
        ["sampan-hook", "createContainer", "--contract", "1", "--file", f"{path}::text"],
        ["sampan-hook", "createContainer", "--contract", "1", "--library-directory",
         f"x86_64::{path}", "--library", "libcuda.so.1=libcuda.so"],
        ["nvidia-cdi-hook", "create-symlinks", "--link", f"target::{path}"],
        ["nvidia-cdi-hook", "update-ldcache", "--folder", path],
    ]  # fmt: skip
    return [CdiHook("createContainer", f"/usr/bin/{one[0]}", tuple(one)) for one in words]


@pytest.mark.parametrize("path", PATHS)
def test_paths_that_are_not_plain_reach_nothing_outside_the_layer(
    tmp_path: Path, path: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    before = take_snapshot(outside)
    host = HostFacts({"/host/libx.so": ("x86_64", "libx.so.1")}, "ModifyDeviceFiles: 1\n")
    for number, hook in enumerate(hooks_for(path)):
        edits = CdiEdits(hooks=(hook,), mounts=(CdiMount("/host/libx.so", path),))
        try:
            plan = plan_edits(edits, make_facts(), names="a.b/c=d", host=host)
        except CdiHookError:
            continue
        lower, upper = tmp_path / f"lower{number}", tmp_path / f"upper{number}"
        lower.mkdir()
        upper.mkdir()
        with UpperLayer(str(lower), str(upper)) as layer:
            for link in plan.links:
                layer.write_link(link)
            for file in plan.files:
                if not file.mount:
                    layer.write_file(file)
        assert take_snapshot(outside) == before


@pytest.mark.parametrize("member", ["env", "path", "name"])
def test_half_a_character_is_no_text(member: str) -> None:
    half = "\ud800"
    edits: dict[str, object] = {"env": [f"A={half}" if member == "env" else "A=b"]}
    if member == "path":
        edits["mounts"] = [{"hostPath": "/a", "containerPath": f"/{half}"}]
    device = {"name": half if member == "name" else "0", "containerEdits": edits}
    with pytest.raises(CdiDocumentError) as caught:
        decode_spec({"cdiVersion": "0.5.0", "kind": "a.b/c", "devices": [device]})
    caught.value.evidence.encode()
