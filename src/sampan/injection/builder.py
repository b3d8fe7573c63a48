"""Gathers the parts of a plan, each with its reason; the first item of a path or name counts."""

from sampan.model.facts import ImageFacts
from sampan.model.inventory import DeviceNode
from sampan.model.plan import (
    ImportPlan,
    PlannedDevice,
    PlannedFile,
    PlannedLink,
    PlannedMount,
    Reason,
)

FILE_OPTIONS: tuple[str, ...] = ("ro", "nosuid", "nodev", "rbind", "rprivate")
SOCKET_OPTIONS: tuple[str, ...] = ("nosuid", "nodev", "noexec", "rbind", "rprivate")


class PlanBuilder:
    """A plan while it is made for one image.

    Attributes:
        facts: of the image.
        library_names: every name under which the container's loader finds a driver library.
    """

    def __init__(self, facts: ImageFacts) -> None:
        self.facts = facts
        self._mounts: dict[str, PlannedMount] = {}
        self._devices: dict[str, PlannedDevice] = {}
        self._links: dict[str, PlannedLink] = {}
        self._files: dict[str, PlannedFile] = {}
        self._environment: dict[str, str] = {}
        self._gids: dict[int, None] = {}
        self._reasons: list[Reason] = []
        self._warnings: dict[str, None] = {}
        self._left_out: set[str] = set()
        self.library_names: set[str] = set()

    def add_mount(
        self, host_path: str, container_path: str, options: tuple[str, ...], why: str
    ) -> None:
        """Mount a host path; a second one for the same place is ignored."""
        if container_path not in self._mounts:
            self._mounts[container_path] = PlannedMount(host_path, container_path, options)
            self.say(container_path, why, host_path)

    def add_mount_point(self, container_path: str) -> None:
        """Put an empty file under a mount, in place of what the image has there.

        What the image has may be a link, and mounting would follow it.
        """
        self._files.setdefault(container_path, PlannedFile(container_path, b"", 0o444))

    def add_device(self, node: DeviceNode, why: str) -> None:
        """Give a device node, and its group where others may not use it."""
        if node.path in self._devices:
            return
        self._devices[node.path] = PlannedDevice(
            node.path, node.host_path, node.major, node.minor, node.mode, node.uid, node.gid, "rwm"
        )
        self.say(node.path, why, f"{node.host_path} {node.major}:{node.minor} {node.mode:04o}")
        for_group = node.mode & 0o060 == 0o060 and node.mode & 0o006 != 0o006
        if for_group and node.gid and node.gid not in self._gids:
            self._gids[node.gid] = None
            self.say(f"group {node.gid}", f"{node.path} is for its group only", node.host_path)

    def add_link(self, path: str, target: str, why: str) -> None:
        """Make a link, unless a mount or link has the name."""
        if path not in self._links and path not in self._mounts:
            self._links[path] = PlannedLink(path, target)
            self.say(path, why, f"link to {target}")

    def add_file(self, file: PlannedFile, why: str, source: str) -> None:
        """Write a file of ours."""
        self._files[file.path] = file
        self.say(file.path, why, source)

    def set_environment(self, name: str, value: str, why: str) -> None:
        """Set a variable."""
        self._environment[name] = value
        self.say(f"env {name}", why, value)

    def say(self, item: str, why: str, source: str) -> None:
        """Explain an item that is in the plan."""
        self._reasons.append(Reason(item, True, why, source))

    def leave_out(self, item: str, why: str, source: str) -> None:
        """Explain what is not in the plan."""
        self._left_out.add(item)
        self._reasons.append(Reason(item, False, why, source))

    def warn(self, text: str) -> None:
        """Tell the user, once."""
        self._warnings[text] = None

    def has(self, path: str) -> bool:
        """Whether the plan puts something at a container path."""
        # An empty file under a mount alone is nothing yet.
        file = self._files.get(path)
        return (
            path in self._mounts
            or path in self._links
            or path in self._devices
            or bool(file and file.content)
        )

    def is_left_out(self, item: str) -> bool:
        """Whether it was said that an item is not in the plan."""
        return item in self._left_out

    def finish(self) -> ImportPlan:
        """The plan."""
        return ImportPlan(
            mounts=tuple(self._mounts.values()),
            devices=tuple(self._devices.values()),
            links=tuple(self._links.values()),
            files=tuple(self._files.values()),
            environment=tuple(self._environment.items()),
            additional_gids=tuple(self._gids),
            reasons=tuple(self._reasons),
            warnings=tuple(self._warnings),
        )
