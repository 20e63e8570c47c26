"""A scenario as an environment for learning: one core, `EventEnv`, and views on it.

The core needs NumPy alone; the views need PettingZoo and Gymnasium (``pip install 'gridloop[env]'``) and are imported
when they are asked for; GridloopError says so where they are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cosim.env.event import Decision, EnvOptions, EventEnv
from cosim.errors import GridloopError, extra_needed

if TYPE_CHECKING:
    from cosim.env.aec import aec_env
    from cosim.env.parallel import parallel_env
    from cosim.env.rllib import rllib_env
    from cosim.env.single import single_agent
    from cosim.env.vector import VectorOptions, vector_env, vector_parallel_env

__all__ = ["Decision", "EnvOptions", "EventEnv", "VectorOptions", "aec_env", "parallel_env", "rllib_env",
           "single_agent", "vector_env", "vector_parallel_env"]

_VIEWS = {"VectorOptions": "vector", "aec_env": "aec", "parallel_env": "parallel", "rllib_env": "rllib",
          "single_agent": "single", "vector_env": "vector", "vector_parallel_env": "vector"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _VIEWS:
        raise AttributeError(f"module 'cosim.env' has no attribute '{name}'")
    try:
        view = import_module(f"cosim.env.{_VIEWS[name]}")
    except ModuleNotFoundError as error:
        hint = extra_needed(name, "env", error)
        if not hint:
            raise
        raise GridloopError(hint) from None
    return getattr(view, name)
