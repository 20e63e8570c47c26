"""A configuration as the parts of a training: the environment's recipe, algorithms by group, plan of collection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from cosim.scenario.learning import Discount
from policies.bundle import MAX_WEIGHTS_BYTES, Bundle, BundleError, GroupBundle, normalised, scenario_digest
from policies.description import Description, NetworkError
from policies.training.algorithm import Algorithm, GroupSetting, OtherTrainingError, TrainingError, algorithm_class
from policies.training.checkpoint import MAX_BYTES
from policies.training.collect import Collector, LocalCollector, ProcessCollector
from policies.training.config import Engine, TrainConfig
from policies.training.device import check_device
from policies.training.offpolicy import OffPolicy
from policies.training.transitions import Shape
from policies.training.worker import EnvRecipe, Plan

#: Discount factor for every period of the fastest learner where neither training nor scenario says one.
GAMMA = 0.99


@dataclass(frozen=True, slots=True)
class Assembly:
    """What a training works with.  `env` is never acted in: it knows names, groups and the scenario."""

    config: TrainConfig
    env: Any
    discount: Discount
    algorithms: Mapping[str, Algorithm]
    plan: Plan


def assemble(config: TrainConfig, recipe: EnvRecipe | None = None, *, adopts: bool = True,
             begun: Mapping[str, Any] | None = None) -> Assembly:
    """The parts; TrainingError (or the scenario's own error) for what does not fit together.

    Without `adopts` the configuration's bundle is left alone: a training that goes on has weights of its own.  `begun`
    is the `scenario_of` such a training: OtherTrainingError for another one.
    """
    check_device(config.device)
    recipe = recipe or EnvRecipe(arguments=_arguments(config))
    env = recipe.make()
    _refuse_other_scenario(env, begun or {})
    _check_groups(config, env)
    _check_limits(config, env)
    discount = config.discount or env.discount or Discount(
        gamma=GAMMA, per_s=min(spec.period_s for spec in env.specs))
    arguments = {**(recipe.arguments or {}), "discount": discount.model_dump()}
    algorithms = {name: _algorithm(config, env, name, discount) for name in env.groups}
    shapes = {name: _shape(env, name, algorithm) for name, algorithm in algorithms.items()}
    weights = {name: {key: tuple(array.shape) for key, array in algorithm.actor_weights().items()}
               for name, algorithm in algorithms.items()}
    plan = Plan(replace(recipe, arguments=arguments), config.seed, config.collection.slots, config.fragment, shapes,
                {name: len(members) for name, members in env.groups.items()},
                {name: algorithm.actor_description() for name, algorithm in algorithms.items()}, weights)
    _check_sizes(config, plan, algorithms)
    if config.bundle is not None and adopts:
        _adopt(Path(config.bundle), algorithms, env)
    return Assembly(config, env, discount, algorithms, plan)


def _arguments(config: TrainConfig) -> dict[str, Any]:
    return {"scenario": config.scenario, "agents": list(config.agents) if config.agents else None,
            "overrides": list(config.overrides), "duration_s": config.duration_s, "allow_plugins": config.allow_plugins}


def scenario_of(env: Any) -> dict[str, Any]:
    """Name and digest of an environment's scenario ({} where it has none).

    The digest is of what the file and the overrides say, but for what is recorded: comments and layout are no part of
    it, nor is what is in files that the scenario names.  The order of entries is: patterns may overlap.
    """
    loaded = getattr(env, "loaded", None)
    if loaded is None:
        return {}
    content = loaded.scenario.model_dump(mode="json", exclude_defaults=True, exclude={"record"})
    text = json.dumps(_numbers_alike(content), ensure_ascii=False)
    return {"name": loaded.scenario.name, "digest": hashlib.sha256(text.encode()).hexdigest()}


def _numbers_alike(value: Any) -> Any:
    """With 100000 as 100000.0: it means the same."""
    if isinstance(value, dict):
        return {key: _numbers_alike(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers_alike(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _refuse_other_scenario(env: Any, begun: Mapping[str, Any]) -> None:
    here = scenario_of(env)
    if begun.get("digest", "") in ("", here.get("digest")):
        return  # nothing to compare with, or the same
    file = env.loaded.path
    raise OtherTrainingError(
        f"{file.absolute()}: is not the scenario that this training was begun with ({begun.get('name', '')!r:.80}): it "
        f"was changed since, or is another file of that name; put it back to go on, or begin a new training with what "
        f"was learned: gridloop train {file} --from BUNDLE")


def _check_groups(config: TrainConfig, env: Any) -> None:
    if config.algo == "ppo" and len(env.groups) > 1:
        raise TrainingError(f"algo: 'ppo' learns one group; found {len(env.groups)} ({', '.join(env.groups)}); "
                            f"expected ippo or mappo, `agents` that name one group, or one `learn.group` for all")


def _check_limits(config: TrainConfig, env: Any) -> None:
    """Limits are of costs that there are, and for somebody who keeps them."""
    unknown = [name for name in config.cost_limits if name not in env.cost_names]
    if unknown:
        raise TrainingError(f"cost_limits: no cost '{unknown[0]}' here; expected "
                            f"{', '.join(env.cost_names) or 'none (the scenario has no learning.costs)'}")
    if config.cost_limits and not algorithm_class(config.algo).on_policy:
        raise TrainingError(f"cost_limits: {config.algo} keeps no limits; expected ppo, ippo or mappo, or costs as "
                            f"terms of the reward")


def _check_sizes(config: TrainConfig, plan: Plan, algorithms: Mapping[str, Algorithm]) -> None:
    """What would be too large to be kept is refused before the first decision; the rest when it is written."""
    instants = config.iterations * config.fragment * plan.slots
    memory = sum(algorithm.memory_bytes(instants * plan.members[name], plan.shapes[name])
                 for name, algorithm in algorithms.items() if isinstance(algorithm, OffPolicy))
    if memory > MAX_BYTES:
        raise TrainingError(f"options.capacity: the memory would come to {memory:,} bytes; expected at most "
                            f"{MAX_BYTES:,}, the largest checkpoint; a smaller capacity would do")
    weights = sum(4 * prod(shape) for shapes in plan.weights.values() for shape in shapes.values())
    if weights > MAX_WEIGHTS_BYTES:
        raise TrainingError(f"options.hidden: the actors would come to {weights:,} bytes; expected at most "
                            f"{MAX_WEIGHTS_BYTES:,}, the largest bundle; narrower networks would do")


def _algorithm(config: TrainConfig, env: Any, name: str, discount: Discount) -> Algorithm:
    members = env.groups[name]
    widths = [spec.action.width for spec in env.specs]
    setting = GroupSetting(
        name, env.specs[members[0]], tuple(members), tuple(env.cost_names), discount,
        int(np.random.SeedSequence([config.seed, crc32(name.encode())]).generate_state(1)[0]), env.encoder.size,
        sum(widths), config.iterations, config.cost_limits, config.device,
        dict(enumerate(accumulate(widths[:-1], initial=0))))
    made: Algorithm = algorithm_class(config.algo)(setting, config.algorithm_options())
    return made


def _shape(env: Any, name: str, algorithm: Algorithm) -> Shape:
    spec = env.specs[env.groups[name][0]]
    needs = algorithm.needs
    n_hidden = Description.of(algorithm.actor_description()).n_hidden
    return Shape(spec.size, spec.action.width, len(env.cost_names), sum(spec.action.counts),
                 env.encoder.size if "joint" in needs else 0,
                 sum(s.action.width for s in env.specs) if "joint_action" in needs else 0, n_hidden)


def _adopt(folder: Path, algorithms: Mapping[str, Algorithm], env: Any) -> None:
    """Actors begin with those of a bundle, group by group; TrainingError where it is for other agents or networks."""
    bundle = Bundle.load(folder)
    for name, algorithm in algorithms.items():
        try:
            found = bundle.group(name)
            differing = found.differences(normalised(env.specs[env.groups[name][0]]))
            if not differing:
                algorithm.adopt(dict(found.weights))
        except (BundleError, NetworkError) as error:
            differing = [str(error)]
        if differing:
            raise TrainingError(f"bundle {folder}: group '{name}' cannot begin with it (there, here): "
                                f"{'; '.join(differing[:8])}; expected one of the same agents and networks; `gridloop "
                                f"train --from` carries another one over, by name")


def collector(assembly: Assembly, logs: Path) -> Collector:
    """Collection as configured."""
    collection = assembly.config.collection
    if collection.workers == 0:
        return LocalCollector(assembly.plan)
    if collection.engine is Engine.RAY:
        from policies.training.ray_engine import RayCollector  # ray is optional

        return RayCollector(assembly.plan, collection.workers, collection.timeout_s)
    return ProcessCollector(assembly.plan, collection.workers, collection.timeout_s, logs)


def bundle_of(assembly: Assembly, training: Mapping[str, Any]) -> Bundle:
    """The policies as they are now."""
    groups = {}
    for name, algorithm in assembly.algorithms.items():
        members = tuple(normalised(assembly.env.specs[i]) for i in assembly.env.groups[name])
        groups[name] = GroupBundle(members[0], Description.of(algorithm.actor_description()),
                                   algorithm.actor_weights(), members=members)
    loaded = getattr(assembly.env, "loaded", None)
    scenario, shield = {}, {}
    if loaded is not None:
        scenario = {"name": loaded.scenario.name, "digest": scenario_digest(loaded)}
        shield = loaded.scenario.shield.model_dump(mode="json")
    return Bundle(groups, scenario, shield, assembly.discount.model_dump(), training)
