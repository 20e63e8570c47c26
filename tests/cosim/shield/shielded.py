"""Small shielded scenarios for tests: Baran and Wu's feeder with what a test adds, commands by authority, and readings.

What a test looks at is public: points, the record's decisions and events.  Voltages are those of the committed power
flow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cosim.commands import Authority, CommandStatus
from cosim.recorder import RunResult
from cosim.simulation import Simulation
from tests.cosim.simulation.worlds import ended, world

#: A feeder at half its load (0.957 pu at its end) in a wide band, with a large PV plant at its end: 3 MW are too much.
PV = {"kind": "pv", "name": "pv", "bus": "18", "p_rated_kw": 3000, "q_max_pu": 0.0}
GRID = {"network": "case33bw", "load_scale": 0.5}
BAND = [{"v_min_pu": 0.9, "v_max_pu": 1.05}]


def shielded(devices: Sequence[Mapping[str, Any]], shield: Any = None, *, base_dir: Path | None = None,
             **changes: Any) -> Simulation:
    """A scenario with a shield (default: the band 0.9..1.05 alone)."""
    spec = {"voltage": BAND, "loading": []} if shield is None else shield
    given = {"grid": GRID, "duration_s": 3600, **changes}
    return world(base_dir=base_dir, devices=[dict(device) for device in devices], shield=spec, **given)


def band(**more: Any) -> dict[str, Any]:
    """The band 0.9..1.05 and whatever else."""
    return {"voltage": BAND, "loading": [], **more}


def told(simulation: Simulation, t_s: float, authority: Authority = Authority.AGENT, **setpoints: float) -> Simulation:
    """Ask for set points (``pv__p_set_kw=3000``) just before `t_s`, and go there."""
    for point, value in setpoints.items():
        name = point.replace("__", ".")
        found = simulation.submit(name, value, authority.name.lower(), authority=authority,
                                  at_us=round(t_s * 1e6) - 1)
        assert found is CommandStatus.ACCEPTED, (name, value, found)
    return at(simulation, t_s)


def at(simulation: Simulation, t_s: float) -> Simulation:
    """The same simulation, at `t_s`."""
    simulation.advance_to(round(t_s * 1e6))
    return simulation


def read(simulation: Simulation, point: str) -> float:
    """The value of a point, as published."""
    return float(simulation.points.values[simulation.points.index[point]])


def rung(simulation: Simulation) -> int:
    """Of the fallback chain."""
    return int(read(simulation, "shield.rung"))


def volts(simulation: Simulation) -> tuple[float, float]:
    """Lowest and highest voltage of the committed state."""
    v_pu = simulation.grid.state.v_pu
    return float(v_pu.min()), float(v_pu.max())


def reasons(simulation: Simulation) -> list[tuple[str, str, str]]:
    """(point, reason, limit) of all decisions so far; this ends the record."""
    return [(row.point, row.reason, row.limit) for row in record(simulation).decisions().itertuples()]


def record(simulation: Simulation) -> RunResult:
    """The record up to now, closed."""
    return ended(simulation, simulation.now_us / 1e6)


class _Blind:
    """A state whose solver knows no sensitivities."""

    def __init__(self, state: Any) -> None:
        self.real = state

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def sensitivity(self, *_: Any) -> None:
        """None, as a solver without a Jacobian says."""


class Blindfolded:
    """A shield whose power flow has no sensitivities: nothing can be projected, and the rungs below are left."""

    def __init__(self, shield: Any) -> None:
        self.shield = shield

    def filter(self, asked: Any, attempt: Any) -> Any:
        """The shield's own answer, with a power flow that cannot be differentiated."""
        blind = replace(attempt, solve=lambda setpoints, lost: self._blind(attempt.solve(setpoints, lost)))
        decision = self.shield.filter(asked, blind)
        return replace(decision, trial=replace(decision.trial, state=decision.trial.state.real))

    def settled(self, decision: Any, t_us: int) -> None:
        """As it is."""
        self.shield.settled(decision, t_us)

    @staticmethod
    def _blind(trial: Any) -> Any:
        return replace(trial, state=_Blind(trial.state))


def blindfolded(simulation: Simulation) -> Simulation:
    """The same simulation with a solver that knows no sensitivities."""
    simulation._shield = Blindfolded(simulation._shield)
    return simulation
