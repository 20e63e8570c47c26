"""``python -m cosim.cli``."""

from __future__ import annotations

import sys

from cosim.cli.app import main

sys.exit(main())
