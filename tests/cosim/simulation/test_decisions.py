"""What is written down of the shield's decisions."""

from __future__ import annotations

from math import nan
from typing import Any

import numpy as np
import pytest

from cosim.points import Point, PointDatabase, PointKind
from cosim.recorder import Recorder
from cosim.shield import Breach, Rung, ShieldDecision, ShieldReason
from cosim.simulation.decisions import DecisionLog

VOLTAGE, RAMP, LOADING = int(ShieldReason.VOLTAGE), int(ShieldReason.RAMP), int(ShieldReason.LOADING)
HIGH = Breach("bus.18.v_pu", ShieldReason.VOLTAGE, 1.05, 1.0612, 1.0499, "pu", True)
HEAVY = Breach("line.4.loading", ShieldReason.LOADING, 1.0, 1.2, 1.0, "", True)


class Log:
    """A decision log of two outputs in 0..1000 kW behind an input, and what it wrote."""

    def __init__(self) -> None:
        points = PointDatabase((
            Point("bus.18.v_pu", PointKind.ANALOG_INPUT),
            Point("a.p_set_kw", PointKind.ANALOG_OUTPUT, low=0, high=1000),
            Point("b.p_set_kw", PointKind.ANALOG_OUTPUT, low=0, high=1000)))
        self.recorder = Recorder(None, points)
        self.log = DecisionLog(self.recorder, np.array([1, 2]), points=points.points,
                               source=["sun", "moon"].__getitem__)

    def write(self, t_s: float, requested: tuple[float, float], applied: tuple[float, float] | None = None,
              reason: tuple[int, int] = (0, 0), **more: Any) -> None:
        """One decision; nothing moved without `applied`."""
        asked = np.array(requested)
        given = asked if applied is None else np.array(applied)
        if "advised" in more:
            more["advised"] = np.array(more["advised"])
        trial: Any = None
        self.log.write(ShieldDecision(asked, given, np.array(reason, np.uint8), 1.0, trial, **more), round(t_s * 1e6))

    def rows(self) -> list[dict[str, Any]]:
        """Rows so far."""
        self.recorder.flush()
        return [dict(row) for row in self.recorder.result().decisions().to_dict("records")]

    def short(self) -> list[tuple[Any, ...]]:
        """Time, point, applied, reason and limit of each."""
        return [(row["t_us"] / 1e6, row["point"][0], row["applied"], row["reason"], row["limit"])
                for row in self.rows()]

    def events(self) -> list[tuple[float, str, str]]:
        """Time, kind and subject of each."""
        self.recorder.flush()
        return [(row["t_us"] / 1e6, row["kind"], row["subject"])
                for row in self.recorder.result().events().to_dict("records")]


def test_a_row_says_everything() -> None:
    """Who asked, what explains it, by how much, where it stands."""
    log = Log()
    log.write(1, (900, 100), (700, 100), (VOLTAGE, 0), rung=Rung.PROJECTION, breaches=(HEAVY, HIGH))
    (row,) = log.rows()
    del row["seq"]
    assert row == {"t_us": 1_000_000, "point": "a.p_set_kw", "requested": 900.0, "applied": 700.0, "reason": "voltage",
                   "distance_kva": 1.0, "source": "sun", "limit": "bus.18.v_pu", "bound": 1.05, "found": 1.0612,
                   "after": 1.0499, "rung": "projection", "enforced": True}


def test_a_row_where_it_begins_changes_and_ends() -> None:
    """Not a row a scan; but when the request, the reason or the limit changes, and when it is over."""
    log = Log()
    high: dict[str, Any] = {"rung": Rung.PROJECTION, "breaches": (HIGH,)}
    log.write(0, (900, 100))
    log.write(1, (900, 100), (700, 100), (VOLTAGE, 0), **high)
    log.write(2, (900, 100), (700, 100), (VOLTAGE, 0), **high)
    log.write(3, (901, 100), (700, 100), (VOLTAGE, 0), **high)
    log.write(4, (901, 101), (700, 101), (VOLTAGE, 0), **high)
    log.write(5, (901, 101), (700, 101), (VOLTAGE, 0), rung=Rung.PROJECTION, breaches=(HEAVY,))
    log.write(6, (901, 101), (700, 101), (RAMP, 0), rung=Rung.PROJECTION, breaches=(HEAVY,))
    log.write(7, (901, 101))
    log.write(8, (901, 101))
    assert log.short() == [
        (1, "a", 700, "voltage", "bus.18.v_pu"), (3, "a", 700, "voltage", "bus.18.v_pu"),
        (5, "a", 700, "voltage", "line.4.loading"), (6, "a", 700, "ramp", ""), (7, "a", 901, "none", "")]


def test_what_follows_the_sun_leaves_a_trace() -> None:
    """A row when what is applied has moved by more than 1 % of the range since the last row, however slowly."""
    log = Log()
    for second in range(40):
        log.write(second, (900, 100), (700 - second, 100), (VOLTAGE, 0), rung=Rung.PROJECTION, breaches=(HIGH,))
    assert [row["applied"] for row in log.rows()] == [700, 689, 678, 667]


def test_a_device_on_its_ramp_leaves_none() -> None:
    """Its own limits are one row while what is asked stays: the samples show the rest."""
    log = Log()
    for second in range(40):
        log.write(second, (900, 100), (10 * second, 100), (RAMP, 0))
    assert len(log.rows()) == 1


