"""The exchange every side of the co-simulation benchmark runs, its constants and its sanity check.

One simulated second, repeated `duration_s` times, with N agents:

1. `t = k` (grid step, k = 0, 1, …): the grid applies the setpoints that have arrived since the last scan, moves the
   disturbed load, solves a full AC power flow of case118 (MATPOWER data) and sends every agent the voltage of its bus.
2. Each measurement is lost with probability `LOSS`, else it arrives after a delay drawn uniformly from `DELAY_S`.
3. `t = k + AGENT_OFFSET_S`: every agent acts on the latest measurement it *holds* (1.0 pu until the first arrives; an
   older one where the last was lost) with a droop, and sends the reactive setpoint back to the grid.
4. Each setpoint is lost and delayed by the same rule, independently; what arrives is applied at `t = k + 1`.

So a run has `duration_s` grid steps and sends exactly `2 * n_agents * duration_s` messages; every delay ends before
the next reader looks, so by the end all that were not lost are delivered: Binomial(sent, 1 - LOSS).

Agents are attached round-robin to the 99 load buses of case118, in the order of the file: agent i sits at load i % 99.
The disturbed load (the largest, at bus 59) follows `base * disturbance(k)`: without it the droop would settle and the
warm-started solver would return without a single Newton iteration. Every agent acts at the same offset: that is the
favourable case for the time-stepped peers, which would need one grant or step per distinct instant.

HELICS and mosaik solve no power flow here: their grid side computes `surrogate_voltages` instead, two NumPy operations.

`wall_s` covers the running exchange only, not the set-up (loading the grid, creating federates or simulators).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERIOD_S = 1.0
AGENT_OFFSET_S = 0.5
LOSS = 0.01
DELAY_S = (0.020, 0.080)
DROOP_KVAR_PER_PU = 10_000.0
LIMIT_KVAR = 500.0
N_LOADS = 99
_SIGMAS = 6.0  # a run beyond this is wrong, not unlucky: 2e-9

Floats = NDArray[np.float64]


class PeerMissingError(Exception):
    """A peer's package is not importable here; the row is reported, nothing is installed and nothing fails."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one side did: counts, the seconds it took, and a checksum of its final state.

    `moved_agents` counts the agents whose setpoint in force at the end is not the 0 kvar they started from.
    """

    grid_steps: int
    messages_sent: int
    messages_delivered: int
    wall_s: float
    final_checksum: str
    moved_agents: int

    @property
    def steps_per_s(self) -> float:
        """Grid steps per second of wall time."""
        return self.grid_steps / self.wall_s


def droop_kvar(v_pu: float) -> float:
    """Reactive injection of one agent (kvar, positive into the grid) that sees `v_pu`."""
    return max(-LIMIT_KVAR, min(LIMIT_KVAR, DROOP_KVAR_PER_PU * (1.0 - v_pu)))


def disturbance(step: int) -> float:
    """Factor on the disturbed load's active power at grid step `step`: a 60 s sine of 5 %."""
    return 1.0 + 0.05 * math.sin(2.0 * math.pi * step / 60.0)


def surrogate_voltages(n_agents: int, step: int) -> Floats:
    """Voltages (n_agents,) in pu for the peers without a power flow: a spread over the agents times the disturbance."""
    return np.linspace(0.96, 1.02, n_agents) * (1.0 - 0.1 * (disturbance(step) - 1.0))


def checksum(voltages_pu: Floats, setpoints_kvar: Floats) -> str:
    """First 16 hex digits of the SHA-256 over the final voltages and setpoints as little-endian float64."""
    blob = np.asarray(voltages_pu, dtype="<f8").tobytes() + np.asarray(setpoints_kvar, dtype="<f8").tobytes()
    return hashlib.sha256(blob).hexdigest()[:16]


def complaints(result: Result, n_agents: int, duration_s: int) -> list[str]:
    """Reasons why `result` cannot be the exchange of `n_agents` over `duration_s`; empty when it can."""
    sent = 2 * n_agents * duration_s
    expected = sent * (1.0 - LOSS)
    tolerance = _SIGMAS * math.sqrt(sent * LOSS * (1.0 - LOSS)) + 1.0
    found = []
    if result.grid_steps != duration_s:
        found.append(f"grid steps: found {result.grid_steps}, expected {duration_s}")
    if result.messages_sent != sent:
        found.append(f"messages sent: found {result.messages_sent}, expected {sent}")
    if abs(result.messages_delivered - expected) > tolerance:
        found.append(f"delivered: found {result.messages_delivered}, expected {expected:.0f} ±{tolerance:.0f}")
    if duration_s >= 10 and result.moved_agents < 0.9 * n_agents:
        found.append(f"setpoints moved: found {result.moved_agents}, expected nearly all of {n_agents}")
    return found
