"""Which of the shield's decisions are written down: those that moved something, when they change."""

from __future__ import annotations

import numpy as np

from cosim.points import Ids
from cosim.recorder import DecisionRow, Recorder
from cosim.shield import ShieldDecision, ShieldReason


class DecisionLog:
    """Writes a row for each output whose intervention began, changed or ended: not one row a scan for as long as a
    full battery is asked to charge."""

    def __init__(self, recorder: Recorder, point_ids: Ids) -> None:
        self._recorder, self._point_ids = recorder, point_ids
        self._last: ShieldDecision | None = None

    def write(self, decision: ShieldDecision, t_us: int) -> None:
        """Write what differs from the last decision."""
        last = self._last
        if not decision.active and (last is None or not last.active):
            return
        changed = decision.reason != (last.reason if last is not None else 0)
        if last is not None:
            moved = (decision.requested != last.requested) & ~(np.isnan(decision.requested) & np.isnan(last.requested))
            changed |= moved & (decision.reason != 0)
        for i in np.flatnonzero(changed).tolist():
            self._recorder.decision(DecisionRow(
                t_us, int(self._point_ids[i]), float(decision.requested[i]), float(decision.applied[i]),
                ShieldReason(int(decision.reason[i])).name.lower(), decision.distance_kva))
        self._last = decision
