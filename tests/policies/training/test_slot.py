"""One environment acting: which decisions become rows, and bringing it back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.env.event import EnvOptions, EventEnv
from cosim.stopwatch import StillStopwatch
from policies.evaluate.episode import play
from policies.training.algorithm import TrainingError
from policies.training.slot import Rows, Slot, SlotSetting
from policies.training.transitions import Shape, Transitions, empty, joined
from tests.policies.training.fakes import Targets


class Script:
    """Acts by a fixed law, draws from `rng` where `noisy`, and counts in its memory."""

    def __init__(self, noisy: bool = False, width: int = 1) -> None:
        self.noisy, self.width, self.masks = noisy, width, []

    def act(self, observations: Any, rng: Any, *, masks: Any = None, hidden: Any = None) -> Any:
        """Half the target."""
        n = len(observations)
        rows = np.zeros((n, self.width), np.float32)
        rows[:, 0] = observations[:, 0] / 2 + (0.1 * rng.standard_normal(n) if self.noisy else 0)
        self.masks.append(masks)
        return rows, np.full(n, -1.5, np.float32), None if hidden is None else hidden + 1


def shape_of(env: Targets, **more: int) -> Shape:
    """Rows of its groups."""
    return Shape(3, env.specs[0].action.width, 1, sum(env.specs[0].action.counts), **more)


def collected(env: Targets, fragments: tuple[int, ...], actor: Any, **more: int) -> tuple[Transitions, list[Any], Slot]:
    """Rows of fragments of these lengths, all groups' in one."""
    shapes = {name: shape_of(env, **more) for name in env.groups}
    slot = Slot(env, SlotSetting(3, 7, shapes))
    parts, episodes = [], []
    for k, instants in enumerate(fragments):
        out = {name: Rows(empty(shape, instants * len(env.names))) for name, shape in shapes.items()}
        episodes += slot.run(k, instants, dict.fromkeys(shapes, actor), out)
        parts += [rows.taken() for rows in out.values()]
    return joined(parts), episodes, slot


def test_rows_are_each_agents_own_decisions() -> None:
    """Agents of 1 s and 3 s: each row spans its agent's own period, holds its integral, and leads to its next row."""
    rows, episodes, _ = collected(Targets((1.0, 3.0), duration_s=12.0), (12,), Script())
    assert len(episodes) == 1
    for agent, period, n in ((0, 1.0, 12), (1, 3.0, 4)):
        mine = rows["agent"] == agent
        assert mine.sum() == n
        np.testing.assert_allclose(rows["dt_s"][mine], period)
        x = rows["action"][mine, 0]
        np.testing.assert_allclose(rows["reward"][mine], period * (1 - (x - rows["obs"][mine, 0]) ** 2), rtol=1e-6)
        np.testing.assert_allclose(rows["cost"][mine, 0], period * np.abs(x), rtol=1e-6)
        assert rows["truncated"][mine].tolist() == [False] * (n - 1) + [True]
        assert rows["order"][mine].tolist() == list(range(n))
        assert np.array_equal(rows["next_obs"][mine][:-1], rows["obs"][mine][1:])
    assert not rows["terminated"].any()
    assert (rows["slot"] == 3).all()
    follows = rows.follows()
    assert (follows >= 0).sum() == len(rows) - 2


def test_an_episodes_summary_adds_up() -> None:
    """Returns and costs are the sums of its rows."""
    rows, (episode,), _ = collected(Targets((1.0, 3.0), duration_s=12.0), (12,), Script())
    for agent in range(2):
        mine = rows["agent"] == agent
        assert episode.returns[agent] == pytest.approx(rows["reward"][mine].sum())
        assert episode.costs[agent][0] == pytest.approx(rows["cost"][mine].sum())
    assert episode.discounted == pytest.approx(episode.returns)  # this one has no discount
    assert (episode.length_s, episode.truncated, episode.decisions, episode.slot) == (12.0, True, len(rows), 3)


