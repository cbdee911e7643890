"""`python -m workroom_infra.watchdog`."""

from __future__ import annotations

import sys

from workroom_infra.watchdog.program import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
