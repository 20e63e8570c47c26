"""Torch modules, optimisers and generators as arrays by name, and back: nothing is pickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policies.training.algorithm import State


def arrays_of(modules: Mapping[str, nn.Module], optimisers: Mapping[str, torch.optim.Optimizer]) -> State:
    """Parameters, buffers and the optimisers' moments, copied."""
    state = {f"module/{name}/{key}": _array(tensor) for name, module in modules.items()
             for key, tensor in module.state_dict().items()}
    for name, optimiser in optimisers.items():
        for i, parameter in enumerate(parameters_of(optimiser)):
            state |= {f"optimiser/{name}/{i}/{key}": _array(tensor)
                      for key, tensor in optimiser.state[parameter].items()}
    return state


def put_arrays(modules: Mapping[str, nn.Module], optimisers: Mapping[str, torch.optim.Optimizer],
               state: Mapping[str, Any]) -> None:
    """Take up `arrays_of`; KeyError or RuntimeError where they belong to other networks, or some are missing.

    An optimiser that has not stepped yet has no moments; one that has, has those of every parameter.
    """
    for name, module in modules.items():
        module.load_state_dict({key: torch.from_numpy(np.array(array))
                                for key, array in below(state, f"module/{name}/").items()})
    for name, optimiser in optimisers.items():
        if not below(state, f"optimiser/{name}/"):
            continue
        for i, parameter in enumerate(parameters_of(optimiser)):
            moments = {key: torch.from_numpy(np.array(array)).to(parameter.device)
                       for key, array in below(state, f"optimiser/{name}/{i}/").items()}
            for key in ("exp_avg", "exp_avg_sq"):
                if moments[key].shape != parameter.shape:
                    raise RuntimeError(f"optimiser/{name}/{i}/{key} has shape {tuple(moments[key].shape)}; expected "
                                       f"{tuple(parameter.shape)}")
            optimiser.state[parameter] = moments


def below(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Entries whose name begins so, by the rest of their name."""
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().numpy().copy()


def parameters_of(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    """What an optimiser moves, in order."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
