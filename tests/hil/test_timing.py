"""`hil.timing`: what a served run's timing was."""

from __future__ import annotations

from hil.timing import Timing

MS = 1_000_000


def test_each_rate_has_its_own_lateness_and_load() -> None:
    """A scan of 100 ms and agents of 300 ms: an instant on both rasters counts for both, others for neither."""
    timing = Timing([("scan", 100_000, 0), ("agents", 300_000, 0)])
    for k in range(4):
        timing.instant(k * 100_000, k * 100 * MS, k * 100 * MS + 2 * MS, k * 100 * MS + 12 * MS, 1.0)
    timing.instant(50_000, 0, 7 * MS, 8 * MS, 1.0)
    scan, agents = timing.rates
    assert (scan.lateness.count, agents.lateness.count, timing.other.count) == (4, 2, 1)
    assert scan.to_dict()["utilisation_mean"] == 0.1
    assert round(agents.utilisation_max, 6) == round(10 / 300, 6)


def test_utilisation_is_of_wall_time() -> None:
    """At ten times the speed the same work fills ten times the share."""
    timing = Timing([("scan", 100_000, 0)])
    timing.instant(0, 0, 0, 5 * MS, 10.0)
    assert timing.scan.utilisation_max == 0.5


def test_mean_utilisation_is_of_the_rate_that_held() -> None:
    """One scan at ten times the speed and three at a tenth of it: the rate at the end does not colour the first."""
    timing = Timing([("scan", 100_000, 0)])
    timing.instant(0, 0, 0, 5 * MS, 10.0)
    for _ in range(3):
        timing.instant(100_000, 0, 0, 5 * MS, 0.1)
    assert timing.to_dict(0.1)["rates"][0]["utilisation_mean"] == (0.5 + 3 * 0.005) / 4


def test_drift_is_what_is_left_without_jitter() -> None:
    """The least late scan of each minute: 3 ms of drift are found below 50 ms of jitter."""
    timing = Timing([("scan", 1_000_000, 0)])
    for second in range(30 * 60):
        late_ns = (second * 7919 % 50) * MS + second * 3 * MS // (29 * 60)
        timing.instant(second * 1_000_000, second * 1000 * MS, second * 1000 * MS + late_ns, 0, 1.0)
    assert 2.5 < timing.drift_ms() < 3.5


def test_jitter_of_a_short_run_is_no_drift() -> None:
    """A minute and one scan more, 40 ms late: no second window is whole, so nothing is said."""
    timing = Timing([("scan", 1_000_000, 0)])
    for second in range(62):
        timing.instant(second * 1_000_000, 0, 40 * MS if second > 60 else 0, 0, 1.0)
    record = timing.to_dict(1.0)
    assert (record["drift_ms"], record["drift_windows"]) == (0.0, 1)


def test_a_burst_is_counted_and_the_flag_stays() -> None:
    """Two in a row, one in time, one more: a longest burst of two, and a flag until somebody resets it."""
    overruns = Timing([("scan", 1, 0)]).overruns
    overruns.missed(1, 5.0)
    overruns.missed(2, 9.0)
    overruns.met()
    overruns.missed(4, 6.0)
    assert (overruns.count, overruns.longest_burst, overruns.worst_t_us, overruns.latched) == (3, 2, 2, True)
