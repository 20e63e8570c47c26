"""Inverter functions set from outside in whole runs: the fixed point, the shield, the replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim.commands import Authority, CommandStatus
from cosim.errors import ScenarioError
from cosim.points import PointKind
from cosim.recorder import RunResult
from cosim.replay import replay
from cosim.simulation import BuildOptions, Simulation, build
from tests.cosim.shield.shielded import at, band, read, reasons, record, shielded, told, volts
from tests.cosim.simulation.worlds import events, keeping, loaded, world

#: 1.2 MW at the end of a feeder at half its load: the voltage there answers to every kvar.
PV = {"kind": "pv", "name": "pv", "bus": "18", "p_rated_kw": 1200, "s_rated_kva": 1400}
REMOTE = {**PV, "remote_functions": True}
HALF = {"network": "case33bw", "load_scale": 0.5}
ON = {"pv__volt_var_on": 1.0, "pv__volt_var_olrt_s": 0.0}
OWN = {"mode": "volt_var", "olrt_s": 0}


def one_pv(device: dict[str, Any], **changes: Any) -> Simulation:
    return world(**{"grid": HALF, "devices": [device], "duration_s": 600, **changes})


def test_a_function_switched_on_settles_within_the_solve() -> None:
    """A direct volt-var commanded at run time gives the configured one's powers and voltages, settled; off, none."""
    one, other = one_pv(REMOTE), one_pv({**PV, **OWN})
    told(one, 1)
    assert read(one, "pv.q_kvar") == 0
    told(one, 2, **ON)
    at(other, 2)
    assert read(other, "pv.q_kvar") < -50
    assert read(one, "pv.q_kvar") == pytest.approx(read(other, "pv.q_kvar"), abs=1e-4)
    assert one.grid.state.v_pu == pytest.approx(other.grid.state.v_pu, abs=1e-8)
    told(one, 3, pv__volt_var_on=0)
    assert read(one, "pv.q_kvar") == 0
    assert not events(record(one), "grid.")


def test_the_setpoints_are_points() -> None:
    """Switches are binary outputs, the rest analog ones with ranges; the door refuses what lies outside."""
    simulation = one_pv(REMOTE)
    kinds = {point.name: point for point in simulation.points.points if point.kind.writable}
    assert kinds["pv.connect"].kind is PointKind.BINARY_OUTPUT
    assert kinds["pv.volt_var_y1"].kind is PointKind.ANALOG_OUTPUT
    assert (kinds["pv.volt_var_y1"].low, kinds["pv.volt_var_y1"].high) == (-0.44, 0.44)
    assert simulation.submit("pv.volt_var_y1", 0.5, "scada") is CommandStatus.OUT_OF_RANGE
    assert "pv.connect" not in {point.name for point in one_pv(PV).points.points}


def test_uncommanded_it_is_the_run_without_the_option() -> None:
    """With nothing set, voltages are those of the same run without the option, to the bit, in lagged modes too."""
    for mode in ("none", "volt_var", "volt_var_volt_watt"):
        one, other = one_pv({**REMOTE, "mode": mode}), one_pv({**PV, "mode": mode})
        for t_s in range(1, 12):
            assert np.array_equal(at(one, t_s).grid.state.v_pu, at(other, t_s).grid.state.v_pu)


def test_a_run_with_functions_set_replays(tmp_path: Path) -> None:
    """Connection, factor, curves, switches and response times set over a run are in its journal and replay."""
    scenario = loaded(grid=HALF, devices=[REMOTE, {**PV, "name": "other", "bus": "33"}], duration_s=60)
    simulation = build(scenario, BuildOptions(recorder=keeping(scenario, tmp_path / "out")))
    told(simulation, 3, **ON)
    told(simulation, 6.5, pv__volt_var_x2=0.99, pv__volt_var_x3=0.96, pv__volt_watt_on=1)
    told(simulation, 10, pv__pf_set=-0.3)
    told(simulation, 15, pv__connect=0)
    assert read(simulation, "pv.p_kw") == 0
    told(simulation, 20, pv__connect=1, pv__volt_watt_olrt_s=0, pv__volt_watt_x1=1.0)
    simulation.inbox.release([simulation.points.id_of("pv.pf_set")], "agent", Authority.AGENT, at_us=25_000_000)
    simulation.advance_to(60_000_000)
    digest = simulation.recorder.close("done")
    assert len(RunResult.load(tmp_path / "out").journal()) == 11
    outcome = replay(tmp_path / "out")
    assert outcome.same
    assert outcome.replayed == digest


@pytest.mark.parametrize("function", [{"pv__volt_var_on": 0.0}, {"pv__pf_set": 0.9}, {"pv__connect": 1.0}])
def test_the_shield_stands_over_what_is_set(function: dict[str, float]) -> None:
    """A setting that would raise the voltage over the band is made up for: the band holds, and the record says why."""
    device = {**REMOTE, **OWN, "p_rated_kw": 2600, "s_rated_kva": 2800}
    simulation = shielded([device], band())
    begin = {"pv__connect": 0.0} if "pv__connect" in function else {}
    told(simulation, 1, **begin)
    assert volts(simulation)[1] <= 1.05
    told(simulation, 2, **function)
    assert volts(simulation)[1] <= 1.05 + 1e-9
    assert read(simulation, "shield.infeasible") == 0
    assert read(simulation, "pv.p_kw") > 500
    found = reasons(simulation)
    assert {point for point, _, _ in found} <= {"pv.p_set_kw", "pv.q_set_kvar"}
    assert found


def test_the_shield_does_not_count_on_who_has_ceased_to_energise() -> None:
    """With one plant disconnected the other is curtailed just as much as if it were alone."""
    big = {**REMOTE, "p_rated_kw": 3000, "s_rated_kva": 3000, "q_max_pu": 0.3}
    alone = shielded([big], band())
    both = shielded([big, {**big, "name": "off", "bus": "17"}], band())
    told(alone, 2)
    told(both, 2, off__connect=0)
    assert read(both, "off.p_kw") == read(both, "off.q_kvar") == 0
    assert volts(both)[1] <= 1.05 + 1e-9
    assert read(both, "shield.infeasible") == 0
    assert read(both, "pv.p_kw") == pytest.approx(read(alone, "pv.p_kw"), rel=0.02)


def test_the_shield_is_told_how_a_commanded_function_answers() -> None:
    """The slope of a volt-var that was switched on reaches the shield's linearisation, and is zero when it is off."""
    simulation = one_pv(REMOTE)
    seen: list[Any] = []
    respond = simulation._respond
    for t_s, function in ((1, {}), (2, {**ON, "pv__volt_var_x3": 0.99})):
        told(simulation, t_s, **function)
        setpoints = simulation.inbox.drain(simulation.now_us).values[: simulation._fleet.n_output]
        seen.append(respond(setpoints, simulation._attempt(setpoints, -1)))
    assert seen[0].q_kvar_per_pu[0] == 0
    # From 0 at 0.99 to -0.44 at 1.08 pu of 1400 kVA.
    assert seen[1].q_kvar_per_pu[0] == pytest.approx(-0.44 / 0.09 * 1400, rel=1e-3)


def test_a_run_with_the_option_somewhere_is_refused_with_the_place() -> None:
    """A curve of too many points is a problem of that device in the scenario."""
    curve = [[0.9 + 0.02 * k, 0.3 - 0.1 * k] for k in range(6)]
    with pytest.raises(ScenarioError, match="`volt_var` has 6 points; with remote_functions expected at most 4"):
        one_pv({**REMOTE, "volt_var": curve})
