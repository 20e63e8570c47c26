"""A bundle carried over to another scenario: what both have keeps its weights, by name; the rest begins from nothing.

Inputs are matched by the names of an encoded observation (`LearnerSpec.names`: features in every frame, extras),
outputs by the names of setpoints, of levels and of choices.  What is new on the way in has weights of zero and a
neutral norm: it changes nothing until training gives it a meaning.  What is new on the way out answers the middle of
its range.  What is gone is dropped.

A feature in another scale: powers and energies keep their share of the range (a plant twice as large is read per unit),
everything else keeps its value (0.97 pu stays 0.97 pu, a second a second), exactly, through the norm or the weights.  A
setpoint in another range keeps its share of the range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.encoding import LearnerSpec
from cosim.errors import GridloopError
from policies.bundle import Bundle, GroupBundle, normalised
from policies.description import Description

#: Logarithm of the standard deviation of a new number, as of a new network.
NEW_LOG_STD = -0.5
#: Observations that the running norm counts as having seen, at most, where there are new ones: they are soon known too.
NORM_COUNT_MAX = 10_000.0

_PER_UNIT = ("kW", "kvar", "kVA", "kWh")

Floats = NDArray[np.float32]
Pairs = list[tuple[int, int]]


class TransferError(GridloopError):
    """A bundle that has nothing in common with a scenario's learners."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of one input or output: `fate` is kept, rescaled, new or gone; `note` says how."""

    group: str
    side: str
    name: str
    fate: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Matched:
    """Places of equal names: (there, here), and what became of everything."""

    pairs: Pairs
    moved: tuple[Moved, ...]


def transfer(bundle: Bundle, specs: Mapping[str, Sequence[LearnerSpec]]) -> tuple[Bundle, tuple[Moved, ...]]:
    """The bundle for other learners (`specs` of every group's members), and what became of everything.

    A group takes over the group of its name, or the only one.  Raises TransferError where a group finds none, or
    nothing that it sees or does is known to the bundle.
    """
    groups: dict[str, GroupBundle] = {}
    moved: list[Moved] = []
    for name, members in specs.items():
        found = bundle.groups.get(name)
        if found is None and len(bundle.groups) == 1:
            found = next(iter(bundle.groups.values()))
        if found is None:
            raise TransferError(f"group '{name}' of the scenario is not in the bundle, which has "
                                f"{', '.join(bundle.groups)}; give the groups equal names (learn.group)")
        groups[name], of_group = _carried(name, found, tuple(map(normalised, members)))
        moved += of_group
    return replace(bundle, groups=groups), tuple(moved)


def _carried(group: str, found: GroupBundle, members: tuple[LearnerSpec, ...]) -> tuple[GroupBundle, list[Moved]]:
    spec = members[0]
    inputs = _match(group, "in", found.spec.names, spec.names)
    numbers = _match(group, "out", [found.spec.action.setpoints[i].name for i in found.spec.action.continuous],
                     [spec.action.setpoints[i].name for i in spec.action.continuous])
    alternatives = _match(group, "out", _alternatives(found.spec), _alternatives(spec))
    if not inputs.pairs or not (numbers.pairs or alternatives.pairs):
        side = "sees" if not inputs.pairs else "does"
        raise TransferError(f"group '{group}': nothing that it {side} is known to the bundle")
    network = replace(found.network, n_in=spec.size, n_continuous=len(spec.action.continuous),
                      counts=spec.action.counts)
    weights = {name: np.zeros(shape, np.float32) for name, shape in network.shapes.items()}
    weights |= {name: np.array(array) for name, array in found.weights.items()
                if name in weights and weights[name].shape == array.shape}
    scales = _scales(found.spec, spec, inputs)
    _move_inputs(found, network, weights, inputs.pairs, scales)
    _move_outputs(found, network, weights, numbers.pairs, alternatives.pairs)
    rescaled = [_rescaled(entry, *scales[here]) for entry, (_, here) in zip(
        inputs.moved, inputs.pairs, strict=False) if entry.fate == "kept"]
    others = [entry for entry in inputs.moved if entry.fate != "kept"]
    ranges = [_ranged(entry, found.spec, spec) for entry in (*numbers.moved, *alternatives.moved)]
    return GroupBundle(spec, network, weights, members=members), [*rescaled, *others, *ranges]


def _match(group: str, side: str, there: Sequence[str], here: Sequence[str]) -> _Matched:
    """By name; in the table what is kept comes first, in the order of `pairs`."""
    place = {name: i for i, name in enumerate(there)}
    pairs = [(place[name], i) for i, name in enumerate(here) if name in place]
    known = set(here)
    moved = [Moved(group, side, here[i], "kept") for _, i in pairs]
    moved += [Moved(group, side, name, "new") for name in here if name not in place]
    moved += [Moved(group, side, name, "gone") for name in there if name not in known]
    return _Matched(pairs, tuple(moved))


def _alternatives(spec: LearnerSpec) -> list[str]:
    """A name for every alternative of all discrete parts, in the order of the network's logits."""
    action = spec.action
    if action.choices:
        return list(action.choice_names)
    return [f"{action.setpoints[i].name} = {level:g}" for i in action.discrete for level in action.setpoints[i].levels]


