"""containerd and CRI-O: their versions, and where and whether they read CDI documents.

containerd docs/cri/config.md: ``enable_cdi`` is off in 1.7, on in 2.0, gone in 2.4.
"""

from sampan.doctor.host import Host, find_version
from sampan.doctor.looks.configuration import merge, read_toml, read_toml_with_parts, table, words
from sampan.doctor.subject import Engine

CDI_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
_PLUGINS = ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri")


def look_at_containerd(host: Host) -> Engine:
    """Read its configuration; the daemon is not asked, for that needs a client."""
    program = host.find_program("containerd")
    if not program:
        return Engine("containerd")
    answer = host.ask(program, "--version")
    version = find_version(answer.output)
    settings = merge(
        read_toml(host, "/etc/containerd/config.toml"),
        read_toml_with_parts(host, "", "/etc/containerd/conf.d", ".toml"),
    )
    plugin = next((found for name in _PLUGINS if (found := table(settings, "plugins", name))), {})
    runtimes = table(plugin, "containerd", "runtimes")
    on = plugin.get("enable_cdi", version >= (2,)) is True or version >= (2, 4)
    if version and version < (1, 7):
        on = False
    return Engine(
        "containerd",
        program,
        version,
        "" if version else (answer.said or "containerd --version said nothing").splitlines()[0],
        runtimes=tuple(sorted(runtimes)) or ("runc",),
        default_runtime=str(table(plugin, "containerd").get("default_runtime_name") or "runc"),
        cgroup_driver=_cgroup_driver(runtimes),
        cdi_directories=(words(plugin.get("cdi_spec_dirs")) or CDI_DIRECTORIES) if on else (),
        cdi_switch="" if on else "enable_cdi is not true in /etc/containerd/config.toml",
    )


def look_at_crio(host: Host) -> Engine:
    """Read its configuration; CDI is always on there since 1.23."""
    program = host.find_program("crio")
    if not program:
        return Engine("crio")
    answer = host.ask(program, "--version")
    version = find_version(answer.output)
    settings = table(
        read_toml_with_parts(host, "/etc/crio/crio.conf", "/etc/crio/crio.conf.d", ".conf"),
        "crio",
        "runtime",
    )
    knows = not version or version >= (1, 23)
    return Engine(
        "crio",
        program,
        version,
        "" if version else (answer.said or "crio --version said nothing").splitlines()[0],
        runtimes=tuple(sorted(table(settings, "runtimes"))) or ("crun",),
        default_runtime=str(settings.get("default_runtime") or "crun"),
        cgroup_driver=str(settings.get("cgroup_manager") or "systemd"),
        cdi_directories=(words(settings.get("cdi_spec_dirs")) or CDI_DIRECTORIES) if knows else (),
        cdi_switch="" if knows else "cri-o has CDI since 1.23",
    )


def _cgroup_driver(runtimes: dict[str, object]) -> str:
    for name in runtimes:
        if table(runtimes, name, "options").get("SystemdCgroup") is True:
            return "systemd"
    return ""
