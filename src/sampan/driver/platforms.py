"""Which kind of NVIDIA machine this is: one function, so that files and nodes agree on the answer.

The rules are those of nvidia-container-toolkit's ``auto`` mode (field note, sections 1.4 and 4.2).
A Tegra board with a discrete GPU on its PCI bus counts as discrete: that driver serves both.
"""

from sampan.driver.nodes import StatFunction, find_pci_devices, read_node
from sampan.driver.procfs import read_text
from sampan.driver.roots import Root

WSL_NODE = "/dev/dxg"
TEGRA_RELEASE = "/etc/nv_tegra_release"


def detect_platform(
    root: Root, dev_root: str, *, proc_root: str, sys_root: str, node_stat: StatFunction
) -> str:
    """``wsl``, ``tegra`` or ``discrete``; whether there is a driver at all is not asked here."""
    if read_node(dev_root, WSL_NODE, node_stat) is not None:
        return "wsl"
    if _is_tegra(root, proc_root, sys_root) and not find_pci_devices(sys_root):
        return "tegra"
    return "discrete"


def read_board_name(proc_root: str) -> str:
    """The board's model per device tree, e.g. ``NVIDIA Jetson AGX Orin Developer Kit``."""
    return read_text(f"{proc_root}/device-tree/model").strip("\0\n ")


def _is_tegra(root: Root, proc_root: str, sys_root: str) -> bool:
    if read_text(root.host_path(root.resolve(TEGRA_RELEASE))):
        return True
    # NUL-separated, the board first, the chip last: "nvidia,p3737-0000", "nvidia,tegra234".
    compatible = read_text(f"{proc_root}/device-tree/compatible").split("\0")
    if any(word.startswith("nvidia,tegra") for word in compatible):
        return True
    return read_text(f"{sys_root}/devices/soc0/family").lower().startswith("tegra")
