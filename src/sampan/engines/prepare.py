"""From the user's words to a launch: image, facts, driver import, host, document.

The one place where everything that a native container depends on comes together, before anything
is made. On the start path.
"""

import json
import os
import time
from typing import NamedTuple

from sampan.engines.driver_import import prepare_import
from sampan.engines.native import state, trace
from sampan.engines.native.bundle import HostAbilities, build_config
from sampan.engines.native.capabilities import choose_capabilities
from sampan.engines.native.cgroup_choice import choose_cgroups
from sampan.engines.native.filesystems import anonymous_volumes
from sampan.engines.native.host import look_at_host, plan_user_namespace
from sampan.engines.native.image_ways import plan_image_ways
from sampan.engines.native.launch_plan import Launch
from sampan.engines.native.name_files import plan_name_files
from sampan.engines.native.names import random_name
from sampan.engines.native.process import DEFAULT_PATH, plan_process
from sampan.engines.native.rootfs import FILES, RootfsPlan
from sampan.engines.native.runtime import locate_runtime, runtime_options
from sampan.engines.native.seccomp import load_security
from sampan.engines.native.security import parse_security_options
from sampan.engines.native.users import resolve_user
from sampan.engines.native.writable_layer import make_writable_directory
from sampan.errors import SampanError
from sampan.images.facts_json import load_facts
from sampan.images.sif import locate_system_partition
from sampan.images.store import locate_image
from sampan.kernel import userns
from sampan.kernel.programs import find_executable
from sampan.model.container import ContainerSpec, PublishedPort
from sampan.model.image import Platform, parse_image_config

_GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class PlatformError(SampanError):
    """The image in the store is for another platform than the one asked for."""

    id = "platform"


class InitMissingError(SampanError):
    """--init, and no init program on the host."""

    id = "init-missing"


class Prepared(NamedTuple):
    """A container ready to be entered and started; ``warnings`` are for the user.

    Of ``ports`` each has its host port.
    """

    launch: Launch
    record: state.ContainerRecord
    warnings: tuple[str, ...]
    ports: tuple[PublishedPort, ...] = ()


