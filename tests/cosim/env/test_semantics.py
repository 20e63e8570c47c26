"""What an environment means: asynchrony, integrals, discounting, replay, resets, ends, late and missing actions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim.env import EnvOptions, EventEnv, parallel_env, single_agent
from cosim.errors import GridloopError
from cosim.replay import replay
from cosim.scenario.learning import Discount
from cosim.simulation import build
from tests.cosim.env.worlds import LOSSES, fingerprint, learner, loaded, made, networks_read, played, with_memory

ROOT = Path(__file__).parents[3]


# -- (a) asynchronous and synchronous --------------------------------------------------------------------------------


def test_equal_rates_and_ideal_channels_are_the_synchronous_loop() -> None:
    """Observations and rewards are, bit for bit, those of a plain loop: set, advance, read, add up."""
    actions = np.random.default_rng(5).uniform(-1, 1, (8, 3))
    env = made(*(learner(i, offset_s=5) for i in (1, 2, 3)), duration_s=45)
    decisions = [env.reset(1)]
    decisions += [env.step({i: row[i:i + 1] for i in range(3)}) for row in actions]
    assert decisions[-1].ended
    assert decisions[-1].truncated
    seen, rewards = synchronous(env, actions)
    for decision, expected in zip(decisions, seen, strict=True):
        assert [decision.observation[part][:3].tolist() for part in env.encoder.slices] == expected
    assert [decision.reward.tolist() for decision in decisions[1:]] == [[reward] * 3 for reward in rewards]


def synchronous(env: EventEnv, actions: np.ndarray) -> tuple[list[Any], list[float]]:
    """The same by hand, on a simulation without agents: observations (9, 3 agents, 3) and rewards (8,)."""
    simulation = build(loaded(agents=[], duration_s=45))
    points, rewards = simulation.points, []

    def look() -> list[list[float]]:
        found = []
        for spec, i in zip(env.specs, (1, 2, 3), strict=True):
            raw = points.read_vector([f"bat{i}.soc", f"bat{i}.v_pu", "grid.losses_kw"])
            center, gain = (np.array([f.center for f in spec.features]),
                            1.0 / np.array([f.half_width for f in spec.features]))
            found.append(np.clip((raw - center) * gain, -10, 10).astype(np.float32).tolist())
        return found

    seen = []
    for k, row in enumerate(actions, 1):
        simulation.advance_to(5_000_000 * k - 1)
        seen.append(look())
        for i, value in enumerate(row.tolist(), 1):
            assert simulation.submit(f"bat{i}.p_set_kw", 100.0 * value, "loop").name == "ACCEPTED"
        integral = 0.0
        for t_s in range(5 * k, 5 * k + 5):
            simulation.advance_to(t_s * 1_000_000)
            integral += points.read("grid.losses_kw") * 1.0
        rewards.append(integral * -0.01)
    simulation.advance_to(45_000_000)
    return [*seen, look()], rewards


# -- (b) discounting -------------------------------------------------------------------------------------------------


def test_a_constant_rate_is_worth_r_over_beta() -> None:
    """Whatever the intervals: rewards discounted by γ^Δt, and what comes after the end, are r/β for every agent."""
    constant = {"kind": "sum", "name": "constant", "points": ["bat3.soc"], "weight": 6.0}
    agents = [learner(1, jitter_s=3), learner(2, period_s=2, offset_s=0.7, jitter_s=1.3), learner(3, period_s=11)]
    env = made(*agents, learning={"reward": [constant], "discount": {"gamma": 0.9, "per_s": 10}})
    beta, worth, first = -np.log(0.9) / 10, np.zeros(3), np.full(3, np.nan)
    for decision in held(env, 3):
        t_s = decision.t_us / 1e6
        begun_s = t_s - decision.dt_s
        told = decision.due | decision.ended
        weight = np.exp(-beta * np.where(np.isnan(first), 0.0, begun_s - first))
        worth += np.where(told, weight * decision.reward, 0.0)
        first = np.where(decision.due & np.isnan(first), t_s, first)
    tail = np.exp(-beta * (40.0 - first)) * 3.0 / beta
    np.testing.assert_allclose(worth + tail, 3.0 / beta, rtol=1e-12)
    assert env.stats.decisions > 25


def held(env: EventEnv, seed: int) -> list[Any]:
    """The decisions of an episode in which nobody does anything."""
    found = [env.reset(seed)]
    while not found[-1].ended:
        found.append(env.step({}))
    return found


def test_a_trainers_discount_stands_in_for_the_scenarios() -> None:
    """`EnvOptions.discount` discounts within intervals as `learning.discount` does."""
    discount = {"gamma": 0.5, "per_s": 5}
    own = played(made(learning={"reward": [LOSSES], "discount": discount}), 1)
    given = played(made(options=EnvOptions(discount=Discount(**discount))), 1)
    plain = played(made(), 1)
    assert fingerprint(own) == fingerprint(given)
    assert 0 > own[1].reward[0] > plain[1].reward[0]


# -- (c) replay ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["whole", "left", "terminated", "asynchronous"])
def test_a_recorded_episode_replays_to_its_digest(tmp_path: Path, how: str) -> None:
    """`gridloop replay` re-executes an episode, ended by time, by its owner or by a condition, to the same digest."""
    options = EnvOptions(record=tmp_path / "episodes")
    ends = [{"point": "bat1.soc", "below": 0.45}] if how == "terminated" else []
    env = (EventEnv(with_memory(), options=options) if how == "asynchronous"
           else made(learning={"reward": [LOSSES], "ends_when": ends}, options=options))
    decision = env.reset(7)
    for _ in range(4 if how == "left" else 1_000):
        if decision.ended:
            break
        decision = env.step({i: np.ones(env.specs[i].action.width) for i in np.flatnonzero(decision.due).tolist()})
    assert decision.terminated.all() == (how == "terminated")
    summary = env.close()
    assert summary is not None
    outcome = replay(tmp_path / "episodes" / "episode-000000")
    assert outcome.same
    assert outcome.replayed == summary.digest


def test_recording_changes_nothing(tmp_path: Path) -> None:
    """A recorded episode is the unrecorded one, and every episode has a folder of its own."""
    env = EventEnv(with_memory(), options=EnvOptions(record=tmp_path))
    one, other = fingerprint(played(env, 3)), fingerprint(played(env, 3))
    env.close()
    assert one == other == fingerprint(played(EventEnv(with_memory()), 3))
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["episode-000000", "episode-000001"]


# -- (d) resets ------------------------------------------------------------------------------------------------------


def test_resets_read_the_network_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many episodes."""
    read = networks_read(monkeypatch)
    env = made()
    for _ in range(5):
        env.reset()
    assert read == ["case33bw"]


