"""Networks of bundles made ready to compute, in torch, onnxruntime or NumPy: read once, shared by a run's agents.

torch and onnxruntime are imported when a network of theirs is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from policies.bundle import ABOUT, WEIGHTS, Bundle, BundleError, GroupBundle, onnx_file, read_limited, standing
from policies.description import Description
from policies.numpy_actor import Answers, Floats, Masks, NumpyActor

#: Observations (n, n_in) and memory (n, n_hidden) or None to the head's numbers (n, n_out) and the memory after.
Forward = Callable[[Floats, Floats | None], tuple[Floats, Floats | None]]

#: Largest network that is read from an ONNX file.
MAX_ONNX_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Network:
    """A network ready to compute; `answers` makes actions of its numbers."""

    forward: Forward
    answers: Answers

    def decide(self, observations: Floats, hidden: Floats | None = None, masks: Masks | None = None,
               rng: np.random.Generator | None = None) -> tuple[Floats, Floats | None]:
        """Action rows (n, width) and the memory after them: at best, or drawn where there is an `rng`.

        Numbers that are not finite hold their whole action, a row of NaN; its memory begins anew, as one that is not
        finite stays so for ever.
        """
        outputs, after = self.forward(observations, hidden)
        finite: Masks = np.asarray(np.isfinite(outputs).all(1))
        if finite.all():
            return self._acted(outputs, masks, rng), after
        rows = np.full((len(outputs), self.answers.width), np.nan, np.float32)
        if finite.any():
            rows[finite] = self._acted(outputs[finite], None if masks is None else masks[finite], rng)
        return rows, None if after is None else np.where(finite[:, None], after, np.float32(0))

    def _acted(self, outputs: Floats, masks: Masks | None, rng: np.random.Generator | None) -> Floats:
        return self.answers.best(outputs, masks) if rng is None else self.answers.drawn(outputs, rng, masks)[0]


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which files a network was read from: another stamp, another network."""

    sizes: tuple[int, ...]
    times_ns: tuple[int, ...]


def stamp_of(folder: Path) -> Stamp:
    """Of the files that are there."""
    folder = standing(folder)
    try:
        found = [file.stat() for file in (folder / ABOUT, folder / WEIGHTS, *sorted(folder.glob("*.onnx")))
                 if file.exists()]
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder}: cannot be read ({error})") from None
    return Stamp(tuple(stat.st_size for stat in found), tuple(stat.st_mtime_ns for stat in found))


@lru_cache(maxsize=16)
def bundle_of(folder: Path, stamp: Stamp) -> Bundle:  # noqa: ARG001  # a part of the key
    """What a bundle is, without its weights; read once for all its agents, and again when its files have changed."""
    return Bundle.load(folder, weights=False)


@lru_cache(maxsize=64)
def network_of(kind: str, folder: Path, group: str, stamp: Stamp) -> Network:
    """A network, shared by all agents of a group."""
    if kind == "onnx":
        return onnx_network(onnx_file(standing(folder), group), bundle_of(folder, stamp).group(group))
    mine = Bundle.load(folder).group(group)
    weights = mine.weights
    explore = float(weights["explore"]) if "explore" in weights else 0.0
    answers = Answers(mine.network, weights.get("log_std"), explore)
    return Network(_torch_forward(mine) if kind == "torch" else NumpyActor(mine.network, weights).outputs, answers)


def _torch_forward(group: GroupBundle) -> Forward:
    try:
        import torch

        from policies.networks import Actor, set_weights
    except ImportError as error:
        raise BundleError(f"this kind needs torch ({error}): pip install 'gridloop[rl]', or use kind onnx or "
                          f"numpy") from None
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and no draw of the trainer's may be used up
        actor = Actor(group.network)
    set_weights(actor, group.weights)

    def forward(observations: Floats, hidden: Floats | None) -> tuple[Floats, Floats | None]:
        with torch.inference_mode():
            memory = None if hidden is None else torch.from_numpy(hidden)
            outputs, memory = actor.outputs(torch.from_numpy(observations), memory)
        return outputs.numpy(), None if memory is None else memory.numpy()

    return forward


def onnx_network(file: Path, group: GroupBundle) -> Network:
    """The network in an ONNX file, which must be one for this group; BundleError for anything else."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BundleError(f"this kind needs onnxruntime ({error}): pip install 'gridloop[onnx]'") from None
    if not file.is_file():
        raise BundleError(f"{file}: there is none; write it with `gridloop export`, or use kind torch or numpy")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # one decision is too small to share
    description, content = group.network, read_limited(file, MAX_ONNX_BYTES)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        forward = _session_forward(session, description)
        tried, _ = forward(np.zeros((1, description.n_in), np.float32), None)
        empty = {item.name: np.zeros([n if isinstance(n, int) else 1 for n in item.shape], np.float32)
                 for item in session.get_inputs()}
        log_std, explore = (session.run([name], empty)[0] if name in description.shapes else None
                            for name in ("log_std", "explore"))
    except Exception as error:  # onnxruntime has exceptions of its own for every kind of damage, without a common base
        raise BundleError(f"{file}: not a network for this bundle, or damaged ({str(error)[:200]})") from None
    expected = (1, description.n_mean + description.n_logit)
    if tried.shape != expected:
        raise BundleError(f"{file}: the network answers {tried.shape}; expected {expected}")
    return Network(forward, Answers(description, log_std, 0.0 if explore is None else float(explore)))


def _session_forward(session: Any, description: Description) -> Forward:
    n_hidden = description.n_hidden

    def forward(observations: Floats, hidden: Floats | None) -> tuple[Floats, Floats | None]:
        if not n_hidden:
            return session.run(["outputs"], {"observation": observations})[0], None
        before = np.zeros((len(observations), n_hidden), np.float32) if hidden is None else hidden
        outputs, after = session.run(["outputs", "hidden_after"], {"observation": observations, "hidden": before})
        return outputs, after

    return forward
