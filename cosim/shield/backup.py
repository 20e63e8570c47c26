"""The backup controller: volt-var droop, curtailment and storage against the voltage, low-passed.

It is the controller whose safety needs no optimisation: each device acts on its own voltage alone.  A droop is only a
backup where its loop is stable: `loop_gain` is the spectral radius of slope x dV/dQ, checked before the run (below 1
the fixed-point iteration of local controllers converges; Farivar, Zhou & Chen, CDC 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.points import Ids, Vector
from cosim.shield.controls import Frame, Kind


@dataclass(frozen=True, slots=True)
class Droop:
    """Half-width of the deadband around 1 pu, distance at which all is given, and the share of the way in one scan."""

    deadband_pu: float
    full_pu: float
    smoothing: float

    def effort(self, v_pu: Vector) -> Vector:
        """-1 (all against a high voltage) to 1 (all against a low one)."""
        off = np.nan_to_num(1.0 - v_pu)
        share = (np.abs(off) - self.deadband_pu) / (self.full_pu - self.deadband_pu)
        return np.sign(off) * np.clip(share, 0.0, 1.0)


def target(droop: Droop, frame: Frame, kinds: Ids, v_pu: Vector, standing: Vector) -> Vector:
    """Powers (n_control,) the backup would go to from `standing` at device voltages `v_pu` (n_device,)."""
    effort = droop.effort(v_pu[frame.device])
    up, down = np.maximum(effort, 0.0), np.minimum(effort, 0.0)
    reach = frame.at.copy()
    q = kinds == Kind.Q
    reach[q] = (up * np.maximum(frame.high, 0.0) - down * np.minimum(frame.low, 0.0))[q]
    p = kinds == Kind.P
    toward = np.where(effort > 0, frame.high, frame.low)
    reach[p] = (frame.at + np.abs(effort) * (toward - frame.at))[p]
    cap = kinds == Kind.CAP
    reach[cap] = (frame.at + down * (frame.at - frame.low))[cap]
    return np.asarray(standing + droop.smoothing * (reach - standing))


def loop_gain(droop: Droop, reach_kvar: Vector, change: Vector) -> float:
    """Spectral radius of slope x dV/dQ: devices that give up to `reach_kvar` (n,), and how their voltages answer to
    each other's reactive power, `change` (n, n) in pu per kvar."""
    if not reach_kvar.size:
        return 0.0
    slope = reach_kvar / (droop.full_pu - droop.deadband_pu)
    return float(np.abs(np.linalg.eigvals(slope[:, None] * change)).max())
