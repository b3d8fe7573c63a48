"""``python -m sampan`` is the ``sampan`` program."""

import sys

from sampan.cli.main import main

sys.exit(main())
