"""Fills in what a CDI document leaves to the host: type and numbers of its device nodes."""

import os
import stat

from sampan.driver.nodes import StatFunction
from sampan.errors import SampanError
from sampan.model.cdi import CdiDeviceNode, CdiEdits

_KINDS = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}


class CdiNodeError(SampanError):
    """A document names a device node that this host does not have, or has as something else."""

    id = "cdi-node"


def complete_nodes(edits: CdiEdits, node_stat: StatFunction = os.lstat) -> CdiEdits:
    """The edits with ``host_path``, ``kind``, ``major`` and ``minor`` of every node filled.

    Numbers that a document gives are not checked against the host's, as in CDI ``pkg/cdi``: a node
    whose type and major number are stated is not looked at.

    Raises:
        CdiNodeError: with all nodes that cannot be filled.
    """
    nodes = []
    problems = []
    for node in edits.device_nodes:
        try:
            nodes.append(_complete(node, node_stat))
        except CdiNodeError as error:
            problems.append(error.evidence)
    if problems:
        raise CdiNodeError(
            "a CDI document names device nodes that this host does not have",
            evidence="; ".join(dict.fromkeys(problems)),
            remedy="sudo sampan cdi refresh    (or have the vendor's tool write its file anew)",
        )
    return edits._replace(device_nodes=tuple(nodes))


def _complete(node: CdiDeviceNode, node_stat: StatFunction) -> CdiDeviceNode:
    host_path = node.host_path or node.path
    filled = node._replace(host_path=host_path)
    if node.kind == "p" or (node.kind and node.major):
        return filled._replace(minor=node.minor or 0)
    try:
        status = node_stat(host_path)
    except OSError as error:
        raise CdiNodeError("", evidence=f"{host_path}: {error.strerror}") from error
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "")
    wanted = "c" if node.kind == "u" else node.kind
    if not kind or wanted not in ("", kind):
        raise CdiNodeError(
            "", evidence=f"{host_path}: not a device of type {node.kind or 'b or c'}"
        )
    if node.major:
        return filled._replace(kind=kind, minor=node.minor or 0)
    return filled._replace(
        kind=kind, major=os.major(status.st_rdev), minor=os.minor(status.st_rdev)
    )
