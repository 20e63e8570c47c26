"""From the scenario's names to a shield: every name that does not exist is told, with its place."""

from __future__ import annotations

from typing import Any

import pytest

from cosim.errors import ScenarioError
from cosim.shield import CapabilityShield, NetworkShield
from tests.cosim.simulation.worlds import BASE, world

DEVICES = [*BASE["devices"], {"kind": "battery", "name": "bat", "bus": "18", "e_rated_kwh": 100, "p_max_kw": 50},
           {"kind": "breaker", "name": "cb", "line": "17-18"}]


def problems(**shield: Any) -> list[str]:
    """What is wrong with a section, as `path: message`."""
    with pytest.raises(ScenarioError) as caught:
        world(devices=DEVICES, shield=shield)
    assert all(problem.file == "test.yaml" and problem.line > 0 for problem in caught.value.problems)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


@pytest.mark.parametrize(("shield", "kind"), [("off", CapabilityShield), (False, CapabilityShield),
                                              ("observe", NetworkShield), ("enforce", NetworkShield)])
def test_a_mode_makes_its_shield(shield: Any, kind: type[Any]) -> None:
    """Off, the devices' own limits; else the network's."""
    assert isinstance(world(devices=DEVICES, shield=shield)._shield, kind)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "bus": ({"voltage": [{"buses": ["18", "nowhere"]}]},
            "shield.voltage.0.buses.1: no bus matches 'nowhere'; there are: 1, 2, 3"),
    "zone": ({"voltage": [{"buses": ["zone:9"]}]},
             "shield.voltage.0.buses.0: no bus matches 'zone:9'; there are: zone:1"),
    "branch": ({"loading": [{"branches": ["line.99"]}]}, "shield.loading.0.branches.0: no branch matches 'line.99'"),
    "rating": ({"loading": [{"branches": ["line.1-2"]}]},
               "shield.loading.0.branches.0: line.1-2 has no rating; give it one in grid.ratings_ka"),
    "exchange": ({"exchange": [{"at": "line.x", "p_max_kw": 1}]}, "shield.exchange.0.at: no branch matches 'line.x'"),
    "reserve": ({"reserve": [{"devices": ["g*"], "up_kw": 1}]},
                "shield.reserve.0.devices.0: no device matches 'g*'; there are: ld, bat, cb"),
    "energy": ({"energy": [{"devices": ["bad"]}]}, "shield.energy.0.devices.0: no device matches 'bad'"),
    "store": ({"energy": [{"devices": ["ld"]}]},
              "shield.energy.0.devices.0: no device that 'ld' matches stores energy; those that do: bat"),
    "margin": ({"voltage": [{"v_min_pu": 0.95, "v_max_pu": 1.0}], "margin_pu": 0.03},
               "shield.margin_pu: found 0.03: nothing is left of the band 0.95 to 1; expected less than half its "),
    "dead": ({"n_minus_1": {"branches": ["line.17-18"], "hard": True}},
             "shield.n_minus_1.branches.0: the loss of line.17-18 islands 1 bus; nothing watches them: leave it out"),
    "weight": ({"weights": [{"devices": ["pv*"]}]}, "shield.weights.0.devices.0: no device matches 'pv*'"),
    "loss": ({"n_minus_1": {"branches": ["trafo.1"]}}, "shield.n_minus_1.branches.0: no branch matches 'trafo.1'"),
    "losses": ({"n_minus_1": {"branches": ["line.*"]}},
               "shield.n_minus_1.branches: 37 branches; expected at most 24"),
    "shed": ({"emergency": {"shed": [{"devices": ["bat"]}]}},
             "shield.emergency.shed.0.devices.0: 'bat' has no setpoint of that kind (scale)"),
    "trip": ({"emergency": {"trip": ["cb"]}}, "shield.emergency.trip.0: 'cb' has no setpoint of that kind (p_kw"),
    "lock": ({"switching": {"interlocks": [{"command": "cb.open", "needs": "bus.18.v_pu", "at_least": 1}]}},
             "shield.switching.interlocks.0.command: no output point matches 'cb.open'"),
    "needs": ({"switching": {"interlocks": [{"command": "cb.closed", "needs": "bus.99.v_pu", "at_least": 1}]}},
              "shield.switching.interlocks.0.needs: "),
    "guard": ({"switching": {"interlocks": [{"command": "bat.p_set_kw", "needs": "bus.18.v_pu", "at_least": 1}]}},
              "shield.switching.interlocks.0.command: bat.p_set_kw is no position"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_name_that_does_not_exist_is_told_with_its_place(case: str) -> None:
    """Which, where, and what there is."""
    shield, expected = WRONG[case]
    found = problems(**shield)
    assert len(found) == 1, found
    assert found[0].startswith(expected)


def test_a_zone_is_listed_once_and_a_soft_loss_may_leave_buses_dead() -> None:
    """33 buses of one zone; the same loss as above, soft."""
    assert problems(voltage=[{"buses": ["zone:9"]}])[0].endswith("there are: zone:1")
    assert isinstance(world(devices=DEVICES, shield={"n_minus_1": {"branches": ["line.17-18"]}})._shield, NetworkShield)


def test_all_wrong_names_are_told_at_once() -> None:
    """One of each section in one go."""
    parts: dict[str, Any] = {}
    for case in ("bus", "branch", "exchange", "reserve", "energy", "weight", "loss", "shed", "lock"):
        parts |= WRONG[case][0]
    assert len(problems(**parts)) == 9


def test_a_backup_whose_loop_is_unstable_is_refused_with_the_slope_that_would_do() -> None:
    """A large inverter at the end of the feeder with a steep droop; what the message names is accepted."""
    plant = {"kind": "pv", "name": "pv", "bus": "18", "p_rated_kw": 600, "s_rated_kva": 900, "q_max_pu": 1.0}
    steep = {"backup": {"deadband_pu": 0.01, "full_pu": 0.05}}
    with pytest.raises(ScenarioError, match=r"shield\.backup\.full_pu: the backup's loop is unstable") as caught:
        world(devices=[plant], shield=steep)
    enough = float(str(caught.value).partition("full_pu of ")[2].split()[0])
    world(devices=[plant], shield={"backup": {"deadband_pu": 0.01, "full_pu": enough}})


def test_a_pattern_of_branches_leaves_out_those_without_a_rating() -> None:
    """Only who is named in full must have one."""
    assert isinstance(world(shield={"loading": [{"branches": ["line.1*"]}]})._shield, NetworkShield)


def test_a_grid_without_devices_has_a_shield_too() -> None:
    """It can only watch."""
    simulation = world(devices=[], shield="enforce")
    simulation.advance_to(2_000_000)
    assert simulation.points.values[simulation.points.index["shield.infeasible"]] == 1.0  # 0.913 pu at bus 18




def test_wrong_names_in_the_shield_are_told_with_those_elsewhere() -> None:
    """A device and a limit in one go."""
    with pytest.raises(ScenarioError) as caught:
        world(devices=[*DEVICES, {"kind": "battery", "name": "b2", "bus": "99", "e_rated_kwh": 1, "p_max_kw": 1}],
              shield={"voltage": [{"buses": ["nowhere"]}]})
    assert sorted(problem.path for problem in caught.value.problems) == ["devices.3.bus", "shield.voltage.0.buses.0"]


def test_a_scenario_whose_shield_is_wrong_leaves_nothing_on_disk(tmp_path: Any) -> None:
    """The recorder is made last."""
    with pytest.raises(ScenarioError):
        world(out=tmp_path / "run", shield={"voltage": [{"buses": ["nowhere"]}]})
    assert not (tmp_path / "run").exists()
