"""From the user's words to a launch: image, facts, driver import, host, document.

The one place where everything that a native container depends on comes together, before anything
is made. On the start path.
"""

import json
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from sampan.engines.native import state, trace
from sampan.engines.native.bundle import Bundle, HostAbilities, build_config
from sampan.engines.native.capabilities import NAMES as CAPABILITIES
from sampan.engines.native.capabilities import choose_capabilities
from sampan.engines.native.cgroup_choice import CgroupChoice, choose_cgroups
from sampan.engines.native.device_links import mount_device_links
from sampan.engines.native.filesystems import anonymous_volumes
from sampan.engines.native.host import Host, look_at_host, plan_user_namespace
from sampan.engines.native.image_ways import ImageWays, plan_image_ways
from sampan.engines.native.launch_plan import Launch
from sampan.engines.native.name_files import plan_name_files
from sampan.engines.native.names import random_name
from sampan.engines.native.process import DEFAULT_PATH, Process, plan_process
from sampan.engines.native.rootfs import FILES, RootfsPlan
from sampan.engines.native.runtime import Runtime, locate_runtime, runtime_options
from sampan.engines.native.seccomp import load_security
from sampan.engines.native.security import parse_security_options
from sampan.engines.native.users import User, resolve_user
from sampan.engines.native.writable_layer import plan_writable_directory
from sampan.errors import SampanError
from sampan.images.documents import read_config, read_document
from sampan.images.facts_json import load_facts
from sampan.images.sif import locate_system_partition
from sampan.images.store import StoredImage, locate_image
from sampan.kernel import userns
from sampan.kernel.cgroups import CgroupPlan
from sampan.kernel.programs import find_executable
from sampan.model.container import ContainerSpec, PublishedPort
from sampan.model.facts import ImageFacts, architecture_word
from sampan.model.image import ImageConfig, Platform
from sampan.model.plan import ImportPlan, PlannedFile

if TYPE_CHECKING:
    from sampan.engines.leases import Lease

_MOUNT_SETATTR = (5, 12)
_VISIBLE = "NVIDIA_VISIBLE_DEVICES"


class PlatformError(SampanError):
    """The image in the store is for another platform than the one asked for."""

    id = "platform"


class InitMissingError(SampanError):
    """--init, and no init program on the host."""

    id = "init-missing"


class Prepared(NamedTuple):
    """A container ready to be entered and started; ``warnings`` are for the user.

    Of ``ports`` each has its host port. ``leases`` of GPUs end when nobody holds them any more.
    """

    launch: Launch
    record: state.ContainerRecord
    warnings: tuple[str, ...]
    ports: tuple[PublishedPort, ...] = ()
    leases: "tuple[Lease, ...]" = ()


class _Chosen(NamedTuple):
    """What is decided on the way from the words to the launch."""

    container_id: str
    stored: StoredImage
    image: ImageConfig
    host: Host
    runtime: Runtime
    maps: userns.IdMaps | None
    helpers: tuple[str, str]
    ways: ImageWays
    offset: int
    length: int
    plan: ImportPlan
    gpus: tuple[str, ...]
    user: User
    process: Process
    hostname: str
    mount_point: str
    files: tuple[PlannedFile, ...]
    cgroup: CgroupChoice
    upper: str
    leases: "tuple[Lease, ...]"

    @property
    def crun_root(self) -> str:
        """The runtime's state, on pid 1's own tmpfs."""
        return f"{self.mount_point}/runtime"


def prepare(spec: ContainerSpec) -> Prepared:
    """Decide everything about a container; nothing of it is made yet.

    Raises:
        SampanError: whatever stands in the way, with its remedy.
    """
    chosen, warnings = _choose(spec)
    bundle, missing = _build_bundle(spec, chosen)
    warnings += missing + bundle.warnings + chosen.cgroup.warnings
    cgroup = chosen.cgroup.plan(bundle.device_rules)
    ports, published = _assign_ports(spec)
    launch = _render_launch(spec, chosen, bundle, cgroup)
    record = _render_record(spec, chosen)._replace(
        ports=published, cgroup=":".join(cgroup.directories), warnings=warnings
    )
    trace.mark("decisions")
    return Prepared(launch, record, warnings, ports, chosen.leases)


