"""A shield in the control centre keeps the band over a channel that is late, loses and breaks off, or says that it may
not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim.commands import Authority
from cosim.errors import ScenarioError
from cosim.replay import replay
from cosim.scenario.loader import load_scenario
from cosim.simulation import Simulation, build
from cosim.simulation.pacing import Pace
from cosim.simulation.remote import RemoteShield
from cosim.simulation.session import run_scenario
from tests.cosim.shield.shielded import BAND, at, read, record, rung, told, volts
from tests.cosim.simulation.worlds import world

ROOT = Path(__file__).parents[3]
S = 1_000_000
#: Plants in the middle and at the end of the feeder that can lift and lower it out of the band, at night.
NIGHT = {"kind": "pv", "p_rated_kw": 1, "s_rated_kva": 3000, "q_max_pu": 1.0}
TWO = [{**NIGHT, "name": "mid", "bus": "14"}, {**NIGHT, "name": "end", "bus": "18"}]
SUN = {"kind": "pv", "name": "pv", "bus": "18", "p_rated_kw": 3000, "q_max_pu": 0.0}


def delayed(delay_ms: float = 1000.0, *more: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The channel."""
    rules = [{"kind": "latency", "distribution": "constant", "delay_ms": delay_ms}, *map(dict, more)]
    return [{"name": "wan", "rules": rules}]


def remote(devices: Sequence[Mapping[str, Any]], shield: Mapping[str, Any] | None = None,
           telemetry: Mapping[str, Any] | None = None, **changes: Any) -> Simulation:
    """A half-loaded feeder in the band 0.9..1.05, reports each second a second late."""
    spec = {"voltage": BAND, "loading": [], **(shield or {}),
            "telemetry": {"channel": "wan", "period_s": 1, "hold_age_s": 10, "lost_age_s": 30, **(telemetry or {})}}
    given = {"grid": {"network": "case33bw", "load_scale": 0.5}, "duration_s": 3600, "channels": delayed(), **changes}
    return world(devices=[dict(device) for device in devices], shield=spec, **given)


def shield_of(simulation: Simulation) -> RemoteShield:
    """The simulation's."""
    found = simulation._shield
    assert isinstance(found, RemoteShield)
    return found


def sent(simulation: Simulation) -> list[float]:
    """What the control centre sent last (n_output,)."""
    return [float(value) for value in shield_of(simulation)._sent]


# -- the claim --------------------------------------------------------------------------------------------------------

HOSTILE = ("shield.telemetry.hold_age_s=60", "agents=[]", "duration_s=7200")


class Watched:
    """A run of scenarios/remote_shield.yaml under random requests for the most or the least reactive power."""

    def __init__(self, scans: int, *changes: str) -> None:
        loaded = load_scenario(ROOT / "scenarios" / "remote_shield.yaml", overrides=[*HOSTILE, *changes])
        self.simulation = build(loaded)
        self.unflagged, self.flagged, self.outside = 0, 0, 0
        points = self.simulation.points
        plants = [int(i) for i in self.simulation.inbox.point_ids if points.names[i].endswith("q_set_kvar")]
        most = np.array([points.points[i].high for i in plants])
        rng = np.random.default_rng(1)
        for scan in range(1, scans + 1):
            wanted = most * rng.choice((-1.0, 1.0), most.size) if rng.random() < 0.5 else (
                most if rng.random() < 0.5 else -most)
            for point, value in zip(plants, wanted, strict=True):
                self.simulation.inbox.post((point,), (float(value),), "enemy", Authority.AGENT)
            self.simulation.advance_to(scan * 10 * S)
            low, high = volts(self.simulation)
            outside, flagged = low < 0.95 or high > 1.05, read(self.simulation, "shield.infeasible") > 0
            self.outside += outside
            self.flagged += flagged
            self.unflagged += outside and not flagged


@cache
def hostile() -> Watched:
    """Two hours, 5 s delay, 10 % loss, bursts; the scenario's ramps cover its profiles."""
    return Watched(720)