def test_another_rung_is_a_change() -> None:
    """For every output that is moved."""
    log = Log()
    for second, rung in enumerate((Rung.PROJECTION, Rung.BACKUP, Rung.BACKUP)):
        log.write(second, (900, 100), (700, 50), (VOLTAGE, VOLTAGE), rung=rung, breaches=(HIGH,))
    assert [(row["t_us"], row["rung"]) for row in log.rows()] == [
        (0, "projection"), (0, "projection"), (1_000_000, "backup"), (1_000_000, "backup")]


def test_observing_writes_what_would_be_applied() -> None:
    """`enforced` is false where the shield only observes, and true where the device itself could not follow."""
    log = Log()
    log.write(1, (900, 800), (900, 500), (VOLTAGE, RAMP), rung=Rung.PROJECTION, breaches=(HIGH,), advised=(700, 500))
    log.write(2, (900, 800))
    assert [(row["point"][0], row["applied"], row["enforced"], row["reason"]) for row in log.rows()] == [
        ("a", 700, False, "voltage"), ("b", 500, True, "ramp"), ("a", 900, True, "none"), ("b", 800, True, "none")]


def test_nothing_asked_is_nan_and_no_change() -> None:
    """A backup that acts where nobody asks has one row, and another when it lets go."""
    log = Log()
    log.write(1, (nan, nan), (nan, 5), (0, VOLTAGE), rung=Rung.BACKUP, breaches=(HIGH,))
    log.write(2, (nan, nan), (nan, 5), (0, VOLTAGE), rung=Rung.BACKUP, breaches=(HIGH,))
    log.write(3, (nan, nan))
    rows = log.rows()
    assert [(row["applied"], row["reason"]) for row in rows[:1]] == [(5, "voltage")]
    assert [row["reason"] for row in rows] == ["voltage", "none"]
    assert np.isnan(rows[1]["applied"])


def test_infeasible_has_a_beginning_and_an_end() -> None:
    """With the subject it began with, whatever is worst meanwhile."""
    log = Log()
    harm: dict[str, Any] = {"rung": Rung.LEAST_HARM, "infeasible": True}
    log.write(1, (900, 100), (700, 100), (VOLTAGE, 0), breaches=(HIGH,), **harm)
    log.write(2, (900, 100), (700, 100), (VOLTAGE, 0), breaches=(HEAVY, HIGH), **harm)
    log.write(3, (900, 100))
    assert log.events() == [(1, "shield.infeasible.begin", "bus.18.v_pu"), (1, "shield.rung", "shield"),
                            (3, "shield.infeasible.end", "bus.18.v_pu"), (3, "shield.rung", "shield")]


def test_infeasible_with_nothing_to_move_is_told_too() -> None:
    """Nothing is active, and still the limit is broken."""
    log = Log()
    log.write(1, (900, 100), infeasible=True, breaches=(HIGH,))
    assert log.events() == [(1, "shield.infeasible.begin", "bus.18.v_pu")]
    assert log.log.figures(61_000_000)["infeasible_minutes"] == 1.0


def test_the_usual_rungs_are_no_event() -> None:
    """Request and projection come and go; the fallback chain is told of."""
    log = Log()
    for second, rung in enumerate((Rung.PROJECTION, Rung.REQUEST, Rung.LAST_SAFE, Rung.LAST_SAFE, Rung.PROJECTION)):
        log.write(second, (900, 100), (700, 100), (VOLTAGE, 0), rung=rung, breaches=(HIGH,))
    log.recorder.flush()
    events = log.recorder.result().events()
    assert events["detail"].tolist() == ["request -> last safe", "last safe -> projection"]


def test_an_override_is_never_silent() -> None:
    """One event when it begins, none while it lasts, and it explains no row."""
    log = Log()
    let = Breach("bus.2.v_pu", ShieldReason.VOLTAGE, 1.05, 1.08, 1.08, "pu", True, overridden=True)
    log.write(1, (900, 100), breaches=(let,))
    log.write(2, (900, 100), (700, 100), (VOLTAGE, 0), rung=Rung.PROJECTION, breaches=(let, HIGH))
    log.write(3, (900, 100))
    log.write(4, (900, 100), breaches=(let,))
    assert log.events() == [(1, "shield.override", "bus.2.v_pu"), (4, "shield.override", "bus.2.v_pu")]
    assert [row[4] for row in log.short()] == ["bus.18.v_pu", ""]


def test_counts_and_minutes_are_exact() -> None:
    """Interventions are counted where they begin; minutes are what held until asked."""
    log = Log()
    high: dict[str, Any] = {"rung": Rung.PROJECTION, "breaches": (HIGH,)}
    log.write(0, (900, 100), (900, 50), (0, RAMP))
    log.write(60, (900, 100), (700, 50), (VOLTAGE, VOLTAGE), **high)
    log.write(90, (900, 100), (710, 60), (VOLTAGE, VOLTAGE), **high)
    log.write(120, (900, 100))
    log.write(180, (900, 100), (700, 100), (LOADING, 0), rung=Rung.LEAST_HARM, infeasible=True, breaches=(HEAVY,))
    assert log.log.figures(240_000_000) == {
        "interventions": 3, "device_limited": 1, "active_minutes": 2.0, "infeasible_minutes": 1.0,
        "by_rung": {"request": pytest.approx(2.0), "projection": 1.0, "least_harm": 1.0}}


def test_every_reason_has_its_word() -> None:
    """In lower case, as it is recorded."""
    log = Log()
    reasons = [reason for reason in ShieldReason if reason]
    for t_s, reason in enumerate(reasons):
        log.write(t_s, (t_s, 0), (0, 0), (int(reason), 0))
    assert [row["reason"] for row in log.rows()] == [reason.name.lower() for reason in reasons]
