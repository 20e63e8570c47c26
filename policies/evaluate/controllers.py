"""Who decides for the learners in an evaluation: the scenario's own policies, a bundle, a curve, chance, nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cosim.agents.policies import VOLT_VAR_CATEGORY_B
from cosim.encoding import ActionCodec
from cosim.env.event import EventEnv
from cosim.errors import GridloopError
from cosim.kernel import Kernel
from cosim.points import Vector
from policies.bundle import ABOUT, Bundle, GroupBundle, normalised, standing
from policies.inference import Network
from policies.numpy_actor import NumpyActor

#: Controllers that have a name; any other word is the folder of a bundle.
NAMES = ("as_is", "none", "droop", "random")

#: Setpoints (n_setpoint,) in engineering units by index of a learner.
Setpoints = dict[int, Vector]


class ControllerError(GridloopError):
    """A controller that the scenario has no use for."""


class Deciding(Protocol):
    """A controller at work in one environment."""

    def begin(self, seed: int, /) -> None:
        """A new episode."""

    def decide(self) -> Setpoints:
        """Setpoints of learners that are due; what is left out stays as it was."""


@dataclass(frozen=True, slots=True)
class Controller:
    """A controller by its kind (one of `NAMES`, or ``bundle`` with its folder) and what results call it."""

    name: str
    kind: str
    folder: str = ""

    def at_work(self, env: EventEnv) -> Deciding:
        """In this environment; raises ControllerError or BundleError where it does not fit."""
        return _Trained(env, self.folder) if self.kind == "bundle" else _PLAIN[self.kind](env)


def named(text: str) -> Controller:
    """The controller of that name, or the bundle in that folder; raises ControllerError for neither."""
    if text in NAMES:
        return Controller(text, text)
    if not (standing(Path(text)) / ABOUT).is_file():
        raise ControllerError(f"controller {text!r:.80}: neither one of {', '.join(NAMES)} nor a folder with a bundle")
    return Controller("/".join(Path(text).parts[-2:]) or text, "bundle", text)


class _Nobody:
    """Leaves everything as it is."""

    def __init__(self, _env: EventEnv) -> None:
        """Needs nothing."""

    def begin(self, _seed: int) -> None:
        """Nothing to forget."""

    def decide(self) -> Setpoints:
        """Nothing."""
        return {}


class _AsIs:
    """The scenario's own policies, trained ones among them."""

    def __init__(self, env: EventEnv) -> None:
        self._env = env
        self._trained = [_trained(env, i, agent.policy) for i, agent in enumerate(env.agents)]

    def begin(self, seed: int) -> None:
        for actors in self._trained:
            if actors is not None:
                actors.begin(seed)

    def decide(self) -> Setpoints:
        env = self._env
        found = env.scripted()
        for i in np.flatnonzero(env.last.due).tolist():
            actors = self._trained[i]
            if actors is not None:
                found |= actors.decide_for([i])
        return found


def _trained(env: EventEnv, i: int, policy: Mapping[str, Any]) -> _Trained | None:
    """The bundle of a learner whose policy is a trained one."""
    kind = env.loaded.registry.get("policy", str(policy.get("kind")))
    if not getattr(kind, "learned", False):
        return None
    config = kind.Config.model_validate(dict(policy))
    return _Trained(env, str(env.loaded.base_dir / config.bundle), (i,), config.group, draws=not config.deterministic)


class _Chance:
    """Every number and alternative (that is open) as likely as any other."""

    def __init__(self, env: EventEnv) -> None:
        self._env, self._codecs = env, _codecs(env)

    def begin(self, seed: int) -> None:
        self._rng = Kernel(seed).rng("evaluate.random")

    def decide(self) -> Setpoints:
        return {i: self._row(i) for i in np.flatnonzero(self._env.last.due).tolist()}

    def _row(self, i: int) -> Vector:
        numbers = self._rng.uniform(-1.0, 1.0, len(self._env.specs[i].action.continuous))
        parts = self._env.masks(i) or []
        index = [self._rng.choice(np.flatnonzero(part)) if part.any() else np.nan for part in parts]
        return self._codecs[i].decode(np.concatenate([numbers, index]))


