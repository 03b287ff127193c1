"""``python -m aelyst_async`` runs the command ``aelyst``, also if its script is not on the path."""

import sys

from aelyst_async.cli import main

sys.exit(main())
