"""Prices of constraint costs that learning adapts: what makes PPO keep its limits (PPO-Lagrangian).

A limit is on a rate: cost per second.  After each fragment the price of a cost follows how far its mean rate was
above the limit, by a PID law (Stooke, Achiam & Abbeel, "Responsive safety in reinforcement learning by PID
Lagrangian methods", ICML 2020); with kp = kd = 0 it is the plain multiplier, a projected gradient ascent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from policies.training.algorithm import State, TrainingError

Floats = NDArray[np.float64]


class LagrangianOptions(BaseModel):
    """How prices follow violations; gains are per fragment, violations in multiples of the limit (or of 1)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kp: float = Field(0.1, ge=0, description="Price per violation now.")
    ki: float = Field(0.05, ge=0, description="Price per violation and fragment, summed.")
    kd: float = Field(0.0, ge=0, description="Price per growth of the violation since the last fragment.")
    smoothing: float = Field(0.0, ge=0, lt=1, description="Share of the last violation kept in the present one.")
    most: float = Field(100.0, gt=0, description="Largest price.")
    start: float = Field(0.0, ge=0, description="Price at the beginning.")


class Multipliers:
    """Prices (n_limit,) of the limited costs.  `columns` are their places among the environment's costs."""

    def __init__(self, limits: Mapping[str, float], cost_names: Sequence[str], options: LagrangianOptions) -> None:
        unknown = [name for name in limits if name not in cost_names]
        if unknown:
            raise TrainingError(f"cost_limits: no cost '{unknown[0]}' here; expected "
                                f"{', '.join(cost_names) or 'none (the scenario has no learning.costs)'}")
        self.names = tuple(limits)
        self.columns = np.array([list(cost_names).index(name) for name in limits], np.int64)
        self._limits = np.array([float(limit) for limit in limits.values()])
        self._unit = np.where(self._limits > 0, self._limits, 1.0)
        self._options = options
        self._sum = np.full(len(self.names), options.start)
        self._last = np.zeros(len(self.names))
        self.prices: Floats = self._sum.copy()

    def update(self, rates: Floats) -> None:
        """Take in the mean rates (n_limit,) of a fragment, cost per second."""
        o = self._options
        violation = (rates - self._limits) / self._unit
        violation = o.smoothing * self._last + (1 - o.smoothing) * violation
        growth = np.maximum(violation - self._last, 0.0)
        self._sum = np.clip(self._sum + o.ki * violation, 0.0, o.most)
        self._last = violation
        self.prices = np.clip(o.kp * violation + self._sum + o.kd * growth, 0.0, o.most)

    def state(self) -> State:
        """To go on from."""
        return {"sum": self._sum.copy(), "last": self._last.copy(), "prices": self.prices.copy()}

    def load_state(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Take up `state`."""
        self._sum, self._last = np.array(state["sum"]), np.array(state["last"])
        self.prices = np.array(state["prices"])
