"""Options of the commands that make CDI documents: nvidia-ctk's where it has them, and its variables."""

import argparse
import fnmatch
from collections.abc import Callable, Mapping, Sequence

from sampan.cli.flags import add_flag
from sampan.cli.render import print_warning
from sampan.errors import UsageError
from sampan.injection.cdi_devices import STRATEGIES
from sampan.injection.cdi_generate import EXTRA_MODES, MODES, CdiOptions
from sampan.injection.cdi_jobs import WITHOUT_EFFECT, HookChoice, choose_jobs
from sampan.model.facts import ORIN_COMPAT_DIRECTORY
from sampan.model.inventory import CAPABILITIES, Inventory

NO_GIDS = "no-additional-gids-for-device-nodes"
OTHER_FEATURES = (
    "disable-ipc-discoverer", "disable-multiple-csv-devices", "disable-nvsandboxutils",
    "enable-coherent-annotations", "enable-explicit-driver-libraries",
)  # fmt: skip
"""Feature flags of nvidia-ctk that change nothing here."""
PREFIX = "NVIDIA_CTK_CDI_GENERATE_"
OTHER_VARIABLES: dict[str, str] = {
    "output": "NVIDIA_CTK_CDI_OUTPUT_FILE_PATH",
    "driver_root": "NVIDIA_CTK_DRIVER_ROOT",
    "dev_root": "NVIDIA_CTK_DEV_ROOT",
    "format": f"{PREFIX}OUTPUT_FORMAT",
    "nvidia_cdi_hook_path": "NVIDIA_CTK_CDI_HOOK_PATH",
    "class_name": f"{PREFIX}CLASS",
    "csv_ignore": f"{PREFIX}CSV_IGNORE_PATTERNS",
    "csv_compat_root": f"{PREFIX}CSV_COMPAT_CONTAINER_ROOT",
    "disable_hook": f"{PREFIX}DISABLED_HOOKS",
    "enable_hook": f"{PREFIX}ENABLED_HOOKS",
}
"""nvidia-ctk's variables that are not called as their options, or their plural (its generate.go)."""
DEFAULTS: dict[str, str] = {"mode": "auto", "capabilities": "all"}
"""Of options that neither the command line nor a variable names; else the empty text."""


