"""The grid as text and as a picture."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pettingzoo", reason="PettingZoo is not installed (pip install .[env])")

from cosim.env import EventEnv
from cosim.env.rendering import BAD, GAIN, GOOD, HEIGHT, LIMIT, WIDTH, picture, text
from cosim.errors import GridloopError
from tests.cosim.env.worlds import LOSSES, learner, loaded, made


def has(drawn: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Pixels of a colour."""
    return int((drawn == colour).all(axis=2).sum())


def test_the_text_tells_the_grid_and_the_rewards() -> None:
    """Time, who is due, extremes against the limits, losses, and each learner's last reward and costs."""
    costs = [{"kind": "voltage", "name": "low", "low": 0.95}]
    env = made(learner(1), learner(2, period_s=20), learning={"reward": [LOSSES], "costs": costs},
               limits={"v_min_pu": 0.93, "v_max_pu": 1.05})
    env.reset(1)
    decision = env.step({0: [0.5]})
    lines = text(env).splitlines()
    points = env.simulation.points
    voltages = points.read_vector(["bus.*.v_pu"])
    assert lines[0] == "three  t = 5 s  due: agent_1"
    assert lines[1] == (f"voltage {voltages.min():.4f} to {voltages.max():.4f} pu, limits 0.93 to 1.05: "
                        f"{(voltages < 0.93).sum()} low, 0 high")
    assert (voltages < 0.93).sum() > 0
    assert lines[3].startswith(f"losses {points.read('grid.losses_kw'):.6g} kW")
    assert lines[4:] == [f"agent_1: reward {decision.reward[0]:.6g}  low {decision.cost[0, 0]:.6g}",
                         "agent_2: reward 0  low 0"]


def test_a_crowd_is_summed_up() -> None:
    """Beyond a dozen agents the rest is one line."""
    devices = [{"kind": "battery", "name": f"b{i}", "bus": str(i + 2), "p_max_kw": 1, "e_rated_kwh": 1}
               for i in range(20)]
    agents = [learner(1, name=f"a{i}", observe=[f"b{i}.soc"], actuate=[f"b{i}.p_set_kw"]) for i in range(20)]
    env = EventEnv(loaded(*agents, devices=devices))
    env.reset(1)
    env.step({})
    lines = text(env).splitlines()
    assert lines[0].endswith("a11 and 8 more")
    assert lines[-1].startswith("and 8 more agents: reward ")


def test_a_grid_without_solution_is_said_to_have_none() -> None:
    """In the text; the picture has no bars of voltages then, and does not fail."""
    env = made(disturbances=[{"kind": "load_step", "bus": "18", "p_kw": 90_000, "at_s": 12}])
    decision = env.reset(1)
    while not decision.ended:
        decision = env.step({})
    assert "the power flow has no solution" in text(env)
    assert "ended" in text(env).splitlines()[0]
    assert picture(env).shape == (HEIGHT, WIDTH, 3)


def test_the_picture_shows_what_is_wrong_in_red() -> None:
    """Bars within the limits are blue, beyond them red; limits are dashed lines; rewards green or red."""
    env = made(limits={"v_min_pu": 0.85, "v_max_pu": 1.1})
    env.reset(1)
    start = picture(env)
    assert start.shape == (HEIGHT, WIDTH, 3)
    assert start.dtype == np.uint8
    assert has(start, GOOD) > 1_000
    assert has(start, LIMIT) > 500
    assert has(start, BAD) == has(start, GAIN) == 0 or has(start, BAD) == 0
    env.step({})
    assert has(picture(env), BAD) > 1_000
    gaining = made(limits={"v_min_pu": 0.95}, learning={"reward": [{**LOSSES, "weight": 1.0}]})
    gaining.reset(1)
    gaining.step({})
    drawn = picture(gaining)
    assert has(drawn, GAIN) > 1_000
    assert has(drawn, BAD) > 500
    assert not np.array_equal(drawn, start)


def test_there_is_nothing_to_see_before_a_reset() -> None:
    """The message says what to do."""
    for draw in (text, picture):
        with pytest.raises(GridloopError, match=r"nothing to render before the first reset\(\)"):
            draw(made())