def test_nothing_outlives_a_reset() -> None:
    """An episode after other ones, broken off or not, is bit for bit that of a fresh environment and fresh process."""
    env = EventEnv(with_memory())
    played(env, 5, 1)
    env.reset(6)
    for _ in range(9):
        env.step({i: np.full(env.specs[i].action.width, 0.0) for i in range(2)})
    again = fingerprint(played(env, 21, 3))
    assert again == fingerprint(played(EventEnv(with_memory()), 21, 3))
    assert again != fingerprint(played(env, 22, 3))
    fresh = subprocess.run([sys.executable, "-m", "tests.cosim.env.worlds"], cwd=ROOT, capture_output=True, text=True,
                           check=True, timeout=120)
    assert again == fresh.stdout


def test_episodes_after_a_seed_are_the_same_ones() -> None:
    """Resets without a seed go on with the last one's episodes, which differ from each other."""
    env = EventEnv(with_memory())
    first = [fingerprint(played(env, seed)) for seed in (9, None, None)]
    assert [fingerprint(played(env, seed)) for seed in (9, None, None)] == first
    assert len(dict.fromkeys(first)) == 3


# -- (e) bad actions -------------------------------------------------------------------------------------------------


def test_nan_is_held_and_counted() -> None:
    """A number that is none leaves its setpoint as it was: the trajectory is that of silence."""
    env = made()
    env.reset(1)
    env.step({0: [0.5], 1: [0.25]})
    spoken = env.step({0: [np.nan], 2: [np.nan]})
    assert env.stats.held_nan == 2
    assert env.simulation.points.read("bat1.p_set_kw") == 50.0
    silent = made()
    silent.reset(1)
    silent.step({0: [0.5], 1: [0.25]})
    assert silent.step({}).observation.tolist() == spoken.observation.tolist()
    assert silent.stats.held_nan == 0


@pytest.mark.parametrize(("rows", "words"), [
    ({"agent_9": [0.0]}, "unknown agent 'agent_9'; learners are: agent_1, agent_2, agent_3"),
    ({"agent_1": [0.0, 1.0]}, "action of agent 'agent_1': 2 numbers; expected 1"),
])
def test_what_is_no_action_is_refused(rows: dict[str, list[float]], words: str) -> None:
    """By name, with what was expected."""
    env = made()
    env.reset(1)
    with pytest.raises(GridloopError, match=words):
        env.step(rows)