def test_the_band_holds_whenever_the_shield_does_not_flag() -> None:
    """5 s delay, 10 % loss, bursts, and an enemy at every plant; what is flagged is little, and explained by age."""
    run = hostile()
    assert (run.unflagged, run.outside) == (0, 0)
    assert run.flagged < 72
    assert run.simulation.grid.state.converged


def test_without_margins_for_orders_under_way_the_band_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run, where what is decided is sent as it is: the test above can fail."""
    monkeypatch.setattr(Pace, "passed", lambda self, wanted: wanted)
    monkeypatch.setattr(Pace, "doubt", lambda self: ())
    run = Watched(200)
    assert run.unflagged > 0


def falling(ramp_kw_per_s: float) -> tuple[int, int]:
    """Demand falls 3 kW/s behind a plant that is curtailed to its limit; scans outside, and scans flagged, of 95."""
    simulation = remote([SUN, {"kind": "load", "name": "ld", "bus": "17", "p_kw": 400}],
                        {"voltage": [{"v_min_pu": 0.9, "v_max_pu": 1.02}]},
                        {"ramps": [{"devices": ["*"], "kw_per_s": ramp_kw_per_s}]})
    demand: Any = simulation._fleet.groups[1]
    outside = flagged = 0
    for scan in range(1, 101):
        demand._p_factor = np.array([400.0 - 3.0 * scan])
        at(simulation, scan)
        if scan > 5:  # the first reports have arrived
            outside += volts(simulation)[1] > 1.02
            flagged += read(simulation, "shield.infeasible") > 0
    return outside, flagged


def test_declared_ramps_cover_what_happens_between_reports() -> None:
    """With the ramp declared the band holds, and nothing has to be flagged."""
    assert falling(3.0) == (0, 0)


def test_a_ramp_that_nobody_declared_breaks_the_band_and_is_flagged() -> None:
    """The assumption is broken, and the shield says so in the scan in which it sees it."""
    outside, flagged = falling(0.0)
    assert outside > 50
    assert flagged >= outside


# -- orders under way -------------------------------------------------------------------------------------------------


def swap(deaf: int) -> tuple[float, float]:
    """One plant lifts and one lowers; they are told to change places, and the one that is `deaf` hears it 8 s
    late.  Lowest and highest voltage on the way."""
    simulation = remote(TWO, {"voltage": [{"v_min_pu": 0.92, "v_max_pu": 1.03}]})
    q = 1200.0
    told(simulation, 3, mid__q_set_kvar=q, end__q_set_kvar=-q)
    at(simulation, 20)
    assert (read(simulation, "mid.q_kvar"), read(simulation, "end.q_kvar")) == (q, -q)
    shield = shield_of(simulation)
    arrived: Callable[[Any], None] = shield._arrived
    shield._arrived = lambda order: None if order.device == deaf else arrived(order)  # type: ignore[method-assign]
    told(simulation, 21, mid__q_set_kvar=-q, end__q_set_kvar=q)
    seen = []
    for t_s in range(22, 70):
        if t_s == 29:
            shield._arrived = arrived  # type: ignore[method-assign]
        at(simulation, t_s)
        seen.append(volts(simulation))
    assert (read(simulation, "mid.q_kvar"), read(simulation, "end.q_kvar")) == (-q, q)
    return min(low for low, _ in seen), max(high for _, high in seen)


@pytest.mark.parametrize("deaf", [0, 1])
def test_two_orders_that_are_fine_together_do_not_pass_where_one_alone_is_not(
        deaf: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever arrives first, the band holds and in the end both are done; sent as they are, it does not."""
    low, high = swap(deaf)
    assert low >= 0.92
    assert high <= 1.03
    monkeypatch.setattr(Pace, "passed", lambda self, wanted: wanted)
    low, high = swap(deaf)
    assert low < 0.92 or high > 1.03


# -- silence ----------------------------------------------------------------------------------------------------------


