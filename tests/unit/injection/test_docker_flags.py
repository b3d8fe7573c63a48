"""A plan as flags of docker run."""

from pathlib import Path

from sampan.injection.docker_flags import plan_plain, render_plain
from sampan.injection.mount_words import quote_field
from sampan.model.inventory import Inventory
from sampan.model.request import Request
from support.described_host import make_described_host

REQUEST = Request(True, ("all",), None, ("compute", "utility"), "--gpus all")


def inventory(tmp_path: Path, name: str = "two-gpus") -> Inventory:
    return make_described_host(tmp_path, name).take(nvml=True)


def test_only_the_selected_gpu_has_a_node_beside_the_control_nodes(tmp_path: Path) -> None:
    host = inventory(tmp_path)
    plain = plan_plain(host, REQUEST, host.gpus[1:2])
    words = render_plain(plain, {file.path: "/kept" for file in plain.files})
    nodes = [words[at + 1].split(":") for at, word in enumerate(words) if word == "--device"]
    assert [node[1] for node in nodes] == ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia1"]  # fmt: skip
    assert {node[2] for node in nodes} == {"rwm"}


def test_a_library_lies_under_each_name_where_two_kinds_of_loaders_look(tmp_path: Path) -> None:
    host = inventory(tmp_path)
    places = {path: source for source, path, _ in plan_plain(host, REQUEST, host.gpus).mounts}
    version = host.driver_version
    for directory in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64"):
        for name in ("libcuda.so", "libcuda.so.1", f"libcuda.so.{version}", "libnvidia-ml.so.1"):
            assert places[f"{directory}/{name}"].endswith(version)


def test_what_the_kernel_refuses_or_only_a_hook_can_do_is_no_flag(tmp_path: Path) -> None:
    host = inventory(tmp_path)
    wide = REQUEST._replace(capabilities=("compute", "graphics", "utility"))
    plain = plan_plain(host, wide, host.gpus)
    paths = [path for _, path, _ in plain.mounts] + [file.path for file in plain.files]
    assert not [path for path in paths if path.startswith("/proc/") or path.endswith("ld.so.cache")]
    assert "/etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf" in paths
    assert any("/dev/dri/by-path" in note for note in plain.notes)
    assert 44 in plain.gids


def test_a_field_with_commas_or_quotes_stays_one_field() -> None:
    assert quote_field("source=/a") == "source=/a"
    assert quote_field('source=/a,"b"') == '"source=/a,""b"""'
