"""What to type in place of commands that docker, podman, Apptainer and Enroot have and we do not.

Known here are commands whose name does not say it by itself; spelling mistakes are met in ``main``.
"""

from typing import NamedTuple


class Answer(NamedTuple):
    """What is said of a foreign command.

    Attributes:
        remedy: what to type.
        evidence: why it is not here; may be empty.
    """

    remedy: str
    evidence: str = ""


_ONE_LIFE = "a container is started once and ends with its program"
_NO_OBJECTS = "volumes are directories that you name, networks are host, none and private"

_ANSWERS = {
    "shell": Answer("sampan run --rm -it IMAGE sh"),
    "create": Answer("sampan run -d IMAGE COMMAND", _ONE_LIFE),
    "start": Answer("sampan run IMAGE COMMAND", _ONE_LIFE),
    "restart": Answer("sampan stop NAME; sampan rm NAME; sampan run -d --name NAME ...", _ONE_LIFE),
    "attach": Answer("sampan logs -f NAME    or: sampan exec -it NAME sh"),
    "cp": Answer("sampan run -v ./DIRECTORY:/data ...    or: sampan exec NAME cat FILE > FILE"),
    "top": Answer("sampan exec NAME ps"),
    "build": Answer(
        "docker build -t NAME . && docker save NAME | sampan import docker-archive:- NAME",
        "sampan does not build images; it takes those of docker, podman and buildah",
    ),
    "commit": Answer(
        "sampan run -v ./DIRECTORY:/data ... keeps what is written there",
        "what a container writes elsewhere lives in memory",
    ),
    "volume": Answer("sampan run -v ./DIRECTORY:/data ...", _NO_OBJECTS),
    "network": Answer("sampan run --network host|none|private ...", _NO_OBJECTS),
    "info": Answer("sampan doctor -v"),
    "history": Answer("sampan inspect IMAGE"),
    "container": Answer("sampan ps, logs, exec, stop, rm: without 'container'"),
    "image": Answer("sampan images, pull, tag, rmi, inspect: without 'image'"),
    "system": Answer("sampan store du    or: sampan prune"),
    "instance": Answer("sampan run -d --name NAME IMAGE COMMAND; sampan ps; sampan stop NAME"),
    "cache": Answer("sampan store du    or: sampan prune"),
    "sign": Answer("sampan sif sign FILE.sif"),
    "verify": Answer("sampan sif verify FILE.sif"),
    "remote": Answer("sampan login REGISTRY"),
    "list": Answer("sampan images    or: sampan ps"),
    "remove": Answer("sampan rmi IMAGE    or: sampan rm NAME"),
}


def find_answer(name: str) -> Answer | None:
    """What to type for a command of others; None where we know no answer."""
    return _ANSWERS.get(name)
