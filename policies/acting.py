"""Trained policies in a run: ``policy: {kind: torch|onnx|numpy, bundle: folder}``.

Theory of operation
-------------------
The agent's specification comes from the scenario, as in training; a bundle made for another one is refused with every
difference named.  What is seen is encoded as the environment encodes it, with what it shows at a decision (due = 1,
time since the own last decision, last action), so a policy in a run decides as it did in its environment.  The network
(`policies.inference`) only gives numbers; `Answers` makes actions of them, alike for all three kinds:

* ``torch`` computes as in training; ``onnx`` needs `onnxruntime` and the file that `policies.export` writes; ``numpy``
  needs neither.

A number that is not finite holds its whole action: it is counted by agent for the run's summary, and recorded (event
``action_held``) and logged once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from cosim.encoding import ActionCodec, Encoder, LearnerSpec, Senses
from cosim.errors import PluginError
from cosim.plugins import PluginConfig, Situation
from cosim.points import Vector
from policies.bundle import BundleError, GroupBundle, normalised
from policies.description import NetworkError
from policies.inference import Network, bundle_of, network_of, stamp_of
from policies.numpy_actor import Floats

logger = logging.getLogger(__name__)

#: Differences of specifications that a message shows.
_SHOWN = 40
#: Letters of an event's detail.
_LONGEST = 400


class _Trained(PluginConfig):
    """Options of every trained policy."""

    kind: str
    bundle: str = Field(min_length=1, max_length=4_096, description="Folder of the bundle, from the scenario's own.")
    group: str | None = Field(None, description="Which of its policies (default: the agent's group, or the only one).")
    deterministic: bool = Field(True, description="Act at best; false: at random, as the policy has learned to.")


class TrainedPolicy:
    """One agent's trained policy."""

    family: ClassVar[str] = "policy"
    kind: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    learned: ClassVar[bool] = True
    Config: ClassVar[type[PluginConfig]]

    def __init__(self, network: Network, spec: LearnerSpec, situation: Situation,
                 rng: np.random.Generator | None) -> None:
        self._has_held = False
        self._network, self._situation, self._rng = network, situation, rng
        self._spec, self._codec, self._encoder = spec, ActionCodec(spec.action), Encoder([spec])
        self._n = len(spec.features)
        self._has_seen, self._has_quality = self._encoder.wants("age"), self._encoder.wants("quality")
        self._shown = np.zeros(len(spec.action.setpoints)) if self._encoder.wants("last_action") else None
        self._senses = Senses(np.zeros(1), np.ones(1, bool), np.zeros(1), None, self._shown)
        self._open = situation.open_choices()
        self._hidden: Floats | None = None
        self._decided_us = 0
        self._all = np.ones(1, bool)

    @classmethod
    def build(cls, config: Any, situation: Situation) -> Self:
        """The policy of one agent; raises PluginError for a bundle that cannot be read or is for another agent."""
        folder = situation.base_dir / config.bundle
        spec = normalised(situation.learner())
        try:
            stamp = stamp_of(folder)
            bundle = bundle_of(folder, stamp)
            name = bundle.group_for(spec.group, config.group)
            _refuse_other(folder, bundle.group(name), spec)
            network = network_of(cls.kind, folder, name, stamp)
        except (BundleError, NetworkError) as error:
            raise PluginError(f"policy {cls.kind}: {error}") from None
        _tell_shield(folder, bundle.shield, situation.shield)
        return cls(network, spec, situation, None if config.deterministic else situation.rng("policy"))

    def act(self, observation: Vector, t_us: int) -> Vector:
        """Setpoints (n_setpoint,) in engineering units; NaN: left alone."""
        if len(observation) != self._n:
            raise PluginError(f"agent '{self._situation.name}': its trained policy sees {self._n} points, and was "
                              f"shown {len(observation)} (as a `fallback` it cannot see `acknowledged` ones)")
        flat = self._encoder.encode(observation, self._sensed(t_us))
        masks = None if self._open is None else self._open()[None]
        rows, self._hidden = self._network.decide(flat[None], self._hidden, masks, self._rng)
        setpoints = self._codec.decode(rows[0].astype(np.float64))
        if np.isnan(rows[0]).all():
            self._tell_held()
        if self._shown is not None:
            self._shown[:] = self._codec.shown(setpoints)
        self._encoder.remember(observation, self._all)
        self._decided_us = t_us
        return setpoints

    def _sensed(self, t_us: int) -> Senses:
        """What there is to know besides the points, as in the environment at a decision."""
        senses, situation = self._senses, self._situation
        if self._has_seen or self._has_quality:
            senses.age_s[0], quality = situation.senses()
            senses.quality = quality if self._has_quality else None
        senses.dt_s[0] = (t_us - self._decided_us) / 1e6
        senses.clock_us = situation.clock_us(t_us)
        return senses

    def _tell_held(self) -> None:
        names = ", ".join(setpoint.name for setpoint in self._spec.action.setpoints)
        self._situation.held(f"its trained policy answered numbers that are not finite; held: {names}"[:_LONGEST])
        if not self._has_held:
            self._has_held = True
            logger.warning("agent %s: its trained policy answered numbers that are not finite; the setpoints are held",
                           self._situation.name)


class Torch(TrainedPolicy):
    """A bundle computed by torch."""

    kind: ClassVar[str] = "torch"
    summary: ClassVar[str] = "a trained bundle, computed by torch (extra [rl])"

    class Config(_Trained):
        """Options of `torch`."""

        kind: Literal["torch"] = "torch"


class Onnx(TrainedPolicy):
    """A bundle computed by onnxruntime."""

    kind: ClassVar[str] = "onnx"
    summary: ClassVar[str] = "a trained and exported bundle, computed by onnxruntime (extra [onnx])"

    class Config(_Trained):
        """Options of `onnx`."""

        kind: Literal["onnx"] = "onnx"


class Numpy(TrainedPolicy):
    """A bundle computed by NumPy."""

    kind: ClassVar[str] = "numpy"
    summary: ClassVar[str] = "a trained bundle, computed by NumPy"

    class Config(_Trained):
        """Options of `numpy`."""

        kind: Literal["numpy"] = "numpy"


# -- whether it fits --------------------------------------------------------------------------------------------------


def _refuse_other(folder: Path, trained: GroupBundle, here: LearnerSpec) -> None:
    found = trained.differences(here)
    if found:
        more = f"\n  … and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        listed = "".join(f"\n  {line}" for line in found[:_SHOWN])
        raise BundleError(f"{folder}: was trained for another agent than '{here.agent}'; in the bundle and in the "
                          f"scenario:{listed}{more}")


def _tell_shield(folder: Path, trained: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Say once where the shield differs from the one of training: the policy may act, but was not tried so."""
    if not trained:
        return
    differing = tuple(f"{key}: {trained.get(key)} and {here.get(key)}" for key in sorted({*trained, *here})
                      if trained.get(key) != here.get(key))
    if differing:
        _warn_once(f"{folder}: trained behind another shield; in the bundle and in the scenario: "
                   f"{'; '.join(differing)}")


@lru_cache(maxsize=256)
def _warn_once(text: str) -> None:
    """A hundred agents of one bundle have one thing to say."""
    logger.warning("%s", text)
