"""The command line: ``gridloop check | list | schema | init | run | report | replay | audit``."""

from __future__ import annotations

from cosim.cli.app import main

__all__ = ["main"]
