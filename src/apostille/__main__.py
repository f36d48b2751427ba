"""``python -m apostille`` is the command ``apostille``."""

from __future__ import annotations

import sys

from apostille.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