def _choose(spec: ContainerSpec) -> tuple[_Chosen, tuple[str, ...]]:
    runtime = locate_runtime()
    stored = locate_image(spec.image)
    image = read_config(stored.config_path)
    facts = load_facts(read_document(stored.facts_path))
    warnings = _check_platform(spec, image.platform)
    trace.mark("image, facts")
    container_id = state.new_id()
    user = resolve_user(spec.user or image.user, facts.passwd, facts.group)
    plan, gpus, leases = _plan_driver(spec, image, facts, container_id, (user.uid, user.gid))
    trace.mark("driver import")
    host = look_at_host()
    maps, *helpers = (None, "", "") if host.rootful else plan_user_namespace()
    offset, length = locate_system_partition(stored.sif_path)
    ways = plan_image_ways(stored, offset, rootful=host.rootful, maps=maps)
    if ways.unpacked and maps is not None:
        # The unpacked tree belongs to the user as a whole.
        maps = userns.single_id_maps()
    own_name = os.uname().nodename if spec.network == "host" else container_id[:12]
    hostname = spec.hostname or own_name
    chosen = _Chosen(
        container_id=container_id,
        stored=stored,
        image=image,
        host=host,
        runtime=runtime,
        maps=maps,
        helpers=(helpers[0], helpers[1]),
        ways=ways,
        offset=offset,
        length=length,
        plan=plan,
        gpus=gpus,
        user=user,
        process=plan_process(
            spec, image, home=user.home, hostname=hostname, driver=plan.environment
        ),
        hostname=hostname,
        mount_point=_mount_point(),
        files=(
            *plan_name_files(facts.resolved.get("/etc", "/etc"), hostname, spec.network),
            *plan.files,
        ),
        cgroup=choose_cgroups(spec, host, runtime, container_id),
        upper=plan_writable_directory(container_id, rootful=host.rootful, linux=host.linux),
        leases=leases,
    )
    return chosen, warnings + plan.warnings


def _plan_driver(
    spec: ContainerSpec,
    image: ImageConfig,
    facts: ImageFacts,
    container_id: str,
    owner: tuple[int, int],
) -> "tuple[ImportPlan, tuple[str, ...], tuple[Lease, ...]]":
    """The plan, the names of GPUs and CDI devices, the leases of GPUs that were wanted idle."""
    asked = spec.gpus is not None or spec.cdi_devices
    if not asked and not any(name == _VISIBLE for name, _ in spec.environment):
        # Nobody else asks for GPUs (an image's own variables do not), and looking costs 5 ms.
        return ImportPlan(), (), ()
    from sampan.driver.chosen_roots import chosen_inventory
    from sampan.engines.driver_import import name_devices, prepare_import

    driver = prepare_import(
        gpus_option=spec.gpus,
        image_environment=dict(line.split("=", 1) for line in image.environment if "=" in line),
        user_environment=dict(spec.environment),
        facts=facts,
        privileged=_is_privileged(spec),
        lease_for=container_id,
        find_inventory=lambda: chosen_inventory(spec.driver_root, spec.dev_root),
        cdi_devices=spec.cdi_devices,
        cdi_directories=spec.cdi_directories,
        owner=owner,
    )
    return driver.plan, (*name_devices(driver.gpus), *driver.cdi_devices), driver.leases


def _is_privileged(spec: ContainerSpec) -> bool:
    """Whether the user gives the container what MIG's configuration asks for."""
    everything = frozenset(CAPABILITIES)
    return "SYS_ADMIN" in choose_capabilities(spec.cap_add, spec.cap_drop, everything)[0]


