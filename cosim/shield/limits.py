"""What the shield watches: every limit a row, every state a vector of values beside lower and upper bounds.

Rows stand in the order voltages | loadings | exchanges | reserves.  Voltages and loadings are per unit, exchanges and
reserves kW and kvar.  `scale` is what counts as one when violations of different kinds are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cosim.points import Ids, Vector
from cosim.shield.decision import Breach, Reasons, ShieldReason
from cosim.state import Dispatch, GridState, Sensitivity

#: Authority from which a limit may be overridden that nobody may override.
NOBODY_OVERRIDES = 127
SLACK = -1


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Limits of one kind, each array (n,): `name` the limited points, `low` and `high` -inf and inf where open."""

    name: tuple[str, ...]
    reason: ShieldReason
    unit: str | tuple[str, ...]
    low: Vector
    high: Vector
    margin: Vector
    hard: NDArray[np.bool_]
    override: NDArray[np.int8]
    scale: float

    @classmethod
    def none(cls, reason: ShieldReason, unit: str, scale: float) -> Bounds:
        """No limit of this kind."""
        nothing = np.empty(0)
        return cls((), reason, unit, nothing, nothing, nothing, nothing.astype(bool), nothing.astype(np.int8), scale)


@dataclass(frozen=True, slots=True, eq=False)
class Carriers:
    """Who carries one reserve, each array (n,): `device` (indices of injections), `gen` the generator of the network
    that the device stands in for (-1: none), `stops` whether the device can be off."""

    device: Ids
    gen: Ids
    stops: NDArray[np.bool_]

    def up_kw(self, dispatch: Dispatch, p_max_kw: Vector) -> float:
        """What they could give beyond what they give; `p_max_kw` (n_injection,) is what each device could give.

        A unit that does not run spins no reserve.  The power flow does not say whether a unit at a bus runs: at zero
        power it is taken for one that does not.
        """
        on_gen = self.gen >= 0
        given, running = dispatch.p_kw[self.device], np.ones(self.device.size, bool)
        running[self.stops] = given[self.stops] > 0
        given[on_gen] = dispatch.gen_p_kw[self.gen[on_gen]]
        running[on_gen] = dispatch.topology.gen_closed[self.gen[on_gen]]
        return float((p_max_kw[self.device] - given)[running].sum())


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """Where the rows' values come from: `bus` (n_voltage,), `branch` (n_loading,), `exchange` of (branch or SLACK,
    whether reactive), and for each reserve who carries it."""

    bus: Ids
    branch: Ids
    exchange: tuple[tuple[int, bool], ...] = ()
    reserve: tuple[Carriers, ...] = ()


