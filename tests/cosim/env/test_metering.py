"""What rewards and costs are made of where the scenario says little: the default reward, and costs beside discounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosim.env import EnvOptions, EventEnv
from cosim.scenario.learning import Discount
from cosim.scenario.loader import load_text
from tests.cosim.env.worlds import LOSSES, learner, made

DARK = """
name: dark
duration_s: 20
step_s: 1
seed: 1
grid: {network: case33bw}
devices: [{kind: breaker, name: feeder, line: "1-2"}]
agents:
  - {name: operator, policy: {kind: constant, values: [1.0]}, period_s: 5, observe: [grid.losses_kw],
     actuate: [feeder.closed]}
"""


def test_costs_are_plain_whatever_the_discount() -> None:
    """A limit is per second of time: rewards are discounted inside their interval, costs are not."""
    term = {**LOSSES, "weight": 1.0}
    learning = {"reward": [term], "costs": [{**term, "name": "lost"}]}
    decisions = []
    for discount in (None, Discount(gamma=0.05, per_s=2.0)):
        env = made(learner(1), learning=learning, options=EnvOptions(discount=discount))
        env.reset(1)
        decisions.append(env.step({}))
    plain, discounted = decisions
    assert discounted.cost[0, 0] == plain.cost[0, 0] == pytest.approx(plain.reward[0], rel=1e-12)
    assert discounted.reward[0] < 0.2 * plain.reward[0]


def test_switching_off_does_not_pay() -> None:
    """By the default reward: what has no voltage breaks no limit and loses nothing, but it is not served."""
    env = EventEnv(load_text(DARK, path=Path("dark.yaml")))
    env.reset(1)
    served = env.step({}).reward[0]
    env.commit_setpoints({0: env.codecs[0].low * 0})
    env.advance()
    unserved = env.step({}).reward[0]
    assert env.simulation.points.read("grid.unserved_kw") > 3000
    assert unserved < 3 * served < 0
    assert env.breakdown(0)["unserved"] == unserved


def test_what_the_shield_moves_can_be_priced() -> None:
    """Each decision costs how far the setpoint in force was from what was asked, in its range, times the time.

    Nothing where the shield is off or only looks on, and nothing for what is safe.
    """
    price = {"reward": [{"kind": "intervention", "points": ["bat2.p_set_kw"], "weight": -1.0}]}
    found = {}
    for mode in ("off", "observe", "enforce"):
        env = made(learner(2), learning=price, shield={"mode": mode}, limits={"v_min_pu": 0.905, "v_max_pu": 1.1})
        for asked in (-1.0, 0.2):  # charging pulls the feeder's end below the limit
            env.reset(1)
            found[mode, asked] = [float(env.step({0: [asked]}).reward[0]) for _ in range(3)]
            moved_kw = env.simulation.points.read("bat2.p_set_kw") - 100 * asked
            assert found[mode, asked][-1] == pytest.approx(-5 * abs(moved_kw) / 200, abs=1e-12)
    assert all(reward < -0.1 for reward in found.pop(("enforce", -1.0)))
    assert all(rewards == [0.0, 0.0, 0.0] for rewards in found.values()), found
