"""Gridloop: a discrete-event co-simulation engine for power grids with SCADA and hardware in the loop.

Linear algebra runs on one thread unless the environment says otherwise, which has to be set before NumPy is loaded: the
matrices here have tens to hundreds of rows, where threads gain nothing on an idle machine and wait for each other a
hundred times as long on a busy one, and results do not depend on how many cores a machine has.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