def silent(direction: str) -> Simulation:
    """A plant at 600 kvar whose channel then loses one direction, from 20 s on."""
    simulation = told(remote(TWO), 3, end__q_set_kvar=600.0)
    at(simulation, 20)
    assert read(simulation, "end.q_kvar") == 600.0
    assert read(simulation, "shield.infeasible") == 0.0
    getattr(simulation.channels["wan"], direction).block()
    return simulation


def test_a_stale_device_only_moves_toward_the_backup() -> None:
    """The voltage is in the droop's dead band, so its goal is zero: more is refused, less passes."""
    simulation = silent("up")
    at(simulation, 33)  # stale since 29 s
    assert read(simulation, "shield.infeasible") == 1.0
    told(simulation, 34, end__q_set_kvar=900.0)
    at(simulation, 36)
    assert read(simulation, "end.q_kvar") == 600.0
    told(simulation, 37, end__q_set_kvar=100.0)
    at(simulation, 39)
    assert read(simulation, "end.q_kvar") == 100.0
    told(simulation, 40, end__q_set_kvar=600.0)
    at(simulation, 42)
    assert read(simulation, "end.q_kvar") == 100.0
    assert any(row.reason == "stale" for row in record(simulation).decisions().itertuples())


def test_a_device_that_has_not_reported_for_too_long_is_let_go_by_the_centre() -> None:
    """The order to let go arrives, for the way down is open."""
    simulation = at(silent("up"), 55)
    assert all(np.isnan(sent(simulation)))
    assert read(simulation, "end.q_kvar") == 0.0
    assert read(simulation, "shield.infeasible") == 1.0


def test_a_device_that_hears_nothing_for_too_long_lets_go_by_itself_and_that_is_flagged_long_before() -> None:
    """Its reports stay young: it is the orders that are not confirmed."""
    simulation = silent("down")
    seen = {}
    for t_s in range(21, 56):
        at(simulation, t_s)
        seen[t_s] = (read(simulation, "end.q_kvar"), read(simulation, "shield.infeasible"))
    assert seen[48][0] == 600.0
    assert seen[53][0] == 0.0
    assert all(flag == 1.0 for t_s, (_, flag) in seen.items() if t_s >= 33)


def test_a_partition_is_flagged_counted_and_gone_once_messages_pass_again() -> None:
    """Both ways for 15 s."""
    simulation = remote(TWO, disturbances=[{"kind": "partition", "channel": "wan", "at_s": 20, "duration_s": 15}])
    told(simulation, 3, end__q_set_kvar=600.0)
    flags = []
    for t_s in range(4, 60):
        at(simulation, t_s)
        flags.append((t_s, read(simulation, "shield.infeasible")))
    during = [t_s for t_s, flag in flags if flag]
    assert (during[0], during[-1]) == (29, 36)
    assert read(simulation, "end.q_kvar") == 600.0
    assert simulation.shield_figures()["infeasible_minutes"] == pytest.approx((len(during) + 1) / 60)


def test_before_the_first_reports_nothing_passes() -> None:
    """The shield knows nothing, and says so."""
    simulation = told(remote(TWO, channels=delayed(5000)), 2, end__q_set_kvar=600.0)
    assert read(simulation, "shield.infeasible") == 1.0
    at(simulation, 4)
    assert np.isnan(sent(simulation)).all()
    at(simulation, 30)
    assert read(simulation, "end.q_kvar") == 600.0


def test_a_command_that_ends_reverts_in_the_field_too() -> None:
    """Ten seconds to live; its end travels as it did."""
    simulation = at(remote(TWO), 5)
    simulation.submit("end.q_set_kvar", 600.0, "agent", authority=Authority.AGENT, ttl_s=10)
    at(simulation, 12)
    assert read(simulation, "end.q_kvar") == 600.0
    at(simulation, 20)
    assert read(simulation, "end.q_kvar") == 0.0


