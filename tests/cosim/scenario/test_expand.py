"""One entry that stands for many."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cosim.errors import ScenarioError
from cosim.scenario.expand import expand_agents, expand_devices, filled
from cosim.scenario.schema import Agent


def names_of(table: str) -> Sequence[str]:
    """A network with two loads and nothing else."""
    return ("Load 1", "Load 2") if table == "load" else ()


def agent(**options: object) -> Agent:
    """An agent template."""
    return Agent.model_validate({"name": "c_{}", "policy": {"kind": "x"}, "period_s": 1, **options})


def test_devices_for_every_element() -> None:
    """{} is the element's name; in the device's own name what names may not hold becomes _."""
    template = {"kind": "load", "each": "load:*", "name": "l_{}", "element": "{}", "p_kw": 1}
    found = expand_devices([{"kind": "pv", "name": "a"}, template], names_of)
    assert [(item.index, item.item) for item in found] == [
        (0, {"kind": "pv", "name": "a"}),
        (1, {"kind": "load", "name": "l_Load_1", "element": "Load 1", "p_kw": 1}),
        (1, {"kind": "load", "name": "l_Load_2", "element": "Load 2", "p_kw": 1})]


@pytest.mark.parametrize(("each", "message"), [
    ("load", "devices.0.each: found 'load'; expected TABLE:PATTERN"),
    ("laod:*", "expected TABLE:PATTERN such as 'load:*', with a table of bus, load, sgen, gen, line,"),
    ("laod:*", "; did you mean 'load'?"),
    ("load:x*", "devices.0.each: 'x*' matches no load of the network; known: Load 1, Load 2"),
    ("gen:*", "devices.0.each: '*' matches no gen of the network; known: none"),
])
def test_bad_device_patterns(each: str, message: str) -> None:
    """A malformed pattern and one that matches nothing say what exists."""
    with pytest.raises(ScenarioError) as caught:
        expand_devices([{"kind": "load", "name": "l_{}", "each": each}], names_of)
    assert message in str(caught.value)


def test_names_made_twice_are_refused() -> None:
    """Two entries may not make one name."""
    with pytest.raises(ScenarioError, match=r"devices\.1\.name: the name 'l_Load_1' is made twice"):
        expand_devices([{"name": "l_Load_1"}, {"name": "l_{}", "each": "load:*"}], names_of)


def test_agents_for_every_device() -> None:
    """Name, observe, actuate and the policy's texts are filled; the rest is kept."""
    template = agent(each="pv_*", observe=["{}.p_kw", "bus.1.v_pu"], actuate=["{}.q_set_kvar"],
                     policy={"kind": "x", "points": ["{}.soc"], "gain": 2})
    found = expand_agents([template], ["pv_1", "pv_2", "load_1"])
    assert [item.item.name for item in found] == ["c_pv_1", "c_pv_2"]
    first = found[0].item
    assert (first.observe, first.actuate) == (("pv_1.p_kw", "bus.1.v_pu"), ("pv_1.q_set_kvar",))
    assert first.policy == {"kind": "x", "points": ["pv_1.soc"], "gain": 2}
    assert first.each is None
    assert first.period_s == template.period_s


def test_agents_without_a_device_are_refused() -> None:
    """A pattern that matches no device lists the devices."""
    with pytest.raises(ScenarioError, match=r"agents\.0\.each: 'pv\*' matches no device; known: load_1"):
        expand_agents([agent(each="pv*")], ["load_1"])


def test_filled_leaves_the_rest_alone() -> None:
    """Only strings change, at any depth."""
    assert filled({"a": ["{}", 1, None], "b": ("{}x",)}, "n") == {"a": ["n", 1, None], "b": ("nx",)}


def test_a_learners_subject_is_filled_in() -> None:
    """What is written {} in names of features may itself be made of the device's name."""
    found = expand_agents([agent(each="pv_*", learn={"subject": "bus_{}"})], ["pv_1", "pv_2"])
    assert [entry.item.learn.subject for entry in found] == ["bus_pv_1", "bus_pv_2"]