class Limits:
    """The limits of one case: the grid as it stands, or after a loss (`case` says so in the rows' names).

    `high` may be written by who keeps a limit that moves with time (a conductor's heating).
    """

    def __init__(self, watched: Watched, kinds: Sequence[Bounds], case: str = "") -> None:
        self.watched, self.kinds, self.case = watched, tuple(kinds), case
        self.names = tuple(f"{name}{case}" for kind in kinds for name in kind.name)
        self.units = tuple(unit for kind in kinds for unit in (
            kind.unit if isinstance(kind.unit, tuple) else (kind.unit,) * len(kind.name)))
        self.low, self.high, self.margin, self.hard, self.override = (
            np.concatenate([getattr(kind, field) for kind in kinds]) for field in (
                "low", "high", "margin", "hard", "override"))
        sizes = [len(kind.name) for kind in kinds]
        self.scale = np.repeat([kind.scale for kind in kinds], sizes)
        self.reason: Reasons = np.repeat([kind.reason for kind in kinds], sizes).astype(np.uint8)
        self.per_scale = 1.0 / self.scale
        self._n_voltage, self._n_loading = len(watched.bus), len(watched.branch)
        self._only_grid = not (watched.exchange or watched.reserve)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def loading_rows(self) -> slice:
        """The rows of `watched.branch`."""
        return slice(self._n_voltage, self._n_voltage + self._n_loading)

    def values(self, state: GridState, dispatch: Dispatch, p_max_kw: Vector) -> Vector:
        """Every row's value (n_row,) in a converged state; NaN where de-energised (nothing is broken there).

        `p_max_kw` (n_injection,) is what each device could give.
        """
        parts = [state.v_pu[self.watched.bus]]
        if self._n_loading:
            parts.append(state.loading[self.watched.branch])
        if not self._only_grid:
            parts.append(np.array([
                *(self._exchanged(state, at, reactive) for at, reactive in self.watched.exchange),
                *(carriers.up_kw(dispatch, p_max_kw) for carriers in self.watched.reserve)]))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def keeps(self, values: Vector) -> bool:
        """Whether no bound is passed (NaN passes none)."""
        return not bool((values > self.high).any() or (values < self.low).any())

    def excess(self, values: Vector) -> Vector:
        """By how much bounds are passed, in their scale: (n_row,), 0 where they are not."""
        beyond = np.fmax(values - self.high, self.low - values) * self.per_scale
        return np.asarray(np.fmax(beyond, 0.0))  # NaN is 0

    def gradient(self, sensitivity: Sensitivity, rows: Ids, devices: Ids, p_per: Vector) -> Vector:
        """Change of `rows` (k,) along the sensitivity's directions, (k, n_direction).

        `devices` and `p_per` (n_direction,): whose active power a direction moves (-1: nobody's), and by how much.
        """
        out = np.empty((rows.size, devices.size))
        n_grid = self._n_voltage + self._n_loading
        is_v, is_load = rows < self._n_voltage, (rows >= self._n_voltage) & (rows < n_grid)
        out[is_v] = sensitivity.v_pu(self.watched.bus[rows[is_v]])
        if is_load.any():
            out[is_load] = sensitivity.loading(self.watched.branch[rows[is_load] - self._n_voltage])
        for place in np.flatnonzero(rows >= n_grid).tolist():
            out[place] = self._balance(sensitivity, int(rows[place]) - n_grid, devices, p_per)
        return out

    def breaches(self, values: Vector, after: Vector, authority: int) -> tuple[Breach, ...]:
        """Rows that `values` break, the worst first."""
        excess = self.excess(values)
        order = sorted(np.flatnonzero(excess > 0).tolist(), key=lambda row: (-excess[row], row))
        return tuple(self._breach(row, values, after, authority) for row in order)

    def _breach(self, row: int, values: Vector, after: Vector, authority: int) -> Breach:
        over = bool(values[row] > self.high[row])
        return Breach(self.names[row], ShieldReason(int(self.reason[row])),
                      float(self.high[row] if over else self.low[row]), float(values[row]), float(after[row]),
                      self.units[row], bool(self.hard[row]), bool(authority >= self.override[row]))

    def _exchanged(self, state: GridState, at: int, reactive: bool) -> float:
        if at == SLACK:
            return state.slack_q_kvar if reactive else state.slack_p_kw
        return float((state.q_from_kvar if reactive else state.p_from_kw)[at])

    def _balance(self, sensitivity: Sensitivity, place: int, devices: Ids, p_per: Vector) -> Vector:
        if place < len(self.watched.exchange):
            at, reactive = self.watched.exchange[place]
            if at == SLACK:
                return sensitivity.slack()[int(reactive)]
            return np.asarray(sensitivity.branch_power(np.array([at]))[reactive][0])
        carries = np.isin(devices, self.watched.reserve[place - len(self.watched.exchange)].device)
        return np.where(carries, -p_per, 0.0)


def after_loss(limits: Limits, name: str) -> Limits:
    """The same limits under the name of a contingency."""
    kinds = [replace(kind, reason=ShieldReason.CONTINGENCY) for kind in limits.kinds]
    return Limits(limits.watched, kinds, f" without {name}")