def test_corrupted_messages_are_ignored() -> None:
    """Half of them, handed over all the same; the others do."""
    noise = {"kind": "corruption", "probability": 0.5, "deliver": True}
    simulation = told(remote(TWO, channels=delayed(1000, noise)), 10, end__q_set_kvar=600.0)
    at(simulation, 30)
    assert read(simulation, "end.q_kvar") == 600.0


# -- what else passes -------------------------------------------------------------------------------------------------


def test_positions_are_looked_at_before_they_travel() -> None:
    """A bank that would lift the end of the feeder out of the band stays out; one step of it goes in."""
    bank = {"kind": "capacitor", "name": "cap", "bus": "18", "q_step_kvar": 600, "steps": 4}
    simulation = at(remote([bank]), 5)
    simulation.submit("cap.steps", 4.0, "operator", authority=Authority.OPERATOR)
    for t_s in range(6, 20):
        at(simulation, t_s)
        assert volts(simulation)[1] <= 1.05
    simulation.submit("cap.steps", 1.0, "operator", authority=Authority.OPERATOR)
    at(simulation, 30)
    assert read(simulation, "cap.steps_in") == 1.0


def test_the_emergency_stop_passes_at_once() -> None:
    """However stale the devices, and whatever mixture it makes."""
    simulation = silent("up")
    at(simulation, 33)
    simulation.submit("shield.stop", 1.0, "operator", authority=Authority.OPERATOR)
    at(simulation, 36)
    assert read(simulation, "end.q_kvar") == 0.0


def test_observing_only_changes_nothing_and_says_what_it_would_do() -> None:
    """Too much is asked: it travels and is done, and it is counted."""
    simulation = remote([SUN], {"mode": "observe"})
    told(simulation, 5, pv__p_set_kw=3000.0)
    at(simulation, 20)
    assert read(simulation, "pv.p_kw") == 3000.0
    assert volts(simulation)[1] > 1.05
    assert read(simulation, "shield.active") == 1.0
    simulation.channels["wan"].up.block()
    told(simulation, 35, pv__p_set_kw=2900.0)  # stale: not held, either
    at(simulation, 37)
    assert read(simulation, "pv.p_kw") == 2900.0


def test_enforcing_keeps_the_sun_within_the_band() -> None:
    """The same plant uncommanded: curtailed as soon as it is known, and no more."""
    simulation = at(remote([SUN]), 20)
    assert volts(simulation)[1] <= 1.05
    assert read(simulation, "pv.p_kw") > 1000.0
    assert rung(simulation) == 1


def test_names_that_do_not_exist_are_told_with_their_place() -> None:
    """The channel and a ramp's device, at once, with file and line."""
    with pytest.raises(ScenarioError) as caught:
        remote(TWO, None, {"channel": "wam", "ramps": [{"devices": ["mid", "pv*"], "kw_per_s": 1}]})
    found = {problem.path: problem for problem in caught.value.problems}
    assert list(found) == ["shield.telemetry.channel", "shield.telemetry.ramps.0.devices.1"]
    assert found["shield.telemetry.channel"].message == "unknown channel 'wam'; known: wan"
    assert "no device matches 'pv*'" in found["shield.telemetry.ramps.0.devices.1"].message
    assert all(problem.file == "test.yaml" and problem.line > 0 for problem in found.values())


# -- the same run again -----------------------------------------------------------------------------------------------

SHORT = ("duration_s=900",)


def run(out: Path) -> str:
    """Fifteen minutes of the scenario; its digest."""
    summary = run_scenario(load_scenario(ROOT / "scenarios" / "remote_shield.yaml", overrides=SHORT), out)
    assert summary.status == "done"
    return summary.digest


def test_the_same_scenario_is_the_same_run_and_so_is_its_replay(tmp_path: Path) -> None:
    """Messages, losses and decisions included."""
    digest = run(tmp_path / "one")
    assert run(tmp_path / "two") == digest
    assert replay(tmp_path / "one").same

