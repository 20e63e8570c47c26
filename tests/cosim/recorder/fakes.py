"""What the recorder's tests record: a small run that is the same every time."""

from __future__ import annotations

import numpy as np

from cosim.commands import NEVER_US, Authority, Command, CommandKind, CommandStatus
from cosim.points import Point, PointDatabase, PointKind
from cosim.recorder import DecisionRow, MessageRow, Recorder, RunAbout

ABOUT = RunAbout("toy", {"grid": "case14"}, "grid: case14\n", 7, {"python": "3"}, 60_000_000)


class FakeStopwatch:
    """A stopwatch that moves when told to, and by `step_s` every time it is read."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.s, self.step_s = 0.0, step_s

    def now_s(self) -> float:
        """The time it was set to."""
        self.s += self.step_s
        return self.s


def database(n_point: int = 5) -> PointDatabase:
    """Points bus.0.v_pu … and one output."""
    points = [Point(f"bus.{i}.v_pu", PointKind.ANALOG_INPUT, "pu") for i in range(n_point - 1)]
    return PointDatabase([*points, Point("battery.p_kw", PointKind.ANALOG_OUTPUT, "kW", -10, 10)])


def command(t_us: int, ids: tuple[int, ...] = (4,), values: tuple[float, ...] = (1.5,), *, external: bool = False,
            expires_us: int = NEVER_US) -> Command:
    """A command, a release when it has no values."""
    return Command(t_us, CommandKind.SET if values else CommandKind.RELEASE, f"agent.{t_us % 3}", Authority.AGENT, ids,
                   values, expires_us, CommandStatus.ACCEPTED, external)


def instant(recorder: Recorder, i: int, seed: int = 1, bend: int = -1) -> None:
    """Record instant number `i` of the toy run; `bend` is the instant at which another run would differ."""
    t_us = i * 1000
    values = np.random.default_rng([seed, i]).normal(size=len(recorder.points))
    if i == bend:
        values[2] += 1e-9
    if i % 3 == 0:
        recorder.command(command(t_us, external=i % 6 == 0))
    if i % 5 == 0:
        recorder.command(command(t_us, (0, 4, 99), (np.nan, np.inf, -0.0), external=True, expires_us=t_us + 7))
        recorder.command(command(t_us, (1, 2), ()))
    if i % 4 == 0:
        recorder.decision(DecisionRow(t_us, 4, 1.5, values[0], "voltage", 0.25))
        recorder.message(MessageRow(t_us, None if i % 8 else t_us + 20, "wan", "a", "b", 64, "lost"))
    if i % 7 == 0:
        recorder.event(t_us, "trip", f"line.{i}", "over|load é", values[1])
    recorder.sample(t_us, values)
    recorder.end_instant(t_us)
