"""The tasks' `learning:` keys say what their yardsticks are measured in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.anm6_pair import COLUMNS
from benchmarks.anm6_trace import Episode, episodes
from cosim.env import EnvOptions, EventEnv
from cosim.scenario.yaml_tree import parse_yaml

STEP_S = 900.0


@pytest.mark.parametrize("episode", tuple(episodes()), ids=lambda episode: f"quarter {episode.start.quarter}")
def test_anm6_is_rewarded_as_gym_anm_rewards(episode: Episode) -> None:
    """The terms, their weights and bounds give gym-anm's recorded rewards over 50 random actions."""
    start = episode.start
    env = EventEnv("anm6_easy", overrides=(
        f"devices.store.soc_start={start.soc!r}", f"devices.pv.q_default_kvar={start.pv_q_kvar!r}",
        f"devices.wind.q_default_kvar={start.wind_q_kvar!r}", "learning.episode.vary=[]"),
        options=EnvOptions(offset_s=STEP_S * start.quarter, duration_s=STEP_S * (len(episode.actions) + 2)))
    env.reset(seed=1)
    column = COLUMNS.index("reward")
    for action, expected in zip(episode.actions, episode.rows[1:], strict=True):
        env.commit_setpoints({0: action * 1000.0})
        assert env.advance().reward[0] == pytest.approx(expected[column], abs=1e-6)


def test_a_collapse_costs_what_it_costs_in_gym_anm() -> None:
    """-20,000 beside the step's own reward, and the episode is over."""
    env = EventEnv("anm6_easy")
    env.reset(seed=1)
    env.commit_setpoints({0: np.array([0.0, 0.0, -30e3, -50e3, -50e3, -50e3])})
    last = env.advance()
    assert last.terminated.all()
    assert last.reward[0] == pytest.approx(-20_000, abs=101)


def test_arbitrage_is_paid_in_euro() -> None:
    """What three days earn is what the meter counted, and what is left in the battery at its worth."""
    env = EventEnv("arbitrage", options=EnvOptions(offset_s=0.0))
    env.reset(seed=1)
    earned = 0.0
    while not env.last.ended:
        env.commit_setpoints(env.scripted())
        earned += float(env.advance().reward[0])
    read = env.simulation.points.read
    left_kwh = (read("battery.soc") - 0.5) * 2000
    # 0.06 EUR a kWh, and 5 % lost on the way: the terms weigh what goes in and out, the state of charge what arrives.
    assert earned == pytest.approx(-read("trade.cost") + 0.06 * left_kwh, abs=1e-6)
    assert earned > 0


def test_reconfiguring_to_the_optimum_is_worth_its_losses() -> None:
    """Four choices lead from 202.677 kW to 139.551 kW; five minutes of that are worth -6.98."""
    env = EventEnv("reconfigure_33")
    env.reset(seed=1)
    names = env.specs[0].action.choice_names
    for choice in ("middle_9", "west_7", "top_14", "end_32"):
        decision = env.step({0: [names.index(choice)]})
    decision = env.step({0: [names.index("end_32")]})
    assert decision.reward[0] == pytest.approx(-0.05 * 139.5513, abs=1e-4)


def test_tasks_hold_out_the_days_they_are_judged_on() -> None:
    """No episode for training begins on a held-out day, nor runs into one: by the scenario, and by its settings."""
    training = Path(__file__).resolve().parents[3] / "scenarios" / "training"
    for name, days in (("volt_var_33", 1), ("microgrids3", 1), ("arbitrage", 3)):
        files = sorted(training.glob(f"{name}.*.yaml"))
        assert files, name
        changes = [parse_yaml(file.read_text(), str(file)).data.get("overrides", []) for file in files]
        for overrides in ([], *changes):
            episode = EventEnv(name, overrides=overrides).loaded.scenario.learning.episode
            begun = np.array(episode.offsets_s or ()) / 86400
            if episode.offset_s is not None:
                first, last = episode.offset_s
                begun = np.arange(first, last + 1, episode.offset_step_s) / 86400
            covered = {int(day + k) for day in begun for k in range(days)}
            held_out = {30 * k + j for k in range(12) for j in range(days)}
            assert not covered & held_out, name
            assert len(begun) > 50


def test_shipped_yardsticks_can_be_read() -> None:
    """Each names a figure that evaluation knows."""
    pytest.importorskip("safetensors", reason="safetensors is not installed (pip install .[rl])")
    from policies.evaluate.evaluation import FIGURES
    from policies.evaluate.yardstick import yardsticks

    files = sorted((Path(__file__).resolve().parents[3] / "scenarios" / "yardsticks").glob("*.json"))
    assert files
    for file in files:
        assert (file.parents[1] / f"{file.stem}.yaml").is_file()
        assert all(known.figure in FIGURES for known in yardsticks(file))
