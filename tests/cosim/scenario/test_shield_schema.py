"""The `shield:` section: its short forms, its defaults, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosim.errors import ScenarioError
from cosim.scenario.loader import load_text
from cosim.scenario.shield import Shield, ShieldMode

HEAD = "name: trial\nduration_s: 10\ngrid: {network: case14}\n"


def shield(fragment: str) -> Shield:
    """The section of HEAD and a fragment."""
    return load_text(HEAD + fragment, path=Path("trial.yaml")).scenario.shield


def problems(fragment: str) -> list[str]:
    """What is wrong with it, without the file's name."""
    with pytest.raises(ScenarioError) as caught:
        shield(fragment)
    return [str(problem).replace("trial.yaml:", "") for problem in caught.value.problems]


@pytest.mark.parametrize(("fragment", "mode"), [
    ("", ShieldMode.OFF), ("shield: enforce\n", ShieldMode.ENFORCE), ("shield: observe\n", ShieldMode.OBSERVE),
    ("shield: 'off'\n", ShieldMode.OFF), ("shield: false\n", ShieldMode.OFF), ("shield: {}\n", ShieldMode.ENFORCE),
    ("shield: {mode: observe}\n", ShieldMode.OBSERVE), ("shield: {margin_pu: 0.001}\n", ShieldMode.ENFORCE)])
def test_the_mode_may_be_written_alone(fragment: str, mode: ShieldMode) -> None:
    """A mapping enforces by default; no section, no shield."""
    assert shield(fragment).mode is mode


def test_a_whole_section_is_read() -> None:
    """Every part, lists in lists included."""
    found = shield("""
shield:
  mode: enforce
  voltage:
    - {buses: ['*'], v_min_pu: 0.94, v_max_pu: 1.06}
    - {buses: ['1', 'zone:2'], v_max_pu: 1.04, hard: false, override: operator}
  loading: [{branches: [line.1-2], loading_max: 0.9, thermal_tau_s: 600}]
  exchange: [{at: slack, p_min_kw: -100, p_max_kw: 200}, {at: line.1-2, q_max_kvar: 5}]
  reserve: [{devices: ['g*'], up_kw: 10}]
  energy: [{devices: [bat], soc_min: 0.2, soc_max: 0.9, gamma: 0.5, charge_reserve_kw: 5, look_ahead_s: 60}]
  switching:
    max_operations_per_hour: 4
    allow_loops: false
    interlocks: [{command: cb.closed, value: 0, needs: line.1-2.loading, at_most: 0.1}]
  n_minus_1: {branches: ['line.*'], hard: true}
  weights: [{devices: ['*'], p: 2, q: 0.5}]
  backup: {kind: none}
  emergency: {shed: [{devices: [ld], priority: 2}], trip: [g1], recovery_s: 60}
""")
    assert found.voltage is not None
    assert found.loading is not None
    assert found.n_minus_1 is not None
    assert [limit.buses for limit in found.voltage] == [("*",), ("1", "zone:2")]
    assert (found.voltage[1].v_min_pu, found.voltage[1].hard, found.voltage[1].override) == (0.95, False, "operator")
    assert found.loading[0].thermal_tau_s == 600
    assert [limit.at for limit in found.exchange] == ["slack", "line.1-2"]
    assert (found.energy[0].gamma, found.energy[0].discharge_reserve_kw) == (0.5, 0.0)
    assert found.switching.interlocks[0].at_most == 0.1
    assert found.emergency.shed[0].devices == ("ld",)


def test_no_limits_and_default_limits_are_two_things() -> None:
    """An empty list is none; nothing is the scenario's."""
    assert shield("shield: {voltage: []}\n").voltage == ()
    assert shield("shield: enforce\n").voltage is None


REFUSED = {
    "shield: {voltage: [{v_min_pu: 1.05, v_max_pu: 0.95}]}\n": ["v_min_pu 1.05 must be below v_max_pu 0.95"],
    "shield: {exchange: [{at: slack}]}\n": ["give at least one of p_min_kw, p_max_kw, q_min_kvar, q_max_kvar"],
    "shield: {exchange: [{p_min_kw: 5, p_max_kw: 5}]}\n": ["p_min_kw 5.0 must be below p_max_kw 5.0"],
    "shield: {energy: [{soc_min: 0.9, soc_max: 0.2}]}\n": ["soc_min 0.9 must be below soc_max 0.2"],
    "shield: {switching: {interlocks: [{command: a, needs: b}]}}\n": ["give at_least, at_most or both"],
    "shield: {backup: {deadband_pu: 0.1, full_pu: 0.05}}\n": ["deadband_pu 0.1 must be below full_pu 0.05"],
    "shield: {telemetry: {channel: w, period_s: 1, hold_age_s: 9, lost_age_s: 3}}\n": [
        "hold_age_s 9.0 must be below lost_age_s 3.0"],
    "shield: {voltage: [{v_min_pu: -1}]}\n": ["shield.voltage.0.v_min_pu", "-1", "more than 0"],
    "shield: {margin_pu: 0}\n": ["shield.margin_pu", "at least 1e-08"],
    "shield: {reserve: [{devices: [g]}]}\n": ["shield.reserve.0", "up_kw"],
    "shield: {energy: [{gamma: 0}]}\n": ["shield.energy.0.gamma", "more than 0"],
    "shield: {n_minus_1: {branches: []}}\n": ["shield.n_minus_1.branches"],
    "shield: {voltage: [{override: everybody}]}\n": ["shield.voltage.0.override", "operator"],
    "shield: on_demand\n": ["shield", "enforce", "observe"],
    "shield: {mode: sometimes}\n": ["shield.mode", "enforce", "observe"],
    "shield: {voltage: {v_min_pu: 0.9}}\n": ["shield.voltage", "a list"],
    "shield: {volage: []}\n": ["shield.volage", "voltage"],
    "shield: {margin_pu: '0.1'}\n": ["shield.margin_pu", "a number"],
    "shield: 5\n": ["shield"],
    "shield: true\n": ["shield: found true; expected enforce, observe or off, or a mapping"],
    "shield: {voltage: [{buses: [18]}]}\n": ["shield.voltage.0.buses.0: found 18; expected text"],
    "shield: {n_minus_1: {branches: ['*'], v_min_pu: 1.1, v_max_pu: 1.0}}\n": [
        "shield.n_minus_1", "v_min_pu 1.1 must be below v_max_pu 1.0"],
}


@pytest.mark.parametrize("fragment", REFUSED)
def test_what_makes_no_sense_is_refused_with_its_place_and_what_was_expected(fragment: str) -> None:
    """One problem, in line 4, that says where, what was found and what would do."""
    found = problems(fragment)
    assert len(found) == 1, found
    assert found[0].startswith("4:")
    for words in REFUSED[fragment]:
        assert words in found[0]


def test_everything_wrong_is_told_at_once() -> None:
    """Three sections, three problems, each at its own line."""
    found = problems("""shield:
  voltage: [{v_min_pu: 1.1, v_max_pu: 1.0}]
  energy:
    - {gamma: 2}
  emergency: {recovery_s: -1}
""")
    assert [problem.split(":")[0] for problem in found] == ["5", "7", "8"]


def test_a_section_that_never_ends_is_no_way_in() -> None:
    """Lists in lists a thousand deep are an error like another, not a stack without end."""
    depth = 200
    found: Any = problems(f"shield: {{voltage: {'[' * depth}{']' * depth}}}\n")
    assert found