def test_an_ended_episode_takes_no_steps() -> None:
    """Until the next reset."""
    env = made(duration_s=5)
    played(env, 1)
    with pytest.raises(GridloopError, match=r"the episode has ended; call reset\(\)"):
        env.advance()


# -- (f) together ----------------------------------------------------------------------------------------------------


def test_agents_due_within_together_s_decide_together() -> None:
    """At the end of that time, in the scenario's order; without it each decides alone."""
    agents = [learner(1, offset_s=0.3), learner(2, offset_s=0.7), learner(3, offset_s=1.2)]

    def due(**learning: Any) -> list[tuple[int, list[bool]]]:
        env = made(*agents, learning={"reward": [LOSSES], **learning})
        return [(d.t_us, d.due.tolist()) for d in (env.reset(1), env.step({}), env.step({}))]

    assert due() == [(300_000, [True, False, False]), (700_000, [False, True, False]),
                     (1_200_000, [False, False, True])]
    assert due(together_s=1.0) == [(1_000_000, [True, True, False]), (2_000_000, [False, False, True]),
                                   (6_000_000, [True, True, False])]


# -- (g) ends --------------------------------------------------------------------------------------------------------


def test_who_dies_stays_dead_while_others_go_on() -> None:
    """Its last reward has the end's in it; it is not due again, and others get to the end of the time."""
    dying = learner(2, learn={"dies_when": [{"point": "bat2.soc", "below": 0.45}]})
    env = made(learner(1), dying, learner(3), learning={"reward": [LOSSES], "end_reward": -100})
    decisions = [env.reset(1)]
    while not decisions[-1].ended:
        decisions.append(env.step({i: [1.0] for i in range(3)}))
    over = [d.terminated.tolist() for d in decisions]
    died = over.index([False, True, False])
    assert over == [[False] * 3] * died + [[False, True, False]] * (len(over) - died)
    assert decisions[died].reward[1] < -100
    assert [d.reward[1] for d in decisions[died + 1:]] == [0.0] * (len(over) - died - 1)
    assert not any(d.due[1] for d in decisions[died:])
    assert decisions[-1].truncated
    assert decisions[-1].t_us == 40_000_000
    # It died a microsecond after the publish that showed it, not at its own next decision.
    assert decisions[died].t_us % 5_000_000


def test_nobody_is_asked_where_only_the_dead_were_due() -> None:
    """Every decision instant has somebody to decide, or news of an end."""
    dying = learner(2, period_s=3, learn={"dies_when": [{"point": "bat2.soc", "below": 0.45}]})
    env = made(learner(1), dying)
    decisions = [env.reset(1)]
    while not decisions[-1].ended:
        decisions.append(env.step({1: [1.0]}))
    silent = [k for k, d in enumerate(decisions) if not d.due.any()]
    assert [decisions[k].terminated.tolist() for k in silent] == [[False, True]] * 2
    assert silent[-1] == len(decisions) - 1
    assert decisions[silent[0] - 1].terminated.tolist() == [False, False]


@pytest.mark.parametrize("why", ["condition", "diverged"])
def test_a_condition_or_a_power_flow_without_solution_ends_all(why: str) -> None:
    """Everybody is terminated, nobody truncated, and the end's reward is in everybody's last one."""
    learning = {"reward": [LOSSES], "end_reward": -5.0}
    if why == "condition":
        env = made(learning={**learning, "ends_when": [{"point": "bat2.soc", "below": 0.45}]})
    else:
        env = made(learning=learning, disturbances=[{"kind": "load_step", "bus": "18", "p_kw": 90_000, "at_s": 12}])
    decisions = [env.reset(1)]
    while not decisions[-1].ended:
        decisions.append(env.step({1: [1.0]}))
    last = decisions[-1]
    assert last.terminated.all()
    assert not last.truncated
    assert 0 < last.t_us < 40_000_000
    assert (last.reward <= -5).all()
    assert not any(d.terminated.any() for d in decisions[:-1])


