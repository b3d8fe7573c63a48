"""The options of ``sampan run``, in ``docker run``'s words, and the ContainerSpec they make.

Options end at the image; what follows belongs to the container. The values' grammars are in
``option_values.py`` and ``option_mounts.py``. On the start path: light imports.
"""

import argparse
import os

from sampan.cli.driver_options import add_root_options
from sampan.cli.flags import add_flag
from sampan.cli.option_mounts import (
    parse_device,
    parse_mount,
    parse_tmpfs,
    parse_volume,
    split_devices,
    verify_targets,
)
from sampan.cli.option_values import (
    parse_cpus,
    parse_label,
    parse_number,
    parse_ports,
    parse_size,
    parse_ulimit,
    read_variables,
    refuse_value,
)
from sampan.cli.pulling import add_pull_option
from sampan.cli.registry_options import add_registry_options
from sampan.errors import UsageError
from sampan.model.container import ContainerSpec, VolumeMount

_NETWORKS = {"host": "host", "none": "none", "private": "private", "bridge": "private"}
_IPCS = {"private": "private", "shareable": "private", "host": "host", "none": "none"}
_SECURITY = ("no-new-privileges", "seccomp", "apparmor", "label", "systempaths")
_LEAST_MEMORY = 6 << 20
ENGINES = ("native", "docker", "podman")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; ``parse_spec`` reads what the parser makes of them."""
    parser.usage = "sampan run [OPTIONS] IMAGE [COMMAND] [ARG...]"
    _add_process_options(parser)
    _add_life_options(parser)
    _add_isolation_options(parser)
    _add_file_options(parser)
    _add_resource_options(parser)
    add_registry_options(parser.add_argument_group("registry, for an image that is pulled"))
    # One positional that takes all the rest: with two, argparse would eat a "--" behind IMAGE.
    parser.add_argument(
        "words",
        metavar="IMAGE",
        nargs=argparse.PARSER,
        help="name, id or digest of an image; then the command and its arguments, if they are to "
        "replace the image's",
    )


def parse_spec(arguments: argparse.Namespace) -> ContainerSpec:
    """The container that the options describe.

    Raises:
        UsageError: a value outside its option's grammar, or options that contradict each other.
    """
    words = arguments.words[1:] if arguments.words[0] == "--" else arguments.words
    variables, removed = read_variables(arguments.env_file, arguments.env, dict(os.environ))
    ports = tuple(port for text in arguments.publish for port in parse_ports(text))
    nodes, cdi_devices = split_devices(arguments.device)
    network = _network(arguments.network, published=bool(ports))
    if ports and network != "private":
        from sampan.cli.render import print_warning

        print_warning(f"published ports have no meaning with --network {arguments.network}")
        ports = ()
    return ContainerSpec(
        image=_image(words),
        arguments=tuple(words[1:]),
        name=_name(arguments.name),
        entrypoint=None if arguments.entrypoint is None else (arguments.entrypoint,),
        environment=variables,
        labels=tuple(parse_label(text) for text in arguments.label),
        mounts=tuple(_mounts(arguments)),
        devices=tuple(device for text in nodes for device in parse_device(text)),
        ports=ports,
        ulimits=tuple(parse_ulimit(text) for text in arguments.ulimit),
        cap_add=tuple(_capability(text) for text in arguments.cap_add),
        cap_drop=tuple(_capability(text) for text in arguments.cap_drop),
        security_options=tuple(_security_option(text) for text in arguments.security_opt),
        interactive=arguments.interactive,
        terminal=arguments.tty,
        detach=arguments.detach,
        remove=arguments.rm,
        read_only=arguments.read_only,
        init=arguments.init,
        working_directory=_working_directory(arguments.workdir),
        user=arguments.user,
        hostname=_hostname(arguments.hostname),
        network=network,
        ipc=_choice("--ipc", arguments.ipc, _IPCS),
        shm_bytes=parse_size("--shm-size", arguments.shm_size) if arguments.shm_size else None,
        memory_bytes=_memory(arguments.memory),
        cpus=parse_cpus(arguments.cpus) if arguments.cpus else None,
        pids_limit=_pids_limit(arguments.pids_limit),
        stop_signal=_stop_signal(arguments.stop_signal),
        stop_timeout_s=parse_number("--stop-timeout", arguments.stop_timeout, -1),
        gpus=arguments.gpus,
        platform=arguments.platform,
        removed_variables=removed,
        cdi_devices=tuple(cdi_devices),
        cdi_directories=tuple(arguments.cdi_spec_dir),
        driver_root=arguments.driver_root,
        dev_root=arguments.dev_root,
    )


def _add_process_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("process").add_argument
    add_flag(add, "-i", "--interactive", help="pass our standard input on")
    add_flag(add, "-t", "--tty", help="give the container a terminal")
    add("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="set a variable; without VALUE: as it is here, removed if it is not")  # fmt: skip
    add("--env-file", action="append", default=[], metavar="FILE", help="set the variables in FILE")
    add("-w", "--workdir", default="", metavar="DIR", help="working directory in the container")
    add("-u", "--user", default="", metavar="USER[:GROUP]", help="names or numeric ids")
    add("--entrypoint", metavar="PROGRAM", help='in place of the image\'s; "" clears it')
    add_flag(add, "--init", help="run a small init that forwards signals and reaps")
    add("--gpus", metavar="GPUS", help="all, a number, idle:N (least used, leased), or device=ID,… (number, UUID, bus id, 0:1 for MIG)")  # fmt: skip
    add_root_options(add)
    add("--platform", default="", metavar="OS/ARCH", help="which image of a name to take")
    add_pull_option(add)
    add("--engine", choices=ENGINES, default=os.environ.get("SAMPAN_ENGINE", ""), metavar="|".join(ENGINES), help="whose container it is, and whose image store; default: $SAMPAN_ENGINE, else native")  # fmt: skip
    add_flag(add, "--verbose", help="with --engine: say how GPUs get in, why so, and what is run")


def _add_life_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("life").add_argument
    add_flag(add, "-d", "--detach", help="run in the background and print the id")
    add_flag(add, "--rm", help="forget the container when it ends")
    add("--name", default="", help="name of the container; default: a random one")
    add("-l", "--label", action="append", default=[], metavar="KEY=VALUE", help="attach a label")
    add("--stop-signal", default="", metavar="SIGNAL", help="what sampan stop sends first")
    add("--stop-timeout", default="10", metavar="SECONDS", help="from stop signal to SIGKILL (10)")


def _add_isolation_options(parser: argparse.ArgumentParser) -> None:
    # -h is --hostname as with docker; --help stays.
    add = parser.add_argument_group("isolation", conflict_handler="resolve").add_argument
    add("-h", "--hostname", default="", help="host name inside")
    add("--network", "--net", metavar="host|none|private", help="default: host; with -p: private")
    add("-p", "--publish", action="append", default=[], metavar="[[IP:]HOST:]PORT[/udp]", help="make a container port reachable; implies --network private")  # fmt: skip
    add("--ipc", default="private", metavar="private|host|none", help="System V and POSIX IPC")
    add("--cap-add", action="append", default=[], metavar="CAP", help="add a capability, or ALL")
    add("--cap-drop", action="append", default=[], metavar="CAP", help="drop a capability, or ALL")
    add("--security-opt", action="append", default=[], metavar="OPTION", help="no-new-privileges, seccomp=unconfined|FILE, apparmor=PROFILE, label=…")  # fmt: skip


def _add_file_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("files").add_argument
    add("-v", "--volume", action="append", default=[], metavar="SOURCE:TARGET[:ro]", help="show a host path, which must exist, in the container; ro: with all mounted below it")  # fmt: skip
    add("--mount", action="append", default=[], metavar="type=bind,src=…,dst=…", help="the same in long form; type bind, tmpfs or volume")  # fmt: skip
    add("--tmpfs", action="append", default=[], metavar="TARGET[:OPTIONS]", help="mount a tmpfs")
    add("--device", action="append", default=[], metavar="HOST[:TARGET][:rwm]|VENDOR/CLASS=NAME", help="pass a device node on, or give the container a CDI device of any vendor")  # fmt: skip
    add("--cdi-spec-dir", action="append", default=[], metavar="DIR", help="look for CDI devices here; default: /etc/cdi, /run/cdi, /var/run/cdi")  # fmt: skip
    add_flag(add, "--read-only", help="make the root file system read-only")


def _add_resource_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("resources").add_argument
    add("--shm-size", default="", metavar="SIZE", help="size of /dev/shm; default: half the memory")
    add("--ulimit", action="append", default=[], metavar="NAME=SOFT[:HARD]", help="a resource limit, -1: none")  # fmt: skip
    add("-m", "--memory", default="", metavar="SIZE", help="memory limit, e.g. 4g")
    add("--cpus", default="", metavar="NUMBER", help="CPU limit, e.g. 1.5")
    add("--pids-limit", default="", metavar="NUMBER", help="limit of processes; -1: none")


def _mounts(arguments: argparse.Namespace) -> list[VolumeMount]:
    mounts = [parse_volume(text) for text in arguments.volume]
    mounts += [parse_mount(text) for text in arguments.mount]
    mounts += [parse_tmpfs(text) for text in arguments.tmpfs]
    verify_targets(mounts)
    return mounts


def _image(words: list[str]) -> str:
    if not words or not words[0]:
        raise UsageError("no image is named", remedy="sampan images lists the images")
    return words[0]


def _name(text: str) -> str:
    if not text:
        return ""
    from sampan.engines.native.names import verify_name

    return verify_name(text)


def _choice(option: str, text: str, choices: dict[str, str]) -> str:
    if text not in choices:
        refuse_value(
            option, text, f"one of {', '.join(choices)}", f"{option} {next(iter(choices))}"
        )
    return choices[text]


def _network(text: str | None, *, published: bool) -> str:
    if text is None:
        return "private" if published else "host"
    return _choice("--network", text, _NETWORKS)


def _capability(text: str) -> str:
    name = text.upper()
    return name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}"


def _security_option(text: str) -> str:
    name = text.replace(":", "=", 1).partition("=")[0]
    if name not in _SECURITY:
        known = ", ".join(_SECURITY)
        refuse_value("--security-opt", text, f"one of {known}", "--security-opt seccomp=unconfined")
    return text.replace(":", "=", 1) if "=" not in text else text


def _working_directory(text: str) -> str:
    if text and not text.startswith("/"):
        refuse_value("--workdir", text, "an absolute path in the container", "-w /work")
    return text


def _hostname(text: str) -> str:
    is_fine = len(text) <= 64 and all(one.isalnum() or one in "-._" for one in text)
    if not is_fine or text.startswith(("-", ".")):
        refuse_value(
            "--hostname", text, "letters, digits, -, _ and ., at most 64", "--hostname node1"
        )
    return text


def _memory(text: str) -> int | None:
    if not text:
        return None
    size = parse_size("--memory", text)
    if size and size < _LEAST_MEMORY:
        refuse_value("--memory", text, "6m or more, as docker", "--memory 512m")
    return size or None


def _pids_limit(text: str) -> int | None:
    number = parse_number("--pids-limit", text, -1) if text else 0
    return number if number > 0 else None


def _stop_signal(text: str) -> str:
    if text:
        from sampan.engines.native.signals import parse_signal

        parse_signal(text)
    return text
