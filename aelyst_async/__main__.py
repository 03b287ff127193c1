"""``python -m aelyst_async``: the command, where its script is not on the path."""

import sys

from aelyst_async.cli import main

sys.exit(main())