def test_an_end_at_the_last_instant_is_an_end() -> None:
    """What comes true with the last publish of all terminates: the time is up, and no view calls that a truncation."""
    free = made(duration_s=10)
    free.reset(1)
    soc, published = free.simulation.points.id_of("bat1.soc"), []
    free.simulation.watchers.append(lambda view: published.append((view.t_us, float(view.values[soc]))))
    for _ in range(2):
        free.step({0: [1.0]})
    (_, before), (t_us, after) = published[-2:]
    assert t_us == 10_000_000
    assert after < before
    ends = [{"point": "bat1.soc", "below": (before + after) / 2}]
    learning = {"reward": [LOSSES], "end_reward": -5.0, "ends_when": ends}
    view = parallel_env(loaded(duration_s=10, learning=learning))
    view.reset(seed=1)
    for k in range(2):
        _, rewards, terminations, truncations, _ = view.step({"agent_1": np.ones(1)})
        assert list(terminations.values()) == [k == 1] * 3
        assert not any(truncations.values())
    last = view.core.last
    assert (last.t_us, last.ended, last.terminated.tolist()) == (10_000_000, True, [True] * 3)
    assert all(reward <= -5 for reward in rewards.values())


def test_an_episode_over_as_it_begins_is_over() -> None:
    """Before anybody decides; views of one learner say what it is that holds."""
    learning = {"reward": [LOSSES], "ends_when": [{"point": "bat1.soc", "above": 0.1}]}
    decision = made(learning=learning).reset(1)
    assert (decision.ended, decision.terminated.all(), decision.t_us) == (True, True, 0)
    with pytest.raises(GridloopError, match=r"the episode is over at t = 0 s, before anybody decides \(agent_1\)"):
        single_agent(loaded(learner(1), learning=learning)).reset(seed=1)


# -- (h) rewards -----------------------------------------------------------------------------------------------------

TERMS = [LOSSES, {"kind": "sum", "name": "charge", "points": ["bat*.soc"], "weight": 0.3, "per": "min"},
         {"kind": "change", "name": "moves", "points": ["bat*.p_set_kw"], "weight": -2.0}]
COSTS = [{"kind": "voltage", "name": "low_voltage", "low": 1.0, "high": 1.05, "per": "h"}]


def test_the_breakdown_adds_up_to_the_reward_and_costs_stay_apart() -> None:
    """For every agent and decision, shared and own terms together."""
    own = learner(2, learn={"reward": [{"kind": "sum", "name": "charge", "points": ["bat2.soc"]}]})
    env = made(learner(1), own, learning={"reward": TERMS, "costs": COSTS})
    plain = made(learner(1), own, learning={"reward": TERMS})
    decisions, others = played(env, 1), played(plain, 1)
    assert env.cost_names == ("low_voltage",)
    for decision, other in zip(decisions[1:], others[1:], strict=True):
        assert decision.reward.tolist() == other.reward.tolist()
        assert (decision.cost > 0).all()
    terms = env.breakdown(1)
    assert list(terms) == ["losses", "charge", "moves", "low_voltage"]
    assert terms["low_voltage"] == decisions[-1].cost[1, 0]
    assert sum(terms.values()) - terms["low_voltage"] == pytest.approx(decisions[-1].reward[1], rel=1e-12)
    assert env.breakdown(0)["charge"] < terms["charge"]


def test_rewards_are_clipped_and_who_is_not_due_gets_none() -> None:
    """`reward_clip` bounds the reward of a decision, even where 0 is outside the bounds."""
    env = made(learner(1), learner(2, period_s=10), learning={"reward": [LOSSES], "reward_clip": [-3.0, -2.0]})
    decisions = played(env, 1)
    assert decisions[0].reward.tolist() == [0.0, 0.0]
    assert decisions[1].reward.tolist() == [-3.0, 0.0]
    assert decisions[2].reward.tolist() == [-3.0, -3.0]


def choosing(**learn: Any) -> Callable[[], EventEnv]:
    """A learner that charges, waits or discharges; full batteries may not charge, empty ones not discharge."""
    choices = [{"name": name, "set": {"bat1.p_set_kw": value}} for name, value in
               (("charge", -100), ("wait", 0), ("discharge", 100))]
    masks = [{"choices": ["charge"], "closed_when": {"point": "bat1.soc", "above": 0.55}},
             {"choices": ["dis*"], "closed_when": {"point": "bat1.soc", "below": 0.45}}]
    return lambda: made(learner(1, learn={"act": {"choices": choices, "masks": masks}, **learn}))


def test_masks_close_choices_while_their_condition_holds() -> None:
    """And open them again."""
    env = choosing()()
    decision, seen = env.reset(1), []
    while not decision.ended:
        masks = env.masks(0)
        assert masks is not None
        seen.append((float(env.simulation.points.read("bat1.soc")), masks[0].tolist()))
        decision = env.step({0: [2.0 if len(seen) < 4 else 0.0]})
    for soc, mask in seen:
        assert mask == [soc <= 0.55, True, soc >= 0.45]
    assert [True, True, False] in [mask for _, mask in seen]
    assert [True, True, True] in [mask for _, mask in seen[4:]]
