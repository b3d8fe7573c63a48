"""What a CDI document says to ``sampan-hook``: everything is in its arguments, nothing in files.

The hook is one ``createContainer`` process (runtime-spec, config.md, POSIX-platform hooks): state on
standard input, the runtime's mount namespace, before pivot_root. Its argument vector is::

    sampan-hook createContainer --contract 1 [--OPTION VALUE]...

Every option takes exactly one value, so that a hook can step over an option it does not know: a
document may be newer than the installed hook. What is learnt of the container itself (root file
system, device nodes for the application profile) comes from the state and its bundle. Writing and
reading are here so that both sides agree; doing it is the hook's.

========================  ======================================================================
``--library-directory``   ``MACHINE::DIRECTORY``: the following libraries lie there
``--library``             ``FILE=NAME,NAME...``: FILE is mounted in the directory; the first NAME
                          is a link to it, the others are links to the first; FILE alone has no
                          further name. FILE and all NAMEs go into the loader cache
``--link``                ``TARGET::PATH``: a symbolic link, target as written
``--file``                ``PATH::TEXT``: a small file to write, mode 0644, e.g. an ICD description
``--host-driver-version`` forward compatibility may be decided, against this driver
``--host-cuda-version``   and this CUDA; without a driver version by Tegra's rule
``--cuda-compat-root``    directory of its libraries, where it is not the usual one (Jetson Orin)
``--driver-params``       ``readonly``: /proc/driver/nvidia/params says ModifyDeviceFiles: 0
``--application-profile`` ``egl``: EGLVisibleDGPUDevices names the container's own nodes
========================  ======================================================================
"""

from collections.abc import Sequence
from typing import NamedTuple

CONTRACT = "1"
STAGE = "createContainer"
PROGRAM = "sampan-hook"
ENVIRONMENT: tuple[str, ...] = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin",)
"""Stated in every hook entry: with none, runc gives a hook the container's own (CVE-2025-23266)."""
INSTALLED: tuple[str, ...] = (
    "/usr/libexec/sampan/sampan-hook", "/usr/local/libexec/sampan/sampan-hook",
    "/usr/bin/sampan-hook", "/usr/local/bin/sampan-hook",
)  # fmt: skip
"""Where an installed hook is looked for, in this order."""
SEPARATOR = "::"


class HookArgumentsError(ValueError):
    """The argument vector is not of the contract's form."""


class HookLibrary(NamedTuple):
    """A driver library in the container.

    Attributes:
        machine: ELF machine, e.g. ``x86_64``; the loader cache tells them apart.
        directory: container directory; ``file`` is the name of the mounted file in it.
        names: its other names, the SONAME first; empty when the file name is the SONAME.
    """

    machine: str
    directory: str
    file: str
    names: tuple[str, ...] = ()

    def links(self) -> tuple[tuple[str, str], ...]:
        """Each further name and what it links to: the first to the file, others to the first."""
        return tuple(
            (name, self.names[0] if position else self.file)
            for position, name in enumerate(self.names)
        )


class HookLink(NamedTuple):
    """A symbolic link: container path, target as written."""

    path: str
    target: str


class HookFile(NamedTuple):
    """A small text file to write: container path, content."""

    path: str
    text: str


class HookRequest(NamedTuple):
    """What one hook process is to do; the empty one does nothing.

    Attributes:
        driver_version, cuda_version: of the host; given when forward compatibility may be decided,
            that is when every GPU of the document is of the data-centre class. A CUDA version
            alone: the host is a Tegra, where it decides.
        compat_directory: container directory of these libraries; empty = the usual one.
        unknown: options that this reader does not know, with their values; to be warned of.
    """

    libraries: tuple[HookLibrary, ...] = ()
    links: tuple[HookLink, ...] = ()
    files: tuple[HookFile, ...] = ()
    driver_version: str = ""
    cuda_version: str = ""
    params: bool = False
    application_profile: bool = False
    compat_directory: str = ""
    unknown: tuple[str, ...] = ()


