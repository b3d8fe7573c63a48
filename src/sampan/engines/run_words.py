"""A ContainerSpec as the words of ``docker run`` or ``podman run``. Pure.

The options have the same meaning as with the native engine: its network is the host's, and
/dev/shm has half of the memory. What an engine cannot do is refused by the option's name.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sampan.engines.protocol import EngineOptionError
from sampan.injection.mount_words import quote_field, render_bind
from sampan.model.container import ContainerSpec, PublishedPort, VolumeMount

_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_DEFAULT_STOP_S = 10
_NATIVE = "sampan run without --engine"


class GivenWords(NamedTuple):
    """What is handed on as it was typed, since docker's grammar is ours.

    Attributes:
        env_files: of ``--env-file``.
        variables: of ``-e``.
        pull: of ``--pull``.
    """

    env_files: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    pull: str = "missing"


def render_run(
    engine: str, spec: ContainerSpec, given: GivenWords, memory_bytes: int, gpu_words: Sequence[str]
) -> list[str]:
    """The words after ``run``.

    Args:
        engine: ``docker`` or ``podman``.
        spec: what is wanted; its GPUs and CDI devices are in ``gpu_words``.
        given: as typed.
        memory_bytes: of the host, half of which /dev/shm gets unless the user says how much.
        gpu_words: options; they come last, since the last ``-e`` of a name counts.

    Raises:
        EngineOptionError: the engine has no such option.
    """
    words = [
        *_process_words(engine, spec, given),
        *_life_words(spec),
        *_isolation_words(engine, spec),
        *(word for mount in spec.mounts for word in _mount_words(engine, mount)),
        *_device_words(spec),
        *_resource_words(spec, memory_bytes),
        *gpu_words,
    ]
    return [*words, "--", spec.image, *spec.arguments]


def _process_words(engine: str, spec: ContainerSpec, given: GivenWords) -> list[str]:
    words = ["--interactive"] if spec.interactive else []
    words += ["--tty"] if spec.terminal else []
    words += [word for path in given.env_files for word in ("--env-file", path)]
    removed = set(spec.removed_variables)
    for text in given.variables:
        if engine == "podman" and text in removed:
            # docker takes -e NAME, where NAME is not set here, as our own engine does.
            words += ["--unsetenv", text]
        else:
            words += ["--env", text]
    words += ["--workdir", spec.working_directory] if spec.working_directory else []
    words += ["--user", spec.user] if spec.user else []
    if spec.entrypoint is not None:
        words += ["--entrypoint", "".join(spec.entrypoint)]
    words += ["--init"] if spec.init else []
    words += ["--platform", spec.platform] if spec.platform else []
    # The engines' own default is the same, and docker before 20.10 has no such option.
    words += [f"--pull={given.pull}"] if given.pull != "missing" else []
    return words


def _life_words(spec: ContainerSpec) -> list[str]:
    words = ["--detach"] if spec.detach else []
    words += ["--rm"] if spec.remove else []
    words += ["--name", spec.name] if spec.name else []
    words += [word for name, value in spec.labels for word in ("--label", f"{name}={value}")]
    words += ["--stop-signal", spec.stop_signal] if spec.stop_signal else []
    if spec.stop_timeout_s != _DEFAULT_STOP_S:
        words += ["--stop-timeout", str(spec.stop_timeout_s)]
    return words


def _isolation_words(engine: str, spec: ContainerSpec) -> list[str]:
    words = ["--hostname", spec.hostname] if spec.hostname else []
    if spec.network != "private":
        # Private is what each engine gives by itself: a bridge, or pasta without root.
        words += ["--network", spec.network]
    words += [word for port in spec.ports for word in ("--publish", _port(port))]
    words += ["--ipc", spec.ipc] if spec.ipc != "private" else []
    words += [word for name in spec.cap_add for word in ("--cap-add", name.removeprefix("CAP_"))]
    words += [word for name in spec.cap_drop for word in ("--cap-drop", name.removeprefix("CAP_"))]
    for text in spec.security_options:
        if engine == "podman" and text == "systempaths=unconfined":
            words += ["--security-opt", "unmask=ALL"]
        else:
            words += ["--security-opt", text]
    return words


def _port(port: PublishedPort) -> str:
    address = f"[{port.address}]" if ":" in port.address else port.address
    host = str(port.host_port) if port.host_port else ""
    inside = f"{port.container_port}/{port.protocol}"
    if address:
        return f"{address}:{host}:{inside}"
    return f"{host}:{inside}" if host else inside


def _mount_words(engine: str, mount: VolumeMount) -> list[str]:
    if mount.kind == "tmpfs":
        return ["--tmpfs", f"{mount.target}:{','.join(mount.options)}"]
    if mount.kind == "volume":
        fields = ["type=volume", quote_field(f"target={mount.target}")]
        return ["--mount", ",".join(fields + (["readonly"] if "ro" in mount.options else []))]
    further = []
    for option in mount.options:
        if option in _PROPAGATIONS:
            further.append(f"bind-propagation={option}")
        elif option == "bind":
            further.append("bind-nonrecursive")
        elif option not in ("ro", "rw", "rbind", "exec", "suid", "dev"):
            raise EngineOptionError(
                f"{engine} is not told to mount with {option}",
                evidence=f"-v {mount.source}:{mount.target}:{option}",
                remedy=f"leave {option} out, or use {_NATIVE}",
            )
    return render_bind(mount.source, mount.target, read_only="ro" in mount.options, further=further)


def _device_words(spec: ContainerSpec) -> list[str]:
    words = ["--read-only"] if spec.read_only else []
    for host_path, path, permissions in spec.devices:
        words += ["--device", f"{host_path}:{path}:{permissions}"]
    return words


def _resource_words(spec: ContainerSpec, memory_bytes: int) -> list[str]:
    words = []
    shm = spec.shm_bytes if spec.shm_bytes is not None else memory_bytes // 2
    if spec.ipc == "private" and shm:
        words += ["--shm-size", str(shm)]
    for name, soft, hard in spec.ulimits:
        words += ["--ulimit", f"{name}={soft}:{hard}"]
    words += ["--memory", str(spec.memory_bytes)] if spec.memory_bytes else []
    words += ["--cpus", f"{spec.cpus:g}"] if spec.cpus else []
    words += ["--pids-limit", str(spec.pids_limit)] if spec.pids_limit else []
    return words