def prepare(spec: ContainerSpec) -> Prepared:
    """Decide everything about a container. Makes nothing but an empty directory at most.

    Raises:
        SampanError: whatever stands in the way, with its remedy.
    """
    runtime = locate_runtime()
    stored = locate_image(spec.image)
    with open(stored.config_path, "rb") as stream:
        image = parse_image_config(json.load(stream))
    with open(stored.facts_path, "rb") as stream:
        facts = load_facts(stream.read())
    warnings = _check_platform(spec, image.platform)
    trace.mark("image, facts")
    driver = prepare_import(
        gpus_option=spec.gpus,
        image_environment=dict(line.split("=", 1) for line in image.environment if "=" in line),
        user_environment=dict(spec.environment),
        facts=facts,
    )
    warnings += driver.plan.warnings
    trace.mark("driver import")
    host = look_at_host()
    container_id = state.new_id()
    maps, newuidmap, newgidmap = (None, "", "") if host.rootful else plan_user_namespace()
    offset, length = locate_system_partition(stored.sif_path)
    ways = plan_image_ways(stored, offset, rootful=host.rootful, maps=maps)
    if ways.unpacked and maps is not None:
        # The unpacked tree belongs to the user as a whole.
        maps = userns.single_id_maps()
    user = resolve_user(spec.user or image.user, facts.passwd, facts.group)
    hostname = spec.hostname or (
        os.uname().nodename if spec.network == "host" else container_id[:12]
    )
    process = plan_process(
        spec, image, home=user.home, hostname=hostname, driver=driver.plan.environment
    )
    mount_point = _mount_point()
    files = (
        *plan_name_files(facts.resolved.get("/etc", "/etc"), hostname, spec.network),
        *driver.plan.files,
    )
    cgroup_choice = choose_cgroups(spec, host, runtime, container_id)
    # Whoever can make device nodes must not be able to open them all.
    unguarded = frozenset() if cgroup_choice.guards_devices or maps else frozenset(("MKNOD",))
    capabilities, missing = choose_capabilities(
        spec.cap_add, spec.cap_drop, host.capabilities - unguarded
    )
    if missing:
        warnings += (f"--cap-add {','.join(missing)}: not among the rights of this process",)
    abilities = HostAbilities(
        maps, host.may_raise_limits, cgroup_choice.view, bool(cgroup_choice.runtime_path)
    )
    security = load_security(
        parse_security_options(spec.security_options),
        capabilities,
        host.linux,
        compiled=runtime.kind == "crun",
    )
    trace.mark("seccomp")
    bundle = build_config(
        spec,
        image,
        process,
        user,
        driver.plan,
        abilities,
        security,
        capabilities,
        hostname=hostname,
        cgroup_path=cgroup_choice.runtime_path,
        file_sources={
            file.path: f"{mount_point}/{FILES}/{position}"
            for position, file in enumerate(files)
            if file.mount
        },
        init=_locate_init() if spec.init else "",
    )
    cgroup = cgroup_choice.plan(bundle.device_rules)
    warnings += bundle.warnings + cgroup_choice.warnings
    ports, published = _assign_ports(spec)
    upper = make_writable_directory(container_id, rootful=host.rootful, linux=host.linux)
    crun_root = f"{mount_point}/runtime"
    launch = Launch(
        container_id=container_id,
        command=process.arguments[0],
        search=_search_path(process.environment),
        directory=process.working_directory,
        mounted=tuple(mount["destination"].rstrip("/") for mount in bundle.config["mounts"]),
        config=json.dumps(bundle.config).encode("utf-8", "surrogateescape"),
        rootfs=RootfsPlan(
            image_path=stored.sif_path,
            offset=offset,
            length=length,
            ways=ways.ways,
            fuse_program=ways.fuse_program,
            fuse_options=ways.fuse_options,
            unpacked=ways.unpacked,
            upper_directory=upper,
            in_user_namespace=maps is not None,
            links=driver.plan.links,
            files=files,
            directories=tuple(
                path
                for path in (process.working_directory, *anonymous_volumes(spec, image.volumes))
                if path != "/"
            ),
        ),
        runtime=runtime,
        runtime_options=runtime_options(
            runtime, crun_root, manages_cgroups=bool(cgroup_choice.runtime_path)
        ),
        mount_point=mount_point,
        crun_root=crun_root,
        network=spec.network,
        id_maps=maps,
        newuidmap=newuidmap,
        newgidmap=newgidmap,
        cgroup=cgroup,
        shadow_cgroups=cgroup_choice.shadow,
        terminal=spec.terminal,
        interactive=spec.interactive,
        stop_timeout_s=spec.stop_timeout_s,
    )
    record = state.ContainerRecord(
        id=container_id,
        name=spec.name or random_name(),
        image=spec.image,
        image_digest=stored.digest,
        command=process.arguments,
        created=time.time(),
        labels={**image.labels, **dict(spec.labels)},
        rootless=maps is not None,
        detached=spec.detach,
        remove=spec.remove,
        terminal=spec.terminal,
        stop_signal=spec.stop_signal or image.stop_signal,
        stop_timeout_s=spec.stop_timeout_s,
        ports=published,
        cgroup=":".join(cgroup.directories),
        upper=upper,
        crun_root=crun_root,
        warnings=warnings,
        gpus=tuple(gpu.uuid for gpu in driver.gpus),
        user=f"{user.uid}:{user.gid}",
        hostname=hostname,
        network=spec.network,
        bundle=mount_point,
    )
    trace.mark("decisions")
    return Prepared(launch, record, warnings, ports)


def _assign_ports(
    spec: ContainerSpec,
) -> tuple[tuple[PublishedPort, ...], tuple[str, ...]]:
    if not spec.ports:
        return (), ()
    from sampan.engines.native.network import assign_ports, describe_ports

    ports = assign_ports(spec.ports)
    return ports, describe_ports(ports)


def _search_path(environment: tuple[str, ...]) -> str:
    paths = [line.partition("=")[2] for line in environment if line.startswith("PATH=")]
    return paths[-1] if paths else DEFAULT_PATH


def _mount_point() -> str:
    path = f"{state.state_directory()}/mnt"
    if not os.path.isdir(path):
        os.makedirs(path, 0o700, exist_ok=True)
    return path


def _check_platform(spec: ContainerSpec, image: Platform) -> tuple[str, ...]:
    if spec.platform:
        words = spec.platform.split("/")
        wanted = Platform("linux", words[0]) if len(words) == 1 else Platform(words[0], words[1])
        if (wanted.os, wanted.architecture) != (image.os, image.architecture):
            raise PlatformError(
                f"the image {spec.image} in the store is not for {spec.platform}",
                evidence=f"its configuration says {image}",
                remedy=f"sampan pull --platform {spec.platform} {spec.image}",
            )
        return ()
    machine = os.uname().machine
    ours = _GO_ARCHITECTURES.get(machine, machine)
    if image.architecture != ours:
        text = (
            f"the image is for {image}, this host is linux/{ours}: its programs run only where "
            "an emulator is registered (binfmt_misc)"
        )
        return (text,)
    return ()


def _locate_init() -> str:
    for name in ("catatonit", "tini-static", "tini", "docker-init"):
        path = find_executable(name)
        if path:
            return path
    raise InitMissingError(
        "--init needs a small init program, and none is installed",
        evidence="neither catatonit nor tini is on PATH or in the system directories",
        remedy="sudo apt-get install catatonit",
    )