def add_generate_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how a document is made; ``document_options`` reads it."""
    add = parser.add_argument
    add("--format", type=str.lower, choices=("yaml", "json"),
        help="default: the output's extension, else yaml")  # fmt: skip
    add(
        "--mode",
        "--discovery-mode",
        type=str.lower,
        choices=MODES,
        help="default: auto, by platform",
    )
    _add_list(add, "--device-name-strategy", "NAME", f"{', '.join(STRATEGIES)}; may be repeated")
    _add_list(add, "--device-id", "ID", "only this GPU or MIG device (0, 0:1, a UUID), or none",
              "--device-ids", "--device", "--devices")  # fmt: skip
    add_flag(add, "--no-all-device", help="no device `all`")
    add("--driver-root", metavar="DIR", help="as of sampan run")
    add("--dev-root", metavar="DIR", help="as of sampan run")
    _add_list(add, "--library-search-path", "DIR", "look for libraries here first")
    _add_list(add, "--config-search-path", "DIR", "look for configuration files here too")
    add("--vendor", "--cdi-vendor", help="default: nvidia.com")
    add("--class", "--cdi-class", dest="class_name", help="default: gpu, or the mode's")
    add("--capabilities", metavar="LIST",
        help=f"import only what these ask for: all, {', '.join(CAPABILITIES)}")  # fmt: skip
    add("--spec-version", metavar="V", help="default: the lowest that fits")
    add_flag(add, "--no-additional-gids", help="leave out groups of nodes, which need 0.7.0")
    add("--hook-path", metavar="FILE", help="sampan-hook on the host; empty = no hook;"
        " default: the installed one")  # fmt: skip
    add("--nvidia-cdi-hook-path", "--nvidia-ctk-path", metavar="FILE",
        help="use NVIDIA's hook program instead; a name alone is looked up on PATH")  # fmt: skip
    add("--ldconfig-path", metavar="FILE", help="the host's ldconfig, for NVIDIA's hook")
    _add_list(add, "--disable-hook", "NAME", "leave out a job of hooks, or all", "--disable-hooks")
    _add_list(add, "--enable-hook", "NAME", "have a job although --disable-hook names it",
              "--enable-hooks")  # fmt: skip
    _add_list(add, "--feature-flag", "NAME", f"of nvidia-ctk; {NO_GIDS} has an effect",
              "--feature-flags")  # fmt: skip
    _add_list(add, "--csv.file", "FILE", "Tegra's list, instead of the usual ones", dest="csv_file")
    add("--csv.compat-container-root", dest="csv_compat_root", metavar="DIR",
        help="where images keep CUDA's compatibility libraries for a Jetson Orin;"
        f" default: {ORIN_COMPAT_DIRECTORY}")  # fmt: skip
    _add_list(add, "--csv.ignore-pattern", "GLOB", "leave out paths of Tegra's lists",
              dest="csv_ignore")  # fmt: skip


def complete_options(arguments: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Give options that were not written the values of nvidia-ctk's variables, else their defaults.

    Lists may have commas, as nvidia-ctk's.

    Raises:
        UsageError: a variable's value is none of its option's.
    """
    for name, value in vars(arguments).items():
        if isinstance(value, list):
            setattr(arguments, name, [word for text in value for word in text.split(",") if word])
        if value not in (None, [], False):
            continue
        variable, said = _read_variable(name, environment)
        if isinstance(value, list):
            setattr(arguments, name, [word for word in said.split(",") if word])
        elif isinstance(value, bool):
            setattr(arguments, name, said.lower() in ("1", "t", "true"))
        elif name in ("mode", "format") and said:
            choices = MODES if name == "mode" else ("yaml", "json")
            if said.lower() not in choices:
                raise UsageError(
                    f"{variable} is {said!r}", remedy=f"choose from: {', '.join(choices)}"
                )
            setattr(arguments, name, said.lower())
        elif said or name != "hook_path":
            setattr(arguments, name, said or DEFAULTS.get(name, ""))


