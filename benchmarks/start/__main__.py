"""Start to exit of /bin/true, image present: sampan run against bare crun, podman, apptainer.

    python benchmarks/start [--runs 21] [--apptainer COMMAND] [--user root|ordinary|ranged]

Bare crun runs on an unpacked tree, with nothing mounted, planned or cleared away: the floor. The
rows run interleaved; printed are medians and the wall time's ratio to ours. CPU is that of all
processes waited for (podman's conmon is not among them), memory that of the largest process. Run as
root; the ordinary users are the throw-away ones of the engine tests: one id, or a lent range.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from support.engine_host import ORDINARY_UID, EngineHost, engine_host

HERE = Path(__file__).resolve().parent
WARM = 2


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=21, help="of each row")
    parser.add_argument("--apptainer", default="", help="command of apptainer")
    parser.add_argument("--user", action="append", choices=("root", "ordinary", "ranged"))
    arguments = parser.parse_args()
    # The interpreter's compiled modules must be kept, as they are in any installation.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with engine_host() as host:
        for user in arguments.user or ("root", "ordinary"):
            rows, missing = make_rows(host, user, shlex.split(arguments.apptainer))
            answer = run_rows(host, user, rows, arguments.runs)
            report(host, user, rows, answer, missing)
        release_mounts(host.base)
    return 0


def release_mounts(base: Path) -> None:
    """Let go of what podman leaves mounted in its storage."""
    for line in Path("/proc/mounts").read_text().splitlines():
        target = line.split()[1]
        if target.startswith(f"{base}/"):
            subprocess.run(["umount", "-l", target], check=False)


def make_rows(
    host: EngineHost, user: str, apptainer: list[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows that this machine has the programs for, ours first, and what is left out."""
    sampan = str(Path(sys.executable).with_name("sampan"))
    environment = host.environment(user)
    environment.pop("PYTHONWARNINGS")
    rows = [_row("sampan run", [sampan, "run", "--rm", host.image, "/bin/true"], environment)]
    missing = []
    bundle = make_bundle(host, user)
    crun = ["crun", "--root", f"{bundle}/state", "--cgroup-manager=disabled", "run", "-b", str(bundle), "bench"]  # fmt: skip
    rows.append(_row("bare crun", crun, environment, shadow=True))
    if shutil.which("podman"):
        rows += make_podman_rows(host, user, environment)
    else:
        missing.append("podman: not installed")
    if apptainer:
        (sif,) = (host.store / "images/sha256").glob("*.sif")
        rows.append(
            _row("apptainer exec", [*apptainer, "exec", str(sif), "/bin/true"], environment)
        )
    else:
        missing.append("apptainer: no --apptainer COMMAND")
    return rows, missing


def make_bundle(host: EngineHost, user: str) -> Path:
    """A bundle for crun: the unpacked tree and the document that ``crun spec`` writes."""
    bundle = host.home(user) / "bundle"
    shutil.copytree(host.base / "rootfs", bundle / "rootfs", symlinks=True)
    flags = [] if user == "root" else ["--rootless"]
    subprocess.run(["crun", "spec", *flags], cwd=bundle, check=True)
    document = json.loads((bundle / "config.json").read_text())
    document["process"].update(terminal=False, args=["/bin/true"], rlimits=[])
    linux = document["linux"]
    linux["namespaces"] = [
        one for one in linux["namespaces"] if one["type"] not in ("network", "user")
    ]
    for name in ("uidMappings", "gidMappings", "resources"):
        linux.pop(name, None)
    if user != "root":
        document["mounts"] = [
            one for one in document["mounts"] if one["destination"] != "/sys/fs/cgroup"
        ]
        for mount in document["mounts"]:
            mount["options"] = [one for one in mount.get("options", []) if one != "gid=5"]
    (bundle / "config.json").write_text(json.dumps(document))
    if user != "root":
        subprocess.run(
            ["chown", "-R", "--reference", str(host.home(user)), str(bundle)], check=True
        )
    return bundle


def make_podman_rows(
    host: EngineHost, user: str, environment: dict[str, str]
) -> list[dict[str, Any]]:
    """Podman with a storage of its own, holding the same tree."""
    # Its run directory may have no more than 50 characters.
    home = host.base / f"p-{user}"
    home.mkdir(mode=0o700)
    if user != "root":
        os.chown(home, ORDINARY_UID, ORDINARY_UID)
    podman = ["podman", "--root", f"{home}/g", "--runroot", f"{home}/r", "--cgroup-manager", "cgroupfs"]  # fmt: skip
    tar = host.base / "rootfs.tar"
    if not tar.exists():
        subprocess.run(["tar", "-C", host.base / "rootfs", "-cf", tar, "."], check=True)
    environment = {**environment, "XDG_RUNTIME_DIR": str(home)}
    subprocess.run(
        host.command(*podman, "import", str(tar), "bench", user=user, program=("env",)),
        env=environment,
        capture_output=True,
    )
    # Its defaults, but for what crun refuses on hybrid hosts and without CAP_SYS_RESOURCE.
    options = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]
    if os.path.isdir("/sys/fs/cgroup/unified"):
        options.append("--cgroups=disabled")
    shadow = user == "root"
    run = [*podman, "run", "--rm", *options]
    words = ["localhost/bench", "/bin/true"]
    return [
        _row("podman run", [*run, *words], environment, shadow=shadow),
        _row("  --network host", [*run, "--network", "host", *words], environment, shadow=shadow),
    ]


def run_rows(host: EngineHost, user: str, rows: list[dict[str, Any]], runs: int) -> dict[str, Any]:
    """Have the runner measure as that user."""
    program = (sys.executable, str(HERE / "runner.py"))
    done = subprocess.run(
        host.command(user=user, program=program),
        env=host.environment(user),
        input=json.dumps({"rows": rows, "warm": WARM, "runs": runs}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def report(
    host: EngineHost,
    user: str,
    rows: list[dict[str, Any]],
    answer: dict[str, Any],
    missing: list[str],
) -> None:
    """Print the table of one user, and where our milliseconds go."""
    described = {"root": "root", "ordinary": "an ordinary user, one id", "ranged": "an ordinary user, 65,537 ids"}  # fmt: skip
    print(
        f"\nas {described[user]}; {len(os.sched_getaffinity(0))} cores, Linux {os.uname().release}"
    )
    print(f"{'':<18}{'wall ms':>9}{'CPU ms':>9}{'peak MiB':>10}{'to ours':>9}{'runs':>6}")
    ours = median(one[0] for one in answer["results"]["sampan run"])
    for row in rows:
        runs = answer["results"][row["name"]]
        if runs:
            wall, cpu, peak = (median(one[column] for one in runs) for column in range(3))
            print(
                f"{row['name']:<18}{wall:>9.1f}{cpu:>9.1f}{peak:>10.1f}{wall / ours:>8.2f}x{len(runs):>6}"
            )
        else:
            missing.append(f"{row['name']}: {answer['failures'].get(row['name'], 'no run')}")
    floor = answer["results"]["bare crun"]
    if floor:
        print(f"sampan run over bare crun: {ours - median(one[0] for one in floor):.1f} ms")
    for reason in missing:
        print(f"left out: {reason}")
    print("\nwhere the milliseconds of one start go:")
    print(run_rows(host, user, [{**rows[0], "traced": True}], 1)["traces"][-1])


def _row(
    name: str, command: list[str], environment: dict[str, str], *, shadow: bool = False
) -> dict[str, Any]:
    return {"name": name, "command": command, "environment": environment, "shadow": shadow}


if __name__ == "__main__":
    sys.exit(main())
