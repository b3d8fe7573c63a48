"""Which container engines are here, and whether they answer."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, broken, info, ok
from sampan.doctor.host import show_version
from sampan.doctor.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """One statement for each."""
    if not subject.engines:
        yield ok("engines", "no other container engine is installed; sampan run needs none")
    for engine in subject.engines:
        if not engine.program:
            yield broken(
                "engine-absent",
                f"{engine.kind} is not installed",
                "not on PATH, nor in the system directories",
                remedy=f"install {engine.kind}, or use sampan run",
            )
        elif engine.problem:
            yield info(
                "engine-silent",
                f"{engine.kind} does not answer; only its files were looked at",
                engine.problem,
                remedy=f"{engine.program} info",
            )
        else:
            facts = [engine.program, "rootless" if engine.rootless else "root"]
            if engine.cgroup_driver:
                facts.append(f"cgroup driver {engine.cgroup_driver}")
            if engine.default_runtime:
                facts.append(f"runtime {engine.default_runtime}")
            yield ok("engines", f"{engine.kind} {show_version(engine.version)}", ", ".join(facts))
