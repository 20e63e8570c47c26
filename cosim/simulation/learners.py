"""Specifications of learners from a scenario: which features, in which scale, and which setpoints, in which range."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cosim.encoding import ActionSpec, Feature, LearnerSpec
from cosim.encoding.spec import Setpoint
from cosim.errors import PluginError
from cosim.points import Ids, Point, PointDatabase, PointKind, match
from cosim.scenario.learning import Acting, Choice, Observing, Units
from cosim.scenario.problems import near
from cosim.scenario.schema import Agent as AgentSpec

#: Scales (low, high) by unit where the scenario gives none; powers go by `Bases`.
_BY_UNIT = {"deg": (-180.0, 180.0), "Hz": (49.0, 51.0), "%": (0.0, 100.0), "s": (-60.0, 60.0)}
_POWERS = ("kW", "kvar", "kVA")


@dataclass(frozen=True, slots=True)
class Bases:
    """What powers are scaled by: each device's rating (kVA, by name), else the network's load."""

    network_kw: float
    devices_kw: Mapping[str, float]

    @classmethod
    def of(cls, points: Sequence[Point], network_kw: float) -> Bases:
        """Ratings from the finite ranges of power setpoints."""
        found: dict[str, float] = {}
        for point in points:
            device = point.name.rpartition(".")[0]
            if point.kind.writable and point.unit in _POWERS:
                most = max(abs(point.low), abs(point.high))
                if np.isfinite(most) and most > 0:
                    found[device] = max(found.get(device, 0.0), most)
        return cls(network_kw if network_kw > 0 else 1.0, found)

    def scale(self, point: Point) -> tuple[float, float]:
        """(low, high) that become -1 and 1."""
        if point.unit in _POWERS:
            base = self.devices_kw.get(point.name.rpartition(".")[0], self.network_kw)
            return -base, base
        if point.name.endswith("v_pu"):
            return 0.9, 1.1
        if point.kind.writable and np.isfinite(point.low) and np.isfinite(point.high) and point.low < point.high:
            return point.low, point.high
        return _BY_UNIT.get(point.unit, (0.0, 1.0))


def learner_spec(agent: AgentSpec, seen: Ids, actuated: Ids, points: PointDatabase, *, bases: Bases,
                 step_s: float) -> LearnerSpec:
    """The specification of one agent; raises PluginError for an action space that cannot be built.

    `seen` are the points of its reports, the acknowledged setpoints included.
    """
    learn = agent.learn
    named = _naming(learn.subject)
    period_s = step_s if agent.period_s is None else agent.period_s
    return LearnerSpec(agent.name, learn.group or agent.name, period_s,
                       tuple(_features(learn.observe, [points.points[i] for i in seen], bases, named)),
                       learn.observe.history, _extras(learn.observe), learn.observe.clip,
                       _action(agent.name, learn.act, [points.points[i] for i in actuated], named))


def _naming(subject: str) -> Callable[[str], str]:
    return lambda name: name.replace(subject, "{}") if subject else name


def _features(observing: Observing, points: Sequence[Point], bases: Bases,
              named: Callable[[str], str]) -> list[Feature]:
    scales = [bases.scale(point) for point in points]
    names = [point.name for point in points]
    for pattern, scale in observing.scale.items():
        for i in match(pattern, names):
            scales[i] = scale
    return [Feature(named(point.name), point.unit, (low + high) / 2, (high - low) / 2)
            for point, (low, high) in zip(points, scales, strict=True)]


def _extras(observing: Observing) -> tuple[str, ...]:
    ticked = [name for name in ("last_action", "quality", "age", "due", "dt") if getattr(observing, name)]
    return (*ticked, *(f"clock.{clock.value}" for clock in observing.clock))


def _action(agent: str, acting: Acting, points: Sequence[Point], named: Callable[[str], str]) -> ActionSpec:
    names = [point.name for point in points]
    if acting.choices:
        setpoints = tuple(Setpoint(named(p.name), p.unit, *_bounds(p)) for p in points)
        rows = tuple(_choice(agent, choice, points) for choice in acting.choices)
        return ActionSpec(setpoints, True, tuple(choice.name for choice in acting.choices), rows)
    ranges = {i: bounds for pattern, bounds in acting.range.items() for i in _named(agent, "range", pattern, names)}
    levels = {i: n for pattern, n in acting.levels.items() for i in _named(agent, "levels", pattern, names)}
    setpoints = tuple(_setpoint(agent, point, ranges.get(i, _bounds(point)), named,
                                (levels[i],) if i in levels else ()) for i, point in enumerate(points))
    return ActionSpec(setpoints, acting.units is Units.NORMALISED)


def _bounds(point: Point) -> tuple[float, float]:
    return (0.0, 1.0) if point.kind is PointKind.BINARY_OUTPUT else (float(point.low), float(point.high))


def _setpoint(agent: str, point: Point, bounds: tuple[float, float], named: Callable[[str], str],
              levels: tuple[int | None, ...]) -> Setpoint:
    low, high = bounds
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise PluginError(f"agent '{agent}': setpoint '{point.name}' runs from {low:g} to {high:g} {point.unit}: no "
                          f"action can span that; give its range: learn: {{act: {{range: {{{point.name}: [low, "
                          f"high]}}}}}}")
    if low < point.low or high > point.high:
        raise PluginError(f"agent '{agent}': learn.act.range of '{point.name}' is {low:g} to {high:g}; the point takes "
                          f"{point.low:g} to {point.high:g} {point.unit}")
    if point.kind is PointKind.BINARY_OUTPUT:
        return Setpoint(named(point.name), point.unit, 0.0, 1.0, (0.0, 1.0))
    if not levels:
        return Setpoint(named(point.name), point.unit, low, high)
    n = levels[0]
    values = np.arange(np.ceil(low), np.floor(high) + 1) if n is None else np.linspace(low, high, n)
    if not 2 <= len(values) <= 10_000:
        raise PluginError(f"agent '{agent}': '{point.name}' has {len(values)} whole numbers from {low:g} to {high:g}; "
                          f"expected 2 to 10000 levels (learn.act.levels)")
    return Setpoint(named(point.name), point.unit, low, high, tuple(values.tolist()))


def _named(agent: str, key: str, pattern: str, names: Sequence[str]) -> list[int]:
    """Places of the actuated points that a key of `learn.act` means; raises PluginError for none."""
    found = match(pattern, names)
    if not found:
        raise PluginError(f"agent '{agent}': learn.act.{key} has '{pattern}', which none of its {len(names)} actuated "
                          f"points is called{near(pattern, names)}")
    return found


def _choice(agent: str, choice: Choice, points: Sequence[Point]) -> tuple[float | None, ...]:
    """Values (n_point,) of a choice; raises PluginError for one that a point does not take."""
    row: list[float | None] = [None] * len(points)
    for pattern, value in choice.set.items():
        for i in _named(agent, f"choices '{choice.name}'", pattern, [point.name for point in points]):
            low, high = _bounds(points[i])
            if not low <= value <= high or (points[i].kind is PointKind.BINARY_OUTPUT and value not in (0.0, 1.0)):
                raise PluginError(f"agent '{agent}': choice '{choice.name}' sets '{points[i].name}' to {value:g}; the "
                                  f"point takes {low:g} to {high:g} {points[i].unit}".rstrip())
            row[i] = value
    return tuple(row)
