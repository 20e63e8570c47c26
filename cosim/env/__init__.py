"""A scenario as an environment for learning: one core, `EventEnv`, and views on it.

The core needs NumPy alone; the views need PettingZoo and Gymnasium (``pip install 'gridloop[env]'``) and are imported
when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cosim.env.event import Decision, EnvOptions, EventEnv

if TYPE_CHECKING:
    from cosim.env.parallel import parallel_env

__all__ = ["Decision", "EnvOptions", "EventEnv", "parallel_env"]

_VIEWS = {"parallel_env": "cosim.env.parallel"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _VIEWS:
        raise AttributeError(f"module 'cosim.env' has no attribute '{name}'")
    return getattr(import_module(_VIEWS[name]), name)
