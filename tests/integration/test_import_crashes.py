"""kill -9, broken layers, full disks, several imports at once: nothing half-written is ever seen."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from sampan.images.catalogue import list_names, list_records
from sampan.images.importer import ImportEvent, import_image
from sampan.images.limits import LayerError
from sampan.images.store import find_image
from sampan.images.store_access import create_store, import_lock
from sampan.images.store_layout import StoreLayout
from sampan.model.source import SourceError
from support.layouts import LayoutMaker, make_tar, write_docker_archive

pytestmark = pytest.mark.integration

IMPORT = """
import sys
from sampan.images.importer import import_image
from sampan.images.store_layout import StoreLayout

def tell(event):
    if event.stage != "wait":
        print(event.kind, event.text, flush=True)

image = import_image(sys.argv[1], sys.argv[2], store=StoreLayout(sys.argv[3]), progress=tell)
print("done", image.digest, flush=True)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
NOISE = [make_tar({f"layer{n}/noise": os.urandom(10 << 20)}) for n in range(2)]
SMALL = make_tar({"etc": None, "etc/name": b"small"})


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Two layers that are worth a worker process each, and a small one."""
    maker = LayoutMaker(tmp_path / "layout")
    maker.write_index([maker.add_image([*NOISE, SMALL], compress=bytes, ending="")])
    return maker.root


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    return StoreLayout(str(tmp_path / "store"))


def start_import(source: Path, store: StoreLayout, name: str = "a") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", IMPORT, str(source), name, store.root],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def visible(store: StoreLayout) -> tuple[int, int]:
    return len(list_records(store)), len(list_names(store))


# Where to stop: before the packing, in it, after the first layer, before and in the link.
@pytest.mark.parametrize("moment", ["layers", "layer", "packed", "link", "done"])
def test_an_import_killed_at_any_moment_shows_nothing_and_can_be_done_again(
    layout: Path, store: StoreLayout, moment: str
) -> None:
    with start_import(layout, store) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.split()[0] == moment:
                break
        process.kill()
    if moment != "done":
        records, names = visible(store)
        # The kill may come when the link is through: then the image is whole.
        assert names <= records
        assert find_image("a", store=store) is None or names == 1
    image = import_image(str(layout), "a", store=store)
    assert find_image("a", store=store) == image
    assert visible(store) == (1, 1)


def test_a_killed_import_leaves_only_names_that_the_prune_sweeps(
    layout: Path, store: StoreLayout
) -> None:
    with start_import(layout, store) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("layer "):
                break
        process.kill()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from sampan.cli.main import main; raise SystemExit(main())",
            "prune",
        ],
        env={**ENVIRONMENT, "SAMPAN_STORE": store.root},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    files = [path.name for path in Path(store.root).rglob("*") if path.is_file()]
    assert sorted(files) == ["names.lock", "store.lock"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_import_cleans_up(
    tmp_path: Path, store: StoreLayout, number: int, code: int
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = "from sampan.cli.main import main; raise SystemExit(main())"
    with (
        subprocess.Popen(
            [sys.executable, "-c", command, "import", "-q", str(fifo), "a"],
            env={**ENVIRONMENT, "SAMPAN_STORE": store.root},
        ) as process,
        fifo.open("wb") as stream,
    ):
        stream.write(NOISE[0][: 5 << 20])
        stream.flush()
        while not list(Path(store.root).rglob(".tmp-*")):
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait() == code
    assert not list(Path(store.root).rglob(".tmp-*"))
    assert visible(store) == (0, 0)


def test_a_killed_worker_fails_the_import_and_leaves_nothing_visible(
    layout: Path, store: StoreLayout
) -> None:
    with start_import(layout, store) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("layer "):
                break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if not children:
            process.kill()
            pytest.skip("one core: layers are packed without worker processes")
        os.kill(int(children[0]), signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode != 0
    assert "WorkerError" in errors
    assert visible(store) == (0, 0)
    import_image(str(layout), "a", store=store)


def test_several_imports_of_one_image_do_the_work_once(layout: Path, store: StoreLayout) -> None:
    processes = [start_import(layout, store, name) for name in ("a", "b", "c", "d")]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert len({output.split()[-1] for output, _ in outputs}) == 1
    for label in {
        line.split(" ", 1)[1]
        for output, _ in outputs
        for line in output.splitlines()
        if line.startswith("layer ")
    }:
        assert sum(f"layer {label}\n" in output for output, _ in outputs) == 1
    assert visible(store) == (1, 4)
    assert not list(Path(store.root).rglob(".tmp-*"))


def test_a_prune_waits_for_a_running_import(store: StoreLayout) -> None:
    create_store(store)
    with import_lock(store):
        prune = subprocess.Popen(
            [sys.executable, "-c", "from sampan.cli.main import main; raise SystemExit(main())",
             "prune"],
            env={**ENVIRONMENT, "SAMPAN_STORE": store.root},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        lock = os.stat(f"{store.locks}/store.lock").st_ino
        # /proc/locks marks a waiting lock by an arrow.
        while not any(
            "->" in line and f":{lock} " in line
            for line in Path("/proc/locks").read_text().splitlines()
        ):
            assert prune.poll() is None
    assert prune.wait() == 0


def test_a_layer_with_other_content_than_its_digest_is_refused(
    tmp_path: Path, store: StoreLayout
) -> None:
    maker = LayoutMaker(tmp_path / "bad")
    entry = maker.add_image([SMALL])
    maker.write_index([entry])
    document = json.loads(maker.blob_path(entry["digest"]).read_bytes())
    blob = maker.blob_path(document["layers"][0]["digest"])
    content = bytearray(blob.read_bytes())
    content[9] ^= 1  # gzip's operating system byte: the same tar, another digest
    blob.write_bytes(content)
    with pytest.raises(LayerError) as caught:
        import_image(str(maker.root), "a", store=store)
    assert "digest" in str(caught.value)
    assert visible(store) == (0, 0)
    assert os.listdir(store.packs("zstd")) == []


def test_a_layer_with_another_diff_id_is_refused_packed_or_not(
    tmp_path: Path, store: StoreLayout
) -> None:
    wrong = ["sha256:" + "0" * 64]
    maker = LayoutMaker(tmp_path / "bad")
    maker.write_index([maker.add_image([SMALL], diff_ids=wrong)])
    with pytest.raises(LayerError, match="diffID"):
        import_image(str(maker.root), "a", store=store)
    honest = LayoutMaker(tmp_path / "good")
    honest.write_index([honest.add_image([SMALL])])
    import_image(str(honest.root), "good", store=store)
    with pytest.raises(SourceError, match="not the one that the configuration names"):
        import_image(str(maker.root), "a", store=store)
    assert visible(store) == (1, 1)


def test_a_truncated_layer_of_a_docker_archive_is_refused(
    tmp_path: Path, store: StoreLayout
) -> None:
    path = write_docker_archive(tmp_path / "saved.tar", [SMALL[:700]])
    with pytest.raises(LayerError, match="truncated"):
        import_image(str(path), "a", store=store)
    assert visible(store) == (0, 0)


def test_a_layer_that_umoci_insert_left_open_is_read(tmp_path: Path, store: StoreLayout) -> None:
    """umoci 0.4 writes neither padding nor end marker; docker and podman read such layers."""
    maker = LayoutMaker(tmp_path / "umoci")
    maker.write_index([maker.add_image([SMALL[: 512 + 512 + 5]])])
    assert import_image(str(maker.root), "a", store=store).digest


def test_equal_layers_of_one_image_are_packed_once(tmp_path: Path, store: StoreLayout) -> None:
    path = write_docker_archive(tmp_path / "saved.tar", [SMALL, NOISE[0], SMALL])
    events: list[ImportEvent] = []
    import_image(str(path), "a", store=store, progress=events.append)
    assert sum(event.kind == "packed" for event in events) == 2


def test_a_full_disk_is_said_with_the_path_and_a_way_out(layout: Path, tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    done = in_own_mounts(
        f"mount -t tmpfs -o size=15m none {mount} && "
        f"SAMPAN_STORE={mount}/store {sys.executable} -c "
        f"'from sampan.cli.main import main; raise SystemExit(main())' import {layout} a; code=$?; "
        f"find {mount} -name '*.sif' -o -name '*.record.json' -o -name '.tmp-*'; exit $code"
    )
    assert done.returncode == 125, done
    assert "error[store]: not enough room in the store" in done.stderr
    assert "are missing" in done.stderr
    assert "SAMPAN_STORE=" in done.stderr
    assert done.stdout == ""


def test_a_disk_that_becomes_full_meanwhile_is_said_too(tmp_path: Path) -> None:
    mount, tree = tmp_path / "small", tmp_path / "tree"
    mount.mkdir()
    tree.mkdir()
    (tree / "noise").write_bytes(os.urandom(20 << 20))
    done = in_own_mounts(
        f"mount -t tmpfs -o size=15m none {mount} && "
        f"SAMPAN_STORE={mount}/store {sys.executable} -c "
        f"'from sampan.cli.main import main; raise SystemExit(main())' import {tree} a; code=$?; "
        f"find {mount} -name '*.sif' -o -name '*.record.json' -o -name '.tmp-*'; exit $code"
    )
    assert done.returncode == 125, done
    assert "error[store]: cannot write to the store" in done.stderr
    assert "No space left on device" in done.stderr
    assert "sampan prune" in done.stderr
    assert done.stdout == ""


def in_own_mounts(script: str) -> "subprocess.CompletedProcess[str]":
    command: Sequence[str] = ["unshare", "-rm", "sh", "-c"]
    probe = subprocess.run([*command, "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"no mount namespace for this user: {probe.stderr.strip()}")
    return subprocess.run([*command, script], env=ENVIRONMENT, capture_output=True, text=True)
