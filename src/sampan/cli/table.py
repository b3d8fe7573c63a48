"""The command table: which module serves a command. A module is imported when it is chosen."""

from typing import NamedTuple


class Command(NamedTuple):
    """A command of the ``sampan`` program.

    Attributes:
        module: in ``sampan.cli``; it has ``configure(parser)`` and ``main(arguments) -> int``.
        summary: one line for ``sampan --help``.
        group: heading in ``sampan --help``.
    """

    module: str
    summary: str
    group: str


COMMANDS: dict[str, Command] = {
    "run": Command("run", "run a command in a new container", "Containers"),
    "exec": Command("exec", "run a command in a running container", "Containers"),
    "ps": Command("ps", "list containers", "Containers"),
    "logs": Command("logs", "show the output of a detached container", "Containers"),
    "stop": Command("stop", "stop containers: signal, grace period, SIGKILL", "Containers"),
    "kill": Command("kill", "send a signal to containers", "Containers"),
    "wait": Command("wait", "wait for containers to end and print their exit codes", "Containers"),
    "rm": Command("rm", "remove ended containers", "Containers"),
    "docker": Command(
        "docker", "docker with GPUs in run and create, as nvidia-docker", "Containers"
    ),
    "inspect": Command("inspect", "show all that is known of containers or images", "Containers"),
    "search": Command("search", "find images in NGC's catalogue or on Docker Hub", "Images"),
    "tags": Command("tags", "list the tags of a repository", "Images"),
    "spaces": Command("spaces", "list the parts of nvcr.io that you can see", "Images"),
    "about": Command("about", "show what is known of an image before it is fetched", "Images"),
    "accept-license": Command(
        "accept_license", "read and accept the terms of an image of NGC's", "Images"
    ),
    "pull": Command("pull", "fetch an image from a registry", "Images"),
    "push": Command("push", "give an image to a registry", "Images"),
    "copy": Command("copy", "copy an image between registries and layouts", "Images"),
    "save": Command("save", "write images into an archive for docker, podman and skopeo", "Images"),
    "load": Command("load", "take all images of an archive into the store", "Images"),
    "mirror": Command("mirror", "copy many images: lists, repositories, spaces", "Images"),
    "referrers": Command(
        "referrers", "list signatures and other documents about an image", "Images"
    ),
    "tag": Command("tag", "give an image another name", "Images"),
    "login": Command("login", "show credentials to a registry and keep them", "Images"),
    "logout": Command("logout", "forget the credentials of a registry", "Images"),
    "whoami": Command("whoami", "show which credentials count at a registry", "Images"),
    "import": Command(
        "import_image", "make an image from an archive, layout or directory", "Images"
    ),
    "images": Command("images", "list the images in the store", "Images"),
    "rmi": Command("rmi", "remove image names and the files only they used", "Images"),
    "prune": Command("prune", "free what no image needs", "Images"),
    "store check": Command("store_check", "look for damage in the store", "Store"),
    "store repair": Command(
        "store_repair", "mend what is damaged in the store, or set it aside", "Store"
    ),
    "store du": Command("store_du", "show what takes the room in the store", "Store"),
    "store prune": Command("prune", "free what no image needs", "Store"),
    "store list": Command(
        "store_list", "print what the store has, for an export of another store", "Store"
    ),
    "store export": Command(
        "store_export", "write images for another store, each layer once", "Store"
    ),
    "store import": Command("store_import", "take in what another store exported", "Store"),
    "sif build": Command("sif_build", "make a SIF file from anything", "SIF files"),
    "sif list": Command("sif_list", "list the objects of a SIF file", "SIF files"),
    "sif header": Command("sif_header", "show the header of a SIF file", "SIF files"),
    "sif info": Command("sif_info", "show one object of a SIF file", "SIF files"),
    "sif inspect": Command("sif_inspect", "show what a SIF file says of itself", "SIF files"),
    "sif dump": Command("sif_dump", "write out the bytes of an object", "SIF files"),
    "sif extract": Command("sif_extract", "write all objects into files", "SIF files"),
    "sif sign": Command("sif_sign", "sign a SIF file", "SIF files"),
    "sif verify": Command("sif_verify", "verify the signatures of a SIF file", "SIF files"),
    "sif add": Command("sif_add", "add an object to a SIF file", "SIF files"),
    "sif del": Command("sif_del", "take an object out of a SIF file", "SIF files"),
    "gpus": Command("gpus", "list the GPUs of this host", "Driver"),
    "driver": Command("driver", "show the driver files and nodes of this host", "Driver"),
    "explain": Command("explain", "show what a container would get, and why", "Driver"),
    "cdi": Command("cdi", "make, check and list CDI documents", "Driver"),
    "doctor": Command("doctor", "say what is wrong here, and what to type against it", "Driver"),
    "configure": Command("configure", "have another engine know our runtime and CDI", "Driver"),
    "install": Command(
        "install", "put in place what other engines execute, by the names they know", "Driver"
    ),
    "uninstall": Command("uninstall", "take that away again", "Driver"),
}
