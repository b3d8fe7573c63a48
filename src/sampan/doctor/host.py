"""The host as checks see it: paths below roots, a way to ask programs, and who is asking.

A directory can stand for a host. Nothing is written, nothing blocks: only regular files are read,
programs have a time limit. What an ordinary user could not look at is noted in ``unseen``.
"""

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence

from sampan.driver.bounded import list_names, read_regular
from sampan.driver.inventory import take_inventory
from sampan.driver.nodes import StatFunction, is_usable
from sampan.driver.nvml import NvmlAnswer, NvmlError, find_nvml, query_nvml
from sampan.driver.roots import Root
from sampan.kernel.bounded_program import ProgramAnswer, ask_program
from sampan.model.inventory import Inventory

MAXIMUM_BYTES = 4 << 20
PROGRAM_TIMEOUT_S = 10.0
NVML_TIMEOUT_S = 15.0
PROGRAM_DIRECTORIES: tuple[str, ...] = (
    "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/snap/bin",
)  # fmt: skip

RunFunction = Callable[[Sequence[str]], ProgramAnswer]
"""Takes an argument vector whose first word is a program's absolute path on this machine."""


class Host:
    """One host and one user of it."""

    def __init__(
        self,
        root: str = "/",
        *,
        proc_root: str = "/proc",
        sys_root: str = "/sys",
        environment: Mapping[str, str] | None = None,
        uid: int | None = None,
        groups: Sequence[int] | None = None,
        run: RunFunction | None = None,
        node_stat: StatFunction = os.lstat,
        node_usable: Callable[[str], bool] = is_usable,
        find_inventory: Callable[[], Inventory] | None = None,
        now: float | None = None,
    ) -> None:
        """Look at nothing yet.

        Args:
            root: directory standing for ``/``.
            proc_root: where procfs is.
            sys_root: where sysfs is.
            environment: None = this process's.
            uid: None = this process's effective one.
            groups: ids of the user's groups; None = this process's.
            run: asks a program; None = starts it, for at most PROGRAM_TIMEOUT_S seconds.
            node_stat: how a device node is looked at.
            node_usable: whether this process may open a node.
            find_inventory: None = the driver below the roots, with NVML.
            now: seconds since the epoch; None = the clock's.
        """
        self._root = Root(root)
        self._proc_root = proc_root
        self._sys_root = sys_root
        self.environment = os.environ if environment is None else environment
        self.uid = os.geteuid() if uid is None else uid
        self.groups = frozenset([os.getegid(), *os.getgroups()] if groups is None else groups)
        self._run = run or (lambda words: ask_program(words, timeout_s=PROGRAM_TIMEOUT_S))
        self.node_stat = node_stat
        self.node_usable = node_usable
        self._find_inventory = find_inventory or self._take_inventory
        self._inventory: Inventory | None = None
        self._nvml: NvmlAnswer | NvmlError | None = None
        self.now = time.time() if now is None else now
        self.unseen: dict[str, None] = {}
        """Paths that permissions kept from us, since the check began."""

    @property
    def is_this(self) -> bool:
        """Whether the root is this machine's own."""
        return self._root.path == "/"

    @property
    def inventory(self) -> Inventory:
        """The driver; looked at once."""
        if self._inventory is None:
            self._inventory = self._find_inventory()
        return self._inventory

    def ask_nvml(self) -> NvmlAnswer | None:
        """What NVML says; None without a library.

        Raises:
            NvmlError: it cannot be used.
        """
        # Several checks ask; one that hangs must be waited for once only.
        if self._nvml is None:
            library = find_nvml(self.inventory.libraries)
            if not library:
                return None
            try:
                self._nvml = query_nvml(library, timeout_s=NVML_TIMEOUT_S)
            except NvmlError as error:
                self._nvml = error
        if isinstance(self._nvml, NvmlError):
            raise self._nvml
        return self._nvml

    def path(self, inner: str) -> str:
        """The path to open for an absolute path of the host; its links stay inside the root."""
        for prefix, root in (("/proc", self._proc_root), ("/sys", self._sys_root)):
            if inner == prefix or inner.startswith(f"{prefix}/"):
                return root + inner[len(prefix) :]
        if self.is_this:
            return inner
        return self._root.host_path(self._root.resolve(inner))

    def read(self, inner: str, limit: int = MAXIMUM_BYTES) -> str:
        """Text of a regular file; empty when there is none, or it cannot be read."""
        content = read_regular(self.path(inner), limit)
        if content is None:
            self._note(inner)
        return (content or b"").decode(errors="replace")

    def exists(self, inner: str) -> bool:
        """Whether there is something, links followed."""
        return self.status(inner) is not None

    def status(self, inner: str) -> os.stat_result | None:
        """Its status, links followed; None when there is nothing, or it cannot be seen."""
        try:
            return os.stat(self.path(inner))
        except PermissionError:
            self.unseen[inner] = None
        except (OSError, ValueError):
            pass
        return None

    def mode(self, inner: str) -> int | None:
        """Its permission bits."""
        status = self.status(inner)
        return None if status is None else stat.S_IMODE(status.st_mode)

    def list(self, inner: str) -> list[str]:
        """Names in a directory, sorted; empty when it cannot be listed."""
        names = list_names(self.path(inner))
        if not names:
            self._note(inner, os.R_OK | os.X_OK)
        return names

    def link_target(self, inner: str) -> str:
        """What a symbolic link says; empty when it is none."""
        head, _, tail = inner.rstrip("/").rpartition("/")
        try:
            return os.readlink(f"{self.path(head or '/').rstrip('/')}/{tail}")
        except OSError:
            return ""

    def find_program(self, name: str) -> str:
        """Absolute inner path of a program; empty when there is none."""
        searched = self.environment.get("PATH", "").split(":") if self.is_this else []
        for directory in (*searched, *PROGRAM_DIRECTORIES):
            if not directory.startswith("/"):
                continue
            # A closed directory of PATH is no gap in what we see: nothing in it could be started.
            try:
                status = os.stat(self.path(f"{directory}/{name}"))
            except (OSError, ValueError):
                continue
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o111:
                return f"{directory}/{name}"
        return ""

    def ask(self, program: str, *words: str) -> ProgramAnswer:
        """Run a program of the host by its inner path and return what it says."""
        return self._run([program, *words])

    def command_version(self, name: str) -> tuple[int, ...]:
        """The first version number that ``NAME --version`` prints; empty when there is none."""
        program = self.find_program(name)
        return find_version(self.ask(program, "--version").output) if program else ()

    def start_time(self, pid: int) -> float:
        """When a process began, in seconds since the epoch; 0 when it is not known."""
        fields = self.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        boot = next(
            (
                line.split()[1]
                for line in self.read("/proc/stat").splitlines()
                if line.startswith("btime ")
            ),
            "",
        )
        if len(fields) < 20 or not boot.isdecimal() or not fields[19].isdecimal():
            return 0.0
        return int(boot) + int(fields[19]) / os.sysconf("SC_CLK_TCK")

    def _take_inventory(self) -> Inventory:
        return take_inventory(
            self._root.path,
            self._root.path,
            proc_root=self._proc_root,
            sys_root=self._sys_root,
            node_stat=self.node_stat,
            node_usable=self.node_usable,
        )

    def _note(self, inner: str, way: int = os.R_OK) -> None:
        path = self.path(inner)
        if os.path.lexists(path):
            if not os.access(path, way):
                self.unseen[inner] = None
            return
        parent = inner.rpartition("/")[0]
        try:
            os.stat(path)
        except PermissionError:
            self.unseen[parent or inner] = None
        except (OSError, ValueError):
            pass


def find_version(text: str) -> tuple[int, ...]:
    """The first ``1.2`` or ``1.2.3`` in a text, as numbers."""
    import re

    found = re.search(r"(?<![\w.])v?(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def show_version(version: Sequence[int]) -> str:
    """``1.2.3``; a question mark when it is not known."""
    return ".".join(map(str, version)) or "?"
