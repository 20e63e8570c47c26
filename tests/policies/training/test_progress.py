"""What a training says on its way is what its environments had."""

from __future__ import annotations

import csv
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")

from cosim.env.event import EnvOptions, EventEnv
from policies.training.config import load_config
from policies.training.loop import train
from policies.training.progress import Progress, violating
from policies.training.slot import Episode
from policies.training.worker import EnvRecipe

#: What an episode had: interventions, seconds violating, seconds.
Ended = tuple[int, float, float]
#: Of those that ended in an environment of these tests.
ENDED: list[Ended] = []
#: What was told of an iteration, its row of metrics.csv, and the episodes that ended in it.
Iteration = tuple[Progress, dict[str, str], list[Ended]]


class Noting(EventEnv):
    """Notes what each of its episodes had, by the simulation's own accounts and a look at every publish."""

    def reset(self, seed: int | None = None) -> Any:
        """As `EventEnv.reset`."""
        decision = super().reset(seed)
        self.begun_us = decision.t_us
        self.seen: list[tuple[int, bool]] = [(decision.t_us, self.is_violating())]
        self.simulation.watchers.append(lambda view: self.seen.append((view.t_us, self.is_violating())))
        return decision

    def is_violating(self) -> bool:
        """Whether a voltage or a loading is outside its limits now."""
        state, limits = self.simulation.grid.state, self.loaded.scenario.limits
        return bool((state.v_pu < limits.v_min_pu).any() or (state.v_pu > limits.v_max_pu).any()
                    or (state.loading > limits.loading_max).any() or not state.converged)

    def step(self, rows: Any) -> Any:
        """As `EventEnv.step`."""
        decision = super().step(rows)
        if decision.ended:
            times = [t_us for t_us, _ in self.seen] + [decision.t_us]
            bad_us = sum(times[k + 1] - times[k] for k, (_, bad) in enumerate(self.seen) if bad)
            ENDED.append((int(self.simulation.shield_figures()["interventions"]), bad_us / 1e6,
                          (decision.t_us - self.begun_us) / 1e6))
        return decision


def noting(**_: Any) -> Noting:
    """Four hours of ANM6-Easy, its shield only saying what it would do."""
    return Noting("anm6_easy", overrides=("shield=observe",), options=EnvOptions(duration_s=14_400.0))


def take() -> list[Ended]:
    """Episodes that ended since the last time."""
    found = ENDED.copy()
    ENDED.clear()
    return found


@pytest.fixture(scope="module")
def iterations(tmp_path_factory: pytest.TempPathFactory) -> list[Iteration]:
    """A short training."""
    ENDED.clear()
    out = tmp_path_factory.mktemp("training") / "out"
    config = load_config(scenario="none", algo="ppo", steps=80,
                         collection={"workers": 0, "slots": 1, "fragment": 40})
    told: list[tuple[Progress, list[Ended]]] = []
    train(config, out, lambda progress: told.append((progress, take())),
          recipe=EnvRecipe("tests.policies.training.test_progress:noting"))
    with (out / "metrics.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(told) == len(table) == 2
    return [(progress, row, ended) for (progress, ended), row in zip(told, table, strict=True)]


def test_interventions_are_those_of_the_environments(iterations: list[Iteration]) -> None:
    """Each iteration's figure, as told and in metrics.csv, is the episodes' that ended in it, by the hour."""
    for progress, row, ended in iterations:
        moved, _, length_s = map(sum, zip(*ended, strict=True))
        assert moved > 0
        assert progress.interventions == pytest.approx(moved / (length_s / 3600))
        assert float(row["interventions_per_h"]) == progress.interventions


def test_violations_are_those_of_the_environments(iterations: list[Iteration]) -> None:
    """So is the share of the time with a limit violated."""
    for progress, row, ended in iterations:
        _, violating_s, length_s = map(sum, zip(*ended, strict=True))
        assert 0 < violating_s < length_s
        assert progress.violating == pytest.approx(violating_s / length_s)
        assert float(row["violating"]) == progress.violating


def test_shares_are_of_the_time_that_is_known() -> None:
    """30 of 60 and 0 of 40 s are 0.3; one that does not know counts nothing, and nothing known is None."""
    def episode(length_s: float, violating_s: float) -> Episode:
        return Episode(0, 0, (0.0,), (0.0,), ((),), length_s, 1, True, violating_s=violating_s)

    assert violating([episode(60.0, 30.0), episode(40.0, 0.0), episode(100.0, -1.0)]) == pytest.approx(0.3)
    assert violating([episode(100.0, -1.0)]) is None
    assert violating([]) is None