def test_a_reward_is_discounted_from_its_decision() -> None:
    """By γ^(t_k / per_s), t_k the time from the episode's beginning to the decision that it follows."""
    env = Targets((1.0, 3.0), duration_s=12.0, discount={"gamma": 0.8, "per_s": 2.0})
    rows, (episode,), _ = collected(env, (12,), Script())
    for agent, period in ((0, 1.0), (1, 3.0)):
        rewards = rows["reward"][rows["agent"] == agent]
        worth = 0.8 ** (np.arange(len(rewards)) * period / 2.0)
        assert episode.discounted[agent] == pytest.approx(float(worth @ rewards))


def test_death_is_no_truncation() -> None:
    """The agent that dies at 4.5 s ends with a terminated row and never comes again; the other goes on."""
    rows, _, _ = collected(Targets((1.0, 3.0), duration_s=12.0, dies=4.5), (8,), Script())
    dead = rows["agent"] == 0
    assert rows["terminated"][dead].tolist() == [False] * 4 + [True]
    assert rows["dt_s"][dead][-1] == pytest.approx(0.5)
    assert rows["truncated"][~dead].any()
    assert not rows["truncated"][dead].any()


def test_fragments_cut_nothing() -> None:
    """Decisions open at the end of a fragment become rows of the next: together they are those of one long fragment."""
    whole, _, _ = collected(Targets((1.0, 2.3), jitter=0.5), (40,), Script())
    parts, _, _ = collected(Targets((1.0, 2.3), jitter=0.5), (7, 13, 20), Script())
    for name, column in whole.columns.items():
        assert np.array_equal(column, parts[name]), name


def test_groups_have_their_own_rows() -> None:
    """Agents of different groups act by their own actors, and everything is seen by all where it is asked for."""
    env = Targets((1.0, 3.0), duration_s=12.0, shared=False)
    rows, _, _ = collected(env, (12,), Script(), n_joint=6, n_joint_action=2)
    second = rows["agent"] == 1
    assert second.sum() == 4
    assert np.array_equal(rows["joint"][second][:, 3:], rows["obs"][second])
    assert np.array_equal(rows["joint_action"][second][:, 1], rows["action"][second][:, 0])


def test_memory_begins_anew_with_an_episode() -> None:
    """The memory before each decision counts the decisions of this episode."""
    rows, _, _ = collected(Targets(duration_s=5.0), (12,), Script(), n_hidden=1)
    assert rows["hidden"][:, 0].tolist() == [0, 1, 2, 3, 4] * 2 + [0, 1]
    assert rows["next_hidden"][:, 0].tolist() == [1, 2, 3, 4, 5] * 2 + [1, 2]


def test_masks_reach_the_actor_and_the_rows() -> None:
    """The last level is closed while the target is negative."""
    actor = Script(width=2)
    rows, _, _ = collected(Targets(duration_s=5.0, counts=(3,)), (30,), actor)
    assert np.array_equal(rows["mask"][:, 2], rows["obs"][:, 0] > 0)
    assert rows["mask"][:, :2].all()
    assert np.array_equal(np.concatenate(actor.masks), rows["mask"])
    assert 0 < rows["mask"][:, 2].sum() < 30


def test_a_slot_is_brought_back() -> None:
    """Saved in the middle of an episode, with decisions open, another slot goes on with the same rows."""
    def env() -> Targets:
        return Targets((1.0, 2.3), jitter=0.5)

    _, _, first = collected(env(), (7, 30), Script(noisy=True), n_hidden=1)
    shapes = {"all": shape_of(env(), n_hidden=1)}
    other = Slot(env(), SlotSetting(3, 7, shapes))
    other.restore(first.snapshot())
    results = []
    for slot in (first, other):
        out = {"all": Rows(empty(shapes["all"], 100))}
        episodes = slot.run(2, 50, {"all": Script(noisy=True)}, out)
        results.append((out["all"].taken(), episodes))
    for name, column in results[0][0].columns.items():
        assert np.array_equal(column, results[1][0][name]), name
    assert results[0][1] == results[1][1]