def _build_bundle(spec: ContainerSpec, chosen: _Chosen) -> tuple[Bundle, tuple[str, ...]]:
    """The document, and a warning of capabilities that were asked for in vain."""
    # Whoever can make device nodes must not be able to open them all.
    guarded = chosen.cgroup.guards_devices or chosen.maps is not None
    available = chosen.host.capabilities - (frozenset() if guarded else {"MKNOD"})
    capabilities, missing = choose_capabilities(spec.cap_add, spec.cap_drop, available)
    warning = f"--cap-add {','.join(missing)}: not among the rights of this process"
    security = load_security(
        parse_security_options(spec.security_options),
        capabilities,
        chosen.host.linux,
        compiled=chosen.runtime.kind == "crun",
    )
    trace.mark("seccomp")
    bundle = build_config(
        spec,
        chosen.image,
        chosen.process,
        chosen.user,
        mount_device_links(chosen.plan, f"{chosen.mount_point}/{FILES}"),
        HostAbilities(
            chosen.maps,
            chosen.host.may_raise_limits,
            chosen.cgroup.view,
            bool(chosen.cgroup.runtime_path),
            chosen.runtime.kind == "crun" and chosen.host.linux >= _MOUNT_SETATTR,
        ),
        security,
        capabilities,
        hostname=chosen.hostname,
        cgroup_path=chosen.cgroup.runtime_path,
        file_sources={
            file.path: f"{chosen.mount_point}/{FILES}/{position}"
            for position, file in enumerate(chosen.files)
            if file.mount
        },
        init=_locate_init() if spec.init else "",
    )
    return bundle, (warning,) if missing else ()


def _render_launch(
    spec: ContainerSpec, chosen: _Chosen, bundle: Bundle, cgroup: CgroupPlan
) -> Launch:
    process, ways = chosen.process, chosen.ways
    wanted = (process.working_directory, *anonymous_volumes(spec, chosen.image.volumes))
    return Launch(
        container_id=chosen.container_id,
        command=process.arguments[0],
        search=_search_path(process.environment),
        directory=process.working_directory,
        mounted=tuple(mount["destination"].rstrip("/") for mount in bundle.config["mounts"]),
        config=json.dumps(bundle.config).encode("utf-8", "surrogateescape"),
        rootfs=RootfsPlan(
            image_path=chosen.stored.sif_path,
            offset=chosen.offset,
            length=chosen.length,
            ways=ways.ways,
            fuse_program=ways.fuse_program,
            fuse_options=ways.fuse_options,
            unpacked=ways.unpacked,
            upper_directory=chosen.upper,
            in_user_namespace=chosen.maps is not None,
            links=chosen.plan.links,
            files=chosen.files,
            directories=tuple(path for path in wanted if path != "/"),
            copied=tuple(
                mount["destination"]
                for mount in bundle.config["mounts"]
                if "tmpcopyup" in mount["options"]
            ),
        ),
        runtime=chosen.runtime,
        runtime_options=runtime_options(
            chosen.runtime,
            chosen.crun_root,
            manages_cgroups=bool(chosen.cgroup.runtime_path),
        ),
        mount_point=chosen.mount_point,
        crun_root=chosen.crun_root,
        network=spec.network,
        id_maps=chosen.maps,
        newuidmap=chosen.helpers[0],
        newgidmap=chosen.helpers[1],
        cgroup=cgroup,
        shadow_cgroups=chosen.cgroup.shadow,
        terminal=spec.terminal,
        interactive=spec.interactive,
        stop_timeout_s=spec.stop_timeout_s,
    )


def _render_record(spec: ContainerSpec, chosen: _Chosen) -> state.ContainerRecord:
    return state.ContainerRecord(
        id=chosen.container_id,
        name=spec.name or random_name(),
        image=spec.image,
        image_digest=chosen.stored.digest,
        command=chosen.process.arguments,
        created=time.time(),
        labels={**chosen.image.labels, **dict(spec.labels)},
        rootless=chosen.maps is not None,
        detached=spec.detach,
        remove=spec.remove,
        terminal=spec.terminal,
        stop_signal=spec.stop_signal or chosen.image.stop_signal,
        stop_timeout_s=spec.stop_timeout_s,
        upper=chosen.upper,
        crun_root=chosen.crun_root,
        gpus=chosen.gpus,
        user=f"{chosen.user.uid}:{chosen.user.gid}",
        hostname=chosen.hostname,
        network=spec.network,
        bundle=chosen.mount_point,
        environment=chosen.process.environment,
        working_directory=chosen.process.working_directory,
        mounts=tuple(
            (mount.kind, mount.source, mount.target, ",".join(mount.options))
            for mount in spec.mounts
        ),
    )


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
    ours = architecture_word(os.uname().machine)
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
