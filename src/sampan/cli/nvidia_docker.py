"""``nvidia-docker``: the name under which ``sampan docker`` is known to old scripts."""

import sys

from sampan.cli.main import main


def program() -> None:
    """Be ``sampan docker``."""
    sys.exit(main(["docker", *sys.argv[1:]]))
