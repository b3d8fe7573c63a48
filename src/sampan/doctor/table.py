"""The table of checks: a name, its module, what it looks at. Modules are imported when chosen."""

from typing import NamedTuple

SCOPES: tuple[str, ...] = ("driver", "cdi", "engine", "sampan", "image", "network")
"""``image`` is looked at with ``--image`` only, ``network`` with ``--network`` only."""


class Check(NamedTuple):
    """One check.

    Attributes:
        module: in ``sampan.doctor.checks``; it has ``check(subject)``, which yields findings.
        scope: one of SCOPES.
        summary: one line for ``sampan doctor --list``.
    """

    module: str
    scope: str
    summary: str


CHECKS: dict[str, Check] = {
    "driver": Check("driver", "driver", "there is a driver that can be imported"),
    "driver-versions": Check(
        "driver_versions", "driver", "kernel module, libraries and NVML are of one release"
    ),
    "nvml": Check("nvml", "driver", "NVML loads, answers, and describes every GPU"),
    "device-nodes": Check("device_nodes", "driver", "nodes exist and may be opened; nvidia-uvm"),
    "char-links": Check("char_links", "driver", "/dev/char has links for device rules"),
    "graphics": Check("graphics", "driver", "what Vulkan, EGL and OpenGL need of the host"),
    "driver-files": Check("driver_files", "driver", "one driver's files only, no dangling links"),
    "mig": Check("mig", "driver", "GPUs in MIG mode have devices that can be asked for"),
    "node-groups": Check("node_groups", "driver", "groups of nodes, which rootless engines drop"),
    "selinux": Check("selinux", "driver", "SELinux lets containers use nodes and libraries"),
    "wsl": Check("wsl", "driver", "Windows' driver, and no Linux driver beside it"),
    "cdi-documents": Check("cdi_documents", "cdi", "CDI documents are valid, readable, unique"),
    "cdi-stale": Check("cdi_stale", "cdi", "CDI documents fit the driver that is loaded"),
    "cdi-complete": Check("cdi_complete", "cdi", "CDI documents have every GPU and MIG device"),
    "cdi-refresh": Check("cdi_refresh", "cdi", "something renews CDI documents"),
    "engines": Check("engines", "engine", "which engines are installed and answer"),
    "cdi-engines": Check(
        "cdi_engines", "engine", "engines read CDI: switch, directories, versions"
    ),
    "docker-gpus": Check("docker_gpus", "engine", "docker run --gpus can work"),
    "cgroup-reapply": Check(
        "cgroup_reapply", "engine", "GPUs do not vanish from running containers"
    ),
    "no-cgroups": Check("no_cgroups", "engine", "no-cgroups of NVIDIA's toolkit fits the engines"),
    "rootless-bpf": Check("rootless_bpf", "engine", "NVIDIA's hook may set device programs"),
    "swarm": Check("swarm", "engine", "generic resources of a swarm reach the toolkit"),
    "read-only-root": Check("read_only_root", "engine", "hooks and read-only root file systems"),
    "mount-options": Check("mount_options", "engine", "hidepid and noexec, which stop the hook"),
    "apt-sources": Check("apt_sources", "engine", "apt's lists name one key for a repository"),
    "user-namespaces": Check("user_namespaces", "sampan", "users get user namespaces"),
    "subordinate-ids": Check("subordinate_ids", "sampan", "this user has further ids"),
    "image-mounts": Check("image_mounts", "sampan", "images can be mounted"),
    "cgroups": Check("cgroups", "sampan", "limits can be applied"),
    "programs": Check("programs", "sampan", "runtime, monitor, network and init are installed"),
    "store": Check("store", "sampan", "rights, room and file system of the store"),
    "credentials": Check("credentials", "sampan", "keys of registries are private"),
    "image-platform": Check("image_platform", "image", "libc and architecture fit the driver"),
    "image-requirements": Check("image_requirements", "image", "NVIDIA_REQUIRE_* is met here"),
    "image-driver-files": Check("image_driver_files", "image", "no driver files in the image"),
    "image-graphics": Check("image_graphics", "image", "loaders and the capability to draw"),
    "image-compat": Check("image_compat", "image", "forward compatibility: errors 803 and 804"),
    "image-groups": Check("image_groups", "image", "names of the nodes' groups"),
    "registries": Check("registries", "network", "NGC's hosts answer, through the proxy"),
}
