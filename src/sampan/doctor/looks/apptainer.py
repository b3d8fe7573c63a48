"""Apptainer and Singularity CE: ``--version``; CDI by ``--device`` since Apptainer 1.5 and CE 4.0."""

from sampan.doctor.host import Host, find_version
from sampan.doctor.subject import Engine

CDI_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")


def look_at_apptainer(host: Host) -> Engine:
    """Apptainer, else Singularity under its own name."""
    for name, first in (("apptainer", (1, 5)), ("singularity", (4, 0))):
        program = host.find_program(name)
        if not program:
            continue
        answer = host.ask(program, "--version")
        version = find_version(answer.output)
        knows = version >= first
        since = ".".join(map(str, first))
        return Engine(
            "apptainer",
            program,
            version,
            "" if version else (answer.said or f"{name} --version said nothing").splitlines()[0],
            rootless=host.uid != 0,
            cdi_directories=CDI_DIRECTORIES if knows else (),
            cdi_switch="" if knows else f"{name} has --device since {since}",
        )
    return Engine("apptainer")