class _Droop:
    """IEEE 1547-2018 category B volt-var wherever a learner commands reactive power and sees a voltage.

    ``<device>.q_set_kvar`` goes by ``<device>.v_pu`` where that is seen, else by the only voltage that is; the curve is
    a fraction of the setpoint's upper bound.  Everything else is left alone.
    """

    def __init__(self, env: EventEnv) -> None:
        self._env = env
        self._laws = [_volt_var(spec.features, spec.action.setpoints) for spec in env.specs]
        self._volts, self._shares = np.array(VOLT_VAR_CATEGORY_B).T
        if not any(self._laws):
            raise ControllerError("controller droop: no learner commands a *.q_set_kvar and sees a voltage; leave it "
                                  "out")

    def begin(self, _seed: int) -> None:
        """No memory."""

    def decide(self) -> Setpoints:
        env = self._env
        found: Setpoints = {}
        for i in np.flatnonzero(env.last.due).tolist():
            agent = env.simulation.crew.agents[env.names[i]]
            seen, setpoints = agent.look(), env.specs[i].action.setpoints
            values = np.full(len(setpoints), np.nan)
            for k, place in self._laws[i]:
                values[k] = np.interp(seen[place], self._volts, self._shares) * setpoints[k].high
            found[i] = values
        return found


def _volt_var(features: Any, setpoints: Any) -> list[tuple[int, int]]:
    """(setpoint, feature) of every reactive power that has a voltage to go by."""
    volts = {feature.name: i for i, feature in enumerate(features) if feature.name.endswith("v_pu")}
    only = next(iter(volts.values())) if len(volts) == 1 else None
    found = []
    for k, setpoint in enumerate(setpoints):
        if not fnmatchcase(setpoint.name, "*.q_set_kvar") or not np.isfinite(setpoint.high):
            continue
        place = volts.get(setpoint.name.removesuffix("q_set_kvar") + "v_pu", only)
        if place is not None:
            found.append((k, place))
    return found


class _Trained:
    """A bundle's actors, each learner with a memory of its own: at their best, or drawing as a run would."""

    def __init__(self, env: EventEnv, folder: str, members: tuple[int, ...] | None = None, group: str | None = None, *,
                 draws: bool = False) -> None:
        self._env, self._codecs, self._draws = env, _codecs(env), draws
        bundle = Bundle.load(Path(folder))
        members = tuple(range(len(env.names))) if members is None else members
        self._group = {i: bundle.group_for(env.specs[i].group, group) for i in members}
        for i in members:
            _check_fit(folder, bundle.group(self._group[i]), env, i)
        self._actors = {name: NumpyActor(bundle.group(name).network, bundle.group(name).weights)
                        for name in dict.fromkeys(self._group.values())}
        self._memory: dict[int, NDArray[np.float32]] = {}
        self._rngs: dict[int, np.random.Generator] = {}

    def begin(self, _seed: int) -> None:
        self._memory = {}
        site = self._env.simulation.site  # the stream of `cosim.simulation.situation`: the draws of a run
        self._rngs = {i: site.rng(f"agent.{self._env.names[i]}.policy") for i in self._group} if self._draws else {}

    def decide(self) -> Setpoints:
        return self.decide_for(np.flatnonzero(self._env.last.due).tolist())

    def decide_for(self, due: list[int]) -> Setpoints:
        """Setpoints of some learners, a group at a time."""
        found: Setpoints = {}
        for name, actor in self._actors.items():
            who = [i for i in due if self._group[i] == name]
            if self._draws:  # each from a stream of its own
                for i in who:
                    found |= self._answers(actor, [i])
            elif who:
                found |= self._answers(actor, who)
        return found

    def _answers(self, actor: NumpyActor, who: list[int]) -> Setpoints:
        env = self._env
        obs = np.stack([env.last.observation[env.encoder.slices[i]] for i in who])
        parts = [env.masks(i) for i in who]
        masks = np.stack([np.concatenate(part) for part in parts if part is not None]) if parts[0] is not None else None
        hidden = None
        if actor.description.n_hidden:
            empty = np.zeros(actor.description.n_hidden, np.float32)
            hidden = np.stack([self._memory.get(i, empty) for i in who])
        rows, after = Network(actor.outputs, actor.answers).decide(obs, hidden, masks, self._rngs.get(who[0]))
        if after is not None:
            self._memory |= dict(zip(who, after, strict=True))
        return {i: self._codecs[i].decode(row) for i, row in zip(who, rows.astype(np.float64), strict=True)}


def _check_fit(folder: str, trained: GroupBundle, env: EventEnv, i: int) -> None:
    differs = trained.differences(normalised(env.specs[i]))
    if differs:
        more = f"; and {len(differs) - 8} more" if len(differs) > 8 else ""
        raise ControllerError(f"{folder}: trained for something else than agent '{env.names[i]}' is (in the bundle, in "
                              f"the scenario): {'; '.join(differs[:8])}{more}; `gridloop train --from` carries it over")


def _codecs(env: EventEnv) -> list[ActionCodec]:
    """Of a network's rows, whatever units the scenario's own actions have."""
    return [ActionCodec(normalised(spec).action) for spec in env.specs]


_PLAIN: dict[str, Callable[[EventEnv], Deciding]] = {
    "as_is": _AsIs, "none": _Nobody, "droop": _Droop, "random": _Chance}