# -- scales -----------------------------------------------------------------------------------------------------------


def _scales(there: LearnerSpec, here: LearnerSpec, inputs: _Matched) -> dict[int, tuple[float, float, str]]:
    """(a, b, note) of inputs here: what the bundle's network would have seen is a x + b."""
    theirs, ours = _affine(there), _affine(here)
    names = here.names
    found = {}
    for _, i in inputs.pairs:
        (c0, h0, unit), (c1, h1, _) = theirs.get(names[i], (0.0, 1.0, "")), ours.get(names[i], (0.0, 1.0, ""))
        if (c0, h0) == (c1, h1):
            found[i] = (1.0, 0.0, "")
        elif unit in _PER_UNIT:
            found[i] = (1.0, 0.0, f"±{h0:g} is ±{h1:g} {unit} here: the same share of the range")
        else:
            found[i] = (h1 / h0, (c1 - c0) / h0, f"{c0 - h0:g} to {c0 + h0:g} is {c1 - h1:g} to {c1 + h1:g} {unit} "
                                                 f"here: the same value".replace("  ", " "))
    return found


def _affine(spec: LearnerSpec) -> dict[str, tuple[float, float, str]]:
    """(centre, half width, unit) of every input that is a number with a unit; flags and circles have none."""
    found = dict.fromkeys(("age", "dt"), (0.0, spec.period_s, "s"))  # what was done last is a share of its range
    for feature in spec.features:
        scale = (feature.center, feature.half_width, feature.unit)
        found |= {feature.name if not k else f"{feature.name}[-{k}]": scale for k in range(spec.history)}
    return found


def _rescaled(entry: Moved, a: float, b: float, note: str) -> Moved:
    return entry if not note else replace(entry, fate="rescaled" if (a, b) != (1.0, 0.0) else "kept", note=note)


def _ranged(entry: Moved, there: LearnerSpec, here: LearnerSpec) -> Moved:
    old, new = (next((s for s in spec.action.setpoints if s.name == entry.name), None) for spec in (there, here))
    if entry.fate != "kept" or old is None or new is None or (old.low, old.high) == (new.low, new.high):
        return entry
    return replace(entry, note=f"{old.low:g} to {old.high:g} is {new.low:g} to {new.high:g} {new.unit} here: the same "
                               f"share of the range")


# -- weights ----------------------------------------------------------------------------------------------------------


def _move_inputs(found: GroupBundle, network: Description, weights: dict[str, Any], pairs: Pairs,
                 scales: Mapping[int, tuple[float, float, str]]) -> None:
    """Columns of the first layer and entries of the norm, with changes of scale worked in."""
    there, here = (np.array(places, np.int64) for places in zip(*pairs, strict=True))
    a = np.array([scales[i][0] for i in here.tolist()])
    b = np.array([scales[i][1] for i in here.tolist()])
    first = "gru/weight_ih" if network.kind == "gru" and len(network.hidden) == 1 else "body/0/weight"
    old = found.weights[first][:, there].astype(np.float64)
    matrix = np.zeros((len(old), network.n_in), np.float32)
    if network.normalise:
        mean, std = np.zeros(network.n_in, np.float32), np.ones(network.n_in, np.float32)
        mean[here] = (found.weights["norm/mean"][there] - b) / a
        std[here] = found.weights["norm/std"][there] / a
        weights |= {"norm/mean": mean, "norm/std": std}
        if len(here) < network.n_in:
            weights["norm/count"] = np.minimum(weights["norm/count"], np.float32(NORM_COUNT_MAX))
        matrix[:, here] = old
    else:
        matrix[:, here] = old * a
        bias = first.replace("weight", "bias")
        weights[bias] = (weights[bias] + old @ b).astype(np.float32)
    weights[first] = matrix


def _move_outputs(found: GroupBundle, network: Description, weights: dict[str, Any], numbers: Pairs,
                  alternatives: Pairs) -> None:
    """Rows of the head: means, then (tanh_gaussian) log standard deviations, then alternatives."""
    before, squashed = found.network, network.head == "tanh_gaussian"
    rows = list(numbers)
    if squashed:
        rows += [(before.n_continuous + i, network.n_continuous + k) for i, k in numbers]
    rows += [(before.n_mean + i, network.n_mean + k) for i, k in alternatives]
    head = np.zeros(network.shapes["head/weight"], np.float32)
    bias = np.zeros(network.shapes["head/bias"], np.float32)
    if squashed:
        bias[network.n_continuous:network.n_mean] = NEW_LOG_STD
    for i, k in rows:
        head[k], bias[k] = found.weights["head/weight"][i], found.weights["head/bias"][i]
    weights |= {"head/weight": head, "head/bias": bias}
    if "log_std" in network.shapes:
        log_std = np.full(network.n_continuous, NEW_LOG_STD, np.float32)
        for i, k in numbers:
            log_std[k] = found.weights["log_std"][i]
        weights["log_std"] = log_std
