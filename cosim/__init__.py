"""Gridloop: a discrete-event co-simulation engine for power grids with SCADA and hardware in the loop."""

from __future__ import annotations

__version__ = "0.1.0"
