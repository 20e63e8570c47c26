"""The command line: ``gridloop check | list | schema | init | run | report | replay``."""

from __future__ import annotations

from cosim.cli.app import main

__all__ = ["main"]