def render_hook_arguments(request: HookRequest) -> tuple[str, ...]:
    """The whole argument vector, the program's name first.

    Raises:
        HookArgumentsError: a name holds what the form uses (``::``, ``=``, ``,``).
    """
    words: list[str] = [PROGRAM, STAGE, "--contract", CONTRACT]
    place = ""
    for library in request.libraries:
        _refuse(library.directory, SEPARATOR)
        for name in (library.file, *library.names):
            _refuse(name, "/", "=", ",")
        here = f"{library.machine}{SEPARATOR}{library.directory}"
        if here != place:
            words += ["--library-directory", here]
            place = here
        names = ",".join(library.names)
        words += ["--library", f"{library.file}={names}" if names else library.file]
    for link in request.links:
        _refuse(link.target, SEPARATOR)
        words += ["--link", f"{link.target}{SEPARATOR}{link.path}"]
    for file in request.files:
        _refuse(file.path, SEPARATOR)
        words += ["--file", f"{file.path}{SEPARATOR}{file.text}"]
    for option, value in (
        ("--host-driver-version", request.driver_version),
        ("--host-cuda-version", request.cuda_version),
        ("--cuda-compat-root", request.compat_directory),
        ("--driver-params", "readonly" if request.params else ""),
        ("--application-profile", "egl" if request.application_profile else ""),
    ):
        if value:
            words += [option, value]
    return tuple(words)


def parse_hook_arguments(words: Sequence[str]) -> HookRequest:
    """Read an argument vector, the program's name first.

    Raises:
        HookArgumentsError: not the contract's form. Options that are not known, and values of known
            ones that are not, are listed in ``unknown`` instead.
    """
    if len(words) < 2 or words[1] != STAGE:
        raise HookArgumentsError(f"the first argument is not {STAGE}")
    options = words[2:]
    if len(options) % 2:
        raise HookArgumentsError(f"{options[-1]} has no value")
    libraries: list[HookLibrary] = []
    links: list[HookLink] = []
    files: list[HookFile] = []
    unknown: list[str] = []
    said: dict[str, str] = {}
    machine = directory = ""
    for option, value in zip(options[::2], options[1::2], strict=True):
        if not option.startswith("--"):
            raise HookArgumentsError(f"{option!r} is no option")
        if option == "--library-directory":
            machine, directory = _split(option, value)
        elif option == "--library":
            if not directory:
                raise HookArgumentsError("--library before --library-directory")
            file, _, names = value.partition("=")
            libraries.append(
                HookLibrary(machine, directory, file, tuple(names.split(",")) if names else ())
            )
        elif option == "--link":
            target, path = _split(option, value)
            links.append(HookLink(path, target))
        elif option == "--file":
            path, separator, text = value.partition(SEPARATOR)
            if not separator or not path.startswith("/"):
                raise HookArgumentsError(f"--file {value[:60]!r}: not of the form /PATH::TEXT")
            files.append(HookFile(path, text))
        elif option in ("--host-driver-version", "--host-cuda-version", "--cuda-compat-root") or (
            option,
            value,
        ) in (
            ("--contract", CONTRACT),
            ("--driver-params", "readonly"),
            ("--application-profile", "egl"),
        ):
            said[option] = value
        else:
            unknown += [option, value]
    return HookRequest(
        libraries=tuple(libraries),
        links=tuple(links),
        files=tuple(files),
        driver_version=said.get("--host-driver-version", ""),
        cuda_version=said.get("--host-cuda-version", ""),
        params="--driver-params" in said,
        application_profile="--application-profile" in said,
        compat_directory=said.get("--cuda-compat-root", ""),
        unknown=tuple(unknown),
    )


def gather_names(request: HookRequest) -> HookRequest:
    """The request with links to a library in its own directory as names of it.

    So that the loader's cache has them too, as ldconfig would enter them.
    """
    links = list(request.links)
    libraries = []
    for library in request.libraries:
        first = library.names[0] if library.names else library.file
        own = [
            link
            for link in links
            if link.target == first and link.path.rpartition("/")[0] == library.directory
        ]
        names = dict.fromkeys((*library.names, *(link.path.rpartition("/")[2] for link in own)))
        if not library.names and len(names) > 1:
            # The second name would lead to the first, not to the file.
            own = own[:1]
            names = dict.fromkeys([own[0].path.rpartition("/")[2]])
        libraries.append(library._replace(names=tuple(names)))
        links = [link for link in links if link not in own]
    return request._replace(libraries=tuple(libraries), links=tuple(links))


def _split(option: str, value: str) -> tuple[str, str]:
    first, separator, second = value.partition(SEPARATOR)
    if not separator or not first or not second.startswith("/"):
        raise HookArgumentsError(f"{option} {value!r}: not of the form WORD{SEPARATOR}/PATH")
    return first, second


def _refuse(text: str, *forbidden: str) -> None:
    for piece in forbidden:
        if not text or piece in text:
            raise HookArgumentsError(f"{text!r} cannot be said to the hook")
