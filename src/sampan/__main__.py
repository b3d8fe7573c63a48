"""``python -m sampan`` is the ``sampan`` program."""

from sampan.cli.main import program

program()