def test_another_environment_is_no_way_back() -> None:
    """Where the saved actions now lead elsewhere, that is said."""
    _, _, first = collected(Targets((1.0, 2.3)), (7,), Script())
    other = Slot(Targets((1.0, 5.0)), SlotSetting(3, 7, {"all": shape_of(Targets())}))
    with pytest.raises(TrainingError, match="does not run as it did"):
        other.restore(first.snapshot())


def test_who_begins_late_has_a_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has not decided at the first decision of others counts its time from before it: no NaN comes of that."""
    reset = Targets.reset

    def late(self: Targets, seed: int | None = None) -> Any:
        decision = reset(self, seed)
        decision.t_us += 43_200_000_000  # the episode's first decision is at half a day
        return decision

    def step(self: Targets, rows: Any) -> Any:
        decision = stepped(self, rows)
        decision.t_us += 43_200_000_000
        decision.dt_s[1], decision.reward[1] = decision.t_us / 1e6, 0.0  # this one has never decided
        return decision

    stepped = Targets.step
    monkeypatch.setattr(Targets, "reset", late)
    monkeypatch.setattr(Targets, "step", step)
    env = Targets((1.0, 3.0), duration_s=4.0, discount={"gamma": 0.05, "per_s": 0.05})
    _, (episode,), _ = collected(env, (4,), Script())
    assert np.isfinite(episode.discounted).all()
    assert episode.discounted[0] != 0.0
    assert episode.discounted[1] == 0.0


class Noting(EventEnv):
    """Knows the seed of its episode."""

    seed: int | None = None

    def reset(self, seed: int | None = None) -> Any:
        """As `EventEnv.reset`."""
        self.seed = seed
        return super().reset(seed)


class Constant:
    """The same row, as an actor of a slot and as a controller of an evaluation."""

    def __init__(self, env: EventEnv, row: float) -> None:
        self.env, self.row = env, row

    def act(self, observations: Any, rng: Any, **_: Any) -> Any:
        """As `slot.Actor.act`."""
        n = len(observations)
        return np.full((n, self.env.specs[0].action.width), self.row, np.float32), np.zeros(n, np.float32), None

    def begin(self, _seed: int) -> None:
        """Nothing to forget."""

    def decide(self) -> dict[int, Any]:
        """Setpoints of those due."""
        return {i: self.env.codecs[i].decode(np.full(self.env.specs[i].action.width, self.row))
                for i in np.flatnonzero(self.env.last.due).tolist()}


@pytest.mark.parametrize(("scenario", "shield", "row", "options"), [
    ("anm6_easy", "enforce", 0.5, EnvOptions(duration_s=64_800.0)),
    ("volt_var_33", "observe", -0.5, EnvOptions(duration_s=7_200.0, offset_s=43_200.0)),  # too low for a while
    ("volt_var_33", "observe", 0.0, EnvOptions(duration_s=9_000.0, offset_s=27_000.0))])  # too high for a while
def test_an_episode_counts_as_an_evaluation_does(scenario: str, shield: str, row: float, options: EnvOptions) -> None:
    """Interventions and the time with a limit violated (loadings, and voltages) are those of `gridloop evaluate`."""
    env = Noting(scenario, overrides=(f"shield={shield}",), options=options)
    actor = Constant(env, row)
    slot = Slot(env, SlotSetting(3, 7, {
        name: Shape(env.specs[members[0]].size, env.specs[members[0]].action.width, len(env.cost_names))
        for name, members in env.groups.items()}))
    episode = slot.play(0, dict.fromkeys(env.groups, actor))
    assert env.seed is not None
    figures = play(env, actor, env.seed, None, StillStopwatch()).figures
    assert episode.length_s == figures["length_s"]
    assert episode.interventions == figures["interventions"] > 0
    assert 0 < episode.violating_s < episode.length_s
    assert episode.violating_s / episode.length_s == pytest.approx(figures["violating"])


def test_what_nobody_counted_is_not_known() -> None:
    """An environment without a simulation has neither interventions nor violations: -1, not 0."""
    _, (episode,), _ = collected(Targets((1.0, 3.0), duration_s=12.0), (12,), Script())
    assert (episode.interventions, episode.violating_s) == (-1, -1.0)