def _read_variable(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    stem = f"{PREFIX}{name.upper()}"
    words = [stem, f"{stem}S", f"{stem.removesuffix('Y')}IES"]
    if name in OTHER_VARIABLES:
        words.insert(0, OTHER_VARIABLES[name])
    return next(((word, environment[word]) for word in words if environment.get(word)), (stem, ""))


def document_options(arguments: argparse.Namespace) -> CdiOptions:
    """What the options ask for.

    Raises:
        UsageError: a word is unknown.
    """
    strategies = arguments.device_name_strategy or ["index", "uuid"]
    _require(strategies, STRATEGIES, "device name strategy")
    features = arguments.feature_flag
    _require(features, (NO_GIDS, *OTHER_FEATURES), "feature flag")
    for feature in features:
        if feature != NO_GIDS:
            print_warning(f"the feature flag {feature} of nvidia-ctk has no effect here")
    words = [word.strip() for word in arguments.capabilities.split(",") if word.strip()]
    _require(words, ("all", *CAPABILITIES), "driver capability")
    return CdiOptions(
        mode=arguments.mode,
        vendor=arguments.vendor,
        class_name=arguments.class_name,
        strategies=tuple(strategies),
        devices=tuple(arguments.device_id or ["all"]),
        with_all=not arguments.no_all_device,
        capabilities=CAPABILITIES if "all" in words else tuple(words),
        version=arguments.spec_version.removeprefix("v"),
        additional_gids=not (arguments.no_additional_gids or NO_GIDS in features),
        hook=_choose_hook(arguments),
    )


def find_inventory(arguments: argparse.Namespace) -> Inventory:
    """The inventory that the options mean: the cached one where it holds.

    Raises:
        UsageError: a root is no directory.
        NoDriverError: there is no driver, and the mode is about one.
    """
    inventory = look_at_host(arguments)
    if arguments.mode not in (*EXTRA_MODES, "management"):
        from sampan.driver.absence import require_driver

        require_driver(inventory)
    return inventory


def look_at_host(arguments: argparse.Namespace) -> Inventory:
    """As ``find_inventory``, of a host without a driver too.

    Raises:
        UsageError: a root is no directory.
    """
    from sampan.driver.chosen_roots import choose_roots

    driver_root, dev_root = choose_roots(arguments.driver_root, arguments.dev_root)
    if arguments.csv_file:
        from sampan.driver.inventory import take_inventory

        inventory = take_inventory(
            driver_root,
            dev_root,
            library_search_paths=arguments.library_search_path,
            config_search_paths=arguments.config_search_path,
            csv_lists=arguments.csv_file,
        )
    else:
        from sampan.driver.cache import current_inventory

        inventory = current_inventory(
            driver_root,
            dev_root,
            library_search_paths=arguments.library_search_path,
            config_search_paths=arguments.config_search_path,
        )
    if inventory.platform == "tegra" and arguments.csv_ignore:
        return _ignore(inventory, arguments.csv_ignore)
    return inventory


def choose_output(path: str, arguments: argparse.Namespace) -> str:
    """The file's path, with the extension that engines look for; empty for ``-``, standard output.

    As with nvidia-ctk, one is added where there is none.
    """
    if path in ("", "-"):
        return ""
    extension = path[path.rfind(".") :]
    if extension not in (".yaml", ".json"):
        path += f".{arguments.format or 'yaml'}"
        print_warning(f"engines read .yaml and .json files alone: the file is {path}")
    elif arguments.format and extension != f".{arguments.format}":
        print_warning(f"{path} holds {arguments.format.upper()}: some readers go by the extension")
    return path


def choose_format(arguments: argparse.Namespace) -> bool:
    """Whether JSON is to be written; the option counts more than the output's extension."""
    if arguments.format:
        return bool(arguments.format == "json")
    return bool(arguments.output.endswith(".json"))


def _ignore(inventory: Inventory, patterns: Sequence[str]) -> Inventory:
    root = inventory.driver_root.rstrip("/")

    def kept(path: str) -> bool:
        inner = path.removeprefix(root)
        return not any(fnmatch.fnmatchcase(inner, pattern) for pattern in patterns)

    return inventory._replace(
        libraries=tuple(one for one in inventory.libraries if kept(one.host_path)),
        binaries=tuple(one for one in inventory.binaries if kept(one.host_path)),
        configurations=tuple(one for one in inventory.configurations if kept(one.host_path)),
        control_nodes=tuple(one for one in inventory.control_nodes if kept(one.path)),
        links=tuple(one for one in inventory.links if kept(one.path)),
    )


def _choose_hook(arguments: argparse.Namespace) -> HookChoice:
    disabled = choose_jobs(arguments.disable_hook, arguments.enable_hook)
    for word in arguments.enable_hook:
        if word in WITHOUT_EFFECT:
            print_warning(f"the hook {word} of nvidia-ctk has no effect here")
    if arguments.nvidia_cdi_hook_path:
        program, nvidia = _find_program(arguments.nvidia_cdi_hook_path), True
    elif arguments.hook_path is not None:
        program, nvidia = arguments.hook_path, False
    else:
        from sampan.engines.cdi import locate_hook

        program, nvidia = locate_hook(), False
    if program and not program.startswith("/"):
        raise UsageError(f"the hook {program} is no absolute path", remedy="write the whole path")
    return HookChoice(program, nvidia, disabled, arguments.ldconfig_path, arguments.csv_compat_root)


def _find_program(path: str) -> str:
    if "/" in path:
        return path
    from sampan.kernel.programs import find_executable

    found = find_executable(path)
    if not found:
        raise UsageError(
            f"the hook {path} is nowhere on PATH",
            remedy="write the whole path that it has on the host: /usr/bin/nvidia-cdi-hook",
        )
    return found


def _add_list(
    add: Callable[..., argparse.Action],
    name: str,
    metavar: str,
    help: str,  # noqa: A002
    *more: str,
    dest: str | None = None,
) -> None:
    add(name, *more, action="append", default=[], metavar=metavar, help=help, dest=dest)


def _require(words: Sequence[str], known: Sequence[str], what: str) -> None:
    for word in words:
        if word not in known:
            raise UsageError(f"unknown {what} {word!r}", remedy=f"choose from: {', '.join(known)}")
