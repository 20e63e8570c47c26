"""One environment's place in memory that a worker process and its owner share: plain arrays, no pickle.

The owner writes actions while the worker waits, the worker everything else while the owner waits (`cosim.env.workers`
says whose turn it is), so there are no locks.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.env.event import Decision
from cosim.env.faces import Faces
from cosim.points import Vector

#: Structured arrays: a record (or several) of `shot_type` or `slot_type`.
Records = NDArray[np.void]


def shot_type(faces: Faces) -> np.dtype[np.void]:
    """What there is to know after a step.  `mask` holds the choices of all learners that have masks, in order;
    `terms` the values of all learners' terms."""
    core = faces.core
    n = len(core.names)
    return np.dtype([
        ("observation", "f4", (core.encoder.size,)), ("mask", "i1", (sum(mask_counts(faces)),)),
        ("reward", "f8", (n,)), ("cost", "f8", (n, len(core.cost_names))), ("terms", "f8", (faces.n_term,)),
        ("dt", "f8", (n,)), ("age", "f8", (n,)), ("due", "?", (n,)), ("terminated", "?", (n,)), ("truncated", "?"),
        ("ended", "?"), ("t_us", "i8")], align=True)


def slot_type(faces: Faces) -> np.dtype[np.void]:
    """`now` and, where an episode ended in this step and the next has begun (`renewed`), its `final` state; `rows` are
    actions of all learners side by side, `given` (n,) whose are there."""
    shot = shot_type(faces)
    widths = sum(spec.action.width for spec in faces.core.specs)
    return np.dtype([("now", shot), ("final", shot), ("renewed", "?"), ("rows", "f8", (widths,)),
                     ("given", "?", (len(faces.core.names),))], align=True)


def mask_counts(faces: Faces) -> list[int]:
    """Number of choices of each learner in `mask`; 0 for one without masks."""
    return [sum(spec.action.counts) if masked else 0
            for spec, masked in zip(faces.core.specs, faces.masked, strict=True)]


def parts(counts: list[int]) -> list[slice]:
    """Places of consecutive pieces of these lengths."""
    ends = np.cumsum([0, *counts]).tolist()
    return [slice(a, b) for a, b in pairwise(ends)]


class Slot:
    """A worker's view of one record of `slot_type`."""

    def __init__(self, faces: Faces, record: Any) -> None:
        self._faces, self._record = faces, record
        self._widths = parts([spec.action.width for spec in faces.core.specs])
        self._masked = [i for i, masked in enumerate(faces.masked) if masked]

    def rows(self) -> dict[int | str, Vector]:
        """Actions of learners that are due and have one."""
        wanted = np.flatnonzero(self._faces.core.last.due & self._record["given"]).tolist()
        return {i: self._record["rows"][self._widths[i]].copy() for i in wanted}

    def write(self, decision: Decision) -> None:
        """What there is to know now."""
        now, faces = self._record["now"], self._faces
        now["observation"], now["reward"], now["cost"] = decision.observation, decision.reward, decision.cost
        now["dt"], now["age"], now["due"] = decision.dt_s, faces.ages(decision), decision.due
        now["terminated"], now["truncated"] = decision.terminated, decision.truncated
        now["ended"], now["t_us"] = decision.ended, decision.t_us
        if faces.n_term:
            now["terms"] = faces.term_values()
        if self._masked:
            now["mask"] = np.concatenate([faces.mask(i) for i in self._masked])
        self._record["renewed"] = False

    def renew(self) -> None:
        """What is there now is the final state of an episode; the next one is written over it."""
        self._record["final"] = self._record["now"]

    def renewed(self) -> None:
        """The next episode's first state is written."""
        self._record["renewed"] = True
