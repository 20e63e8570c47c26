"""Actions over links: in force when a run's own would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosim.env import EnvOptions, EventEnv
from cosim.replay import replay
from cosim.simulation import Simulation, build
from tests.cosim.env.worlds import learner, loaded

LOSSY = {"kind": "loss", "probability": 0.3}
AT_ONCE = {"kind": "latency", "distribution": "constant", "delay_ms": 0}
LATE = {"kind": "latency", "distribution": "constant", "delay_ms": 1_500}


@pytest.mark.parametrize("rules", [[], [LOSSY], [AT_ONCE, LOSSY], [AT_ONCE, LATE, LOSSY]])
def test_actions_over_a_link_take_effect_when_a_run_has_them(tmp_path: Path, rules: list[Any]) -> None:
    """Over a link without delay in the very instant: decided outside or by the run's own policies, and in a replay."""
    over = {"kind": "channel", "channel": "wan"}
    agents = [learner(i, telemetry=over, offset_s=3, policy={"kind": "constant", "values": [20.0 * i]})
              for i in (1, 2, 3)]
    scenario = loaded(*agents, channels=[{"name": "wan", "rules": rules}], seed=7)
    env = EventEnv(scenario, options=EnvOptions(record=tmp_path / "episodes"))
    decision = env.reset(7)
    found = soc_of(env.simulation)
    while not decision.ended:
        env.commit_setpoints(env.scripted())
        decision = env.advance()
    run = build(scenario)
    expected = soc_of(run)
    run.advance_to(run.end_us)
    assert len(found) > 35
    assert found == {t_us: expected[t_us] for t_us in found}
    summary = env.close()
    assert summary is not None
    assert replay(tmp_path / "episodes" / "episode-000000").replayed == summary.digest


def soc_of(simulation: Simulation) -> dict[int, list[float]]:
    """The batteries' states of charge at every publish from now on, by time."""
    found: dict[int, list[float]] = {}
    ids = simulation.points.ids_of([f"bat{i}.soc" for i in (1, 2, 3)])
    simulation.points.require(ids)
    simulation.watchers.append(lambda view: found.update({view.t_us: view.values[ids].tolist()}))
    return found
