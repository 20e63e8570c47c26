"""The parts of a training: environments, what a bundle says of them, and what does not fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")

from policies.bundle import Bundle
from policies.training.algorithm import TrainingError
from policies.training.assembly import assemble, bundle_of
from policies.training.config import TrainConfig, load_config
from policies.training.scenario_env import scenario_env
from policies.training.worker import EnvRecipe, make_slots
from tests.cosim.env.worlds import learner, loaded
from tests.policies.training.fakes import Targets, recipe

SMALL: dict[str, Any] = {"scenario": "none", "options": {"hidden": [8]}, "collection": {"workers": 0, "slots": 2}}


def small(**changes: Any) -> TrainConfig:
    """A configuration for `Targets`."""
    return load_config({**SMALL, **changes})


def scenario_file(folder: Path, **act: Any) -> str:
    """One battery's learner, p within ±100 kW."""
    file = folder / "one.yaml"
    file.write_text(loaded(learner(1, learn={"act": act})).text)
    return str(file)


def test_rows_are_normalised_whatever_the_scenarios_units(tmp_path: Path) -> None:
    """Half of the range is 50 kW, in a scenario whose own actions are kilowatts too."""
    ordered = []
    for units in ("normalised", "engineering"):
        env = scenario_env(scenario_file(tmp_path, units=units))
        env.reset(seed=1)
        points = env.simulation.points
        setpoint = points.ids_of(["bat1.p_set_kw"])
        points.require(setpoint)
        env.step({0: np.array([0.5])})
        ordered.append(float(points.take(setpoint)[0]))
    assert ordered == [50.0, 50.0]


def test_slots_of_a_process_share_the_network(tmp_path: Path) -> None:
    """It is read, and lies in memory, once."""
    made = EnvRecipe(arguments={"scenario": scenario_file(tmp_path)})
    assembly = assemble(load_config({**SMALL, "scenario": scenario_file(tmp_path)}), made)
    slots = make_slots(assembly.plan, (0, 1))
    assert slots[0].env._kept is slots[1].env._kept
    assert slots[0].env.simulation is not slots[1].env.simulation


def test_a_bundle_knows_all_members() -> None:
    """One whose period or range differs from the first's is in it, with its own."""
    assembly = assemble(small(), recipe(periods=[1.0, 2.0]))
    group = bundle_of(assembly, {}).group("all")
    assert [spec.period_s for spec in (group.spec, *group.distinct())] == [1.0, 2.0]


class Unequal(Targets):
    """Two learners in groups of their own; the first has a level beside its number."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__((1.0, 1.0), shared=False, **arguments)
        self.specs = (Targets((1.0,), counts=(2,)).specs[0], self.specs[1])


def unequal(**arguments: Any) -> Unequal:
    """The environment, for a recipe."""
    return Unequal(**arguments)


def test_critics_are_told_where_rows_of_other_widths_lie() -> None:
    """The second learner's row begins behind both numbers of the first."""
    assembly = assemble(small(algo="ippo"), EnvRecipe("tests.policies.training.test_assembly:unequal"))
    assert [algorithm.setting.joint_action_at for algorithm in assembly.algorithms.values()] == [{0: 0, 1: 2}] * 2


@pytest.mark.parametrize(("changes", "says"), [
    ({"cost_limits": {"volts": 1.0}}, "no cost 'volts' here; expected effort"),
    ({"algo": "sac", "cost_limits": {"effort": 1.0}}, "sac keeps no limits; expected ppo"),
    ({"device": "gpu0"}, "device: found 'gpu0'; expected cpu, or cuda")])
def test_what_does_not_fit_is_said_before_anything_is_learned(changes: dict[str, Any], says: str) -> None:
    """With what would."""
    with pytest.raises(TrainingError, match=says):
        assemble(small(**changes), recipe())


def test_a_bundle_of_other_agents_or_networks_is_refused(tmp_path: Path) -> None:
    """By its folder, with what differs; it is not asked for when a training goes on."""
    bundle_of(assemble(small(), recipe(periods=[1.0])), {}).save(tmp_path / "b")
    given = {"bundle": str(tmp_path / "b")}
    with pytest.raises(TrainingError, match=r"(?s)bundle .*b: group 'all' cannot begin with it.*d0"):
        assemble(small(**given), recipe(counts=[2]))
    with pytest.raises(TrainingError, match=r"(?s)weights do not fit.*train --from"):
        assemble(small(**given, options={"hidden": [9]}), recipe(periods=[1.0]))
    assert Bundle.load(tmp_path / "b").groups
    assert assemble(small(bundle=str(tmp_path / "gone")), recipe(), adopts=False).plan.slots == 2
