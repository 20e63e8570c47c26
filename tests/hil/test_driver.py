"""`hil.driver`: a simulation abreast of the wall, and what follows when it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cosim.points import Ids, PointDatabase
from cosim.recorder import Recorder, RunResult
from cosim.replay import replay
from cosim.scenario.loader import load_text
from cosim.simulation.build import BuildOptions, build
from cosim.simulation.engine import Simulation
from cosim.simulation.session import Ending, RunOptions, close_run, open_run
from hil.driver import SLICE_NS, Driver, DriverOptions, OverrunError, OverrunPolicy
from hil.pacer import Pacer
from hil.timing import Timing
from tests.hil.fakes import FakeClock

SCENARIO = """
name: served
duration_s: 60
step_s: 0.1
grid: {network: case33bw}
devices: [{kind: battery, name: store, bus: "18", p_max_kw: 500, e_rated_kwh: 1000}]
"""


def simulation() -> Simulation:
    """A feeder with a battery, scanned at 10 Hz."""
    return build(load_text(SCENARIO, path=Path("served.yaml")), BuildOptions())


class Bench:
    """A driver on a fake clock; solving takes `costs_s(t_us)` of it."""

    def __init__(self, policy: OverrunPolicy = OverrunPolicy.CATCH_UP, costs_s: Callable[[int], float] = lambda _: 0.0,
                 grace: int = 0, of: Simulation | None = None) -> None:
        self.clock = FakeClock()
        self.pacer = Pacer(self.clock)
        self.simulation = of or simulation()
        self.timing = Timing([("scan", 100_000, 0)])
        self.instants: list[int] = []
        self.costs_s = costs_s
        self.driver = Driver(self.simulation, (), self.pacer, self.clock, timing=self.timing,
                             options=DriverOptions(self.simulation.end_us, policy, grace))
        self.driver.on_instant = self.instant
        self.simulation.recorder.end_instant = self.solved  # type: ignore[method-assign] # time goes by in a SOLVE
        self.pacer.resume()

    def solved(self, t_us: int) -> None:
        """The end of an instant that published."""
        self.clock.forward(self.costs_s(t_us))

    def instant(self, t_us: int, _: int) -> None:
        """The driver processed an instant."""
        self.instants.append(t_us)

    def run(self, until_s: float) -> None:
        """As an event loop would: come again when it says so."""
        while not self.driver.done and self.clock.now_ns() < until_s * 1e9:
            next_ns = self.driver.pump()
            if next_ns is None:
                return
            self.clock.forward(max(next_ns - self.clock.now_ns(), 0) / 1e9)


def test_every_instant_comes_at_its_time() -> None:
    """After 1.05 s of wall time the scans of 1.05 s have been, none early."""
    bench = Bench()
    bench.run(1.05)
    assert bench.instants == list(range(0, 1_050_000, 100_000))
    assert bench.timing.scan.lateness.max_ns == 0


def test_a_request_enters_at_its_arrival_and_counts_at_the_next_scan() -> None:
    """At 0.234 s of simulation time, not at the last scan's and not at the next one's."""
    bench = Bench()
    bench.run(0.2)
    bench.driver.pump()
    bench.clock.forward(0.034)
    bench.simulation.submit("store.p_set_kw", 100.0, "rtu", at_us=bench.pacer.now_us())
    bench.driver.pump()
    assert bench.instants[-1] == bench.simulation.now_us == 234_000
    assert bench.simulation.points.read("store.p_kw") == 0.0
    bench.run(0.35)
    assert bench.simulation.points.read("store.p_kw") == 100.0


def test_the_rate_may_change_and_a_pause_is_not_late() -> None:
    """Twice as fast from 0.5 s, a pause of a minute, and still nothing is late or early."""
    bench = Bench()
    bench.run(0.5)
    bench.pacer.set_rate(2.0)
    bench.run(1.0)
    assert bench.simulation.now_us == 1_400_000
    bench.pacer.pause()
    bench.run(9.9)
    bench.clock.forward(60.0)
    bench.pacer.resume()
    bench.run(61.25)
    assert bench.timing.scan.lateness.max_ns == 0
    assert bench.timing.overruns.count == 0
    assert bench.instants == list(range(0, bench.instants[-1] + 1, 100_000))


def slow_at_one_second(t_us: int) -> float:
    """One scan takes 0.35 s."""
    return 0.35 if t_us == 1_000_000 else 0.001


def test_catch_up_leaves_nothing_out() -> None:
    """The late scans follow back to back; three of them overrun; at 2 s it is abreast again."""
    bench = Bench(OverrunPolicy.CATCH_UP, slow_at_one_second)
    bench.run(2.05)
    assert bench.instants == list(range(0, 2_050_000, 100_000))
    assert (bench.timing.overruns.count, bench.timing.overruns.longest_burst) == (3, 3)
    assert bench.timing.overruns.latched
    assert bench.timing.overruns.worst_t_us == 1_000_000


def test_strict_stops_at_the_first() -> None:
    """And names the scan, how late it was, and the other policies."""
    bench = Bench(OverrunPolicy.STRICT, slow_at_one_second)
    with pytest.raises(OverrunError, match=r"t = 1 s: the scan was finished 350.0 ms .* less than its period, 100 ms"):
        bench.run(5.0)


def test_slip_loses_wall_time_and_no_scan() -> None:
    """Simulation time is set back by what was lost; every scan is solved; the loss is on record."""
    bench = Bench(OverrunPolicy.SLIP, slow_at_one_second)
    bench.run(3.0)
    assert bench.instants == list(range(0, bench.instants[-1] + 1, 100_000))
    assert bench.timing.slipped_us == 250_000
    assert bench.timing.overruns.count == 1
    assert bench.simulation.now_us == 2_700_000


def test_skip_drops_what_is_over_and_keeps_the_raster() -> None:
    """Three scans are not solved; the next one is at its own time; one overrun is counted."""
    bench = Bench(OverrunPolicy.SKIP, slow_at_one_second)
    before = bench.simulation.solves
    bench.run(2.05)
    assert bench.timing.skipped_scans == 3
    assert bench.simulation.solves - before == 20 + 1 - 3
    assert (bench.timing.overruns.count, bench.simulation.points.t_us) == (1, 2_000_000)


def test_grace_scans_may_be_late() -> None:
    """The first solve loads what it needs: it is counted apart, and strict lets it pass."""
    bench = Bench(OverrunPolicy.STRICT, lambda t_us: 0.3 if t_us == 0 else 0.001, grace=4)
    bench.run(1.0)
    assert (bench.timing.overruns.in_grace, bench.timing.overruns.count) == (3, 0)


def test_it_ends_where_it_is_told() -> None:
    """`done` at the end; a pump more does nothing."""
    bench = Bench()
    bench.run(61.0)
    assert bench.driver.done
    assert bench.simulation.now_us == 60_000_000
    assert bench.driver.pump() is None


def test_finish_takes_in_what_has_just_arrived() -> None:
    """A write taken a moment before the end is in the journal."""
    bench = Bench()
    bench.run(0.5)
    bench.clock.forward(0.01)
    bench.simulation.submit("store.p_set_kw", 5.0, "rtu", at_us=bench.pacer.now_us())
    bench.driver.finish()
    assert bench.simulation.now_us == bench.pacer.now_us()
    assert bench.simulation.inbox._coming == 0


@pytest.mark.parametrize("policy", list(OverrunPolicy)[1:])
def test_a_run_that_fell_behind_replays_to_the_same_digest(policy: OverrunPolicy, tmp_path: Path) -> None:
    """Dropped scans are in the journal; caught up and slipped ones leave no trace in the simulation."""
    loaded = load_text(SCENARIO, path=Path("served.yaml"))
    options = RunOptions(until_s=3.0)
    made: list[Recorder] = []

    def recorder(out: Path, points: PointDatabase, *rest: object) -> Recorder:
        made.append(Recorder(out, points, *rest))  # type: ignore[arg-type] # as `open_run` calls it
        return made[0]

    running = open_run(loaded, tmp_path / "run", options, recorder)
    bench = Bench(policy, slow_at_one_second, of=running)
    bench.run(2.5)
    del made[0].end_instant  # type: ignore[method-assign] # the real one again
    bench.simulation.submit("store.p_set_kw", 100.0, "rtu", at_us=bench.pacer.now_us())
    bench.driver.finish()
    close_run(loaded, running, tmp_path / "run", Ending("stopped", "", 3.0))
    found = replay(tmp_path / "run")
    assert found.same, found.divergence
    skipped = [command for command in RunResult.load(tmp_path / "run").journal() if command.kind.name == "SKIP"]
    assert len(skipped) == (policy is OverrunPolicy.SKIP)


def test_points_are_those_of_the_last_scan(tmp_path: Path) -> None:
    """Masters read the last published instant, however far the wall has gone."""
    bench = Bench()
    bench.run(0.25)
    bench.clock.forward(10.0)
    ids: Ids = bench.simulation.points.ids_of(["store.p_kw"])
    assert bench.simulation.points.t_us == 200_000
    assert len(bench.simulation.points.take(ids)) == 1


def test_a_backlog_of_hours_does_not_keep_a_run_from_ending() -> None:
    """A scan takes 0.35 s: what two seconds allow is done, the rest is left, and it says how much."""
    bench = Bench(costs_s=lambda _: 0.35)
    bench.run(0.01)
    bench.clock.forward(40.0)
    begun_ns = bench.clock.now_ns()
    left_us = bench.driver.finish()
    assert (bench.clock.now_ns() - begun_ns) / 1e9 < 3.0
    assert left_us == 40_350_000 - bench.simulation.now_us > 30_000_000


def test_lateness_is_of_the_rate_that_held() -> None:
    """A scan 40 ms late as somebody asks for a hundred times the speed: 40 ms, not 0.4."""
    bench = Bench()
    bench.run(1.05)
    bench.clock.forward(0.04)
    bench.pacer.set_rate(100.0)
    bench.driver.pump()
    assert bench.timing.scan.lateness.max_ns == 40_000_000


def test_waiting_busily_leaves_masters_their_turn() -> None:
    """At a hundred times the speed the next scan is always within the spin: it returns to the loop all the same."""
    clock = FakeClock(each_ns=1_000)
    pacer, of = Pacer(clock, 100.0), simulation()
    driver = Driver(of, (), pacer, clock, timing=Timing([("scan", 100_000, 0)]),
                    options=DriverOptions(of.end_us, spin_ns=2_000_000))
    pacer.resume()
    begun_ns = clock.now_ns()
    assert driver.pump() is not None
    assert clock.now_ns() - begun_ns < 3 * SLICE_NS
