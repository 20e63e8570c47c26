"""Whether recorded decisions are those of the agents that a scenario has: asked before anything is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosim.encoding import LearnerSpec
from policies.bundle import normalised
from policies.datasets import Dataset
from policies.training.algorithm import TrainingError
from policies.training.scenario_env import scenario_env

if TYPE_CHECKING:
    from policies.training.offline import OfflineConfig

#: Most differences that a message names.
_SHOWN = 20
_EXPECTED = ("expected what `gridloop dataset` recorded in this scenario, as it is now and with the same --set; or "
             "name no scenario: then it is learned from as it is")


def refuse_other_scenario(config: OfflineConfig, datasets: Sequence[Dataset], path: Path) -> None:
    """TrainingError where agents of the configuration's scenario see or do something else than those recorded.

    As for bundles: a group's data set is for the group of that name, the only one for any.  Learners that were not
    recorded are nobody's business here.
    """
    env = scenario_env(str(config.scenario), None, config.overrides, allow_plugins=config.allow_plugins)
    env.close()
    for data in datasets:
        meant = _meant(env, data, alone=len(datasets) == 1)
        if not meant:
            raise TrainingError(f"{path}: has a data set of group '{data.group}'; {config.scenario} has "
                                f"{', '.join(env.groups)}; {_EXPECTED}")
        for here in meant:
            found = differences(data, normalised(here))
            if found:
                raise TrainingError(_refusal(config, path, here.agent, found))


def differences(data: Dataset, here: LearnerSpec) -> list[str]:
    """Where `here` differs from the recorded agent that is most like it; one line each."""
    return min((spec.differences(here) for spec in (data.spec, *data.members)), key=len)


def _meant(env: Any, data: Dataset, *, alone: bool) -> tuple[LearnerSpec, ...]:
    """Learners of the scenario that a bundle from this data set would act for."""
    groups: Mapping[str, Sequence[int]] = env.groups
    if data.group in groups:
        return tuple(env.specs[i] for i in groups[data.group])
    return tuple(env.specs) if alone else ()


def _refusal(config: OfflineConfig, path: Path, agent: str, found: Sequence[str]) -> str:
    more = f"\n  … and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    listed = "".join(f"\n  {line}" for line in found[:_SHOWN])
    return (f"{path}: was recorded with another agent than '{agent}' of {config.scenario}; in the data set and in the "
            f"scenario:{listed}{more}\n{_EXPECTED}")
