"""Every radial configuration of a feeder and its losses, worked out without the engine.

A configuration is a set of closed branches that form a tree.  In a tree the branch currents follow from the bus
currents alone: with the reduced incidence matrix A (n, n) of the tree's branches and buses without the slack, and
T = A⁻¹, the currents are i = -T' j and the voltages v = v0 - T z i.  Iterating j = conj(s / v) from a flat start is the
backward/forward sweep (Shirmohammadi et al., IEEE Trans. Power Systems 3 (2), 1988), here for a thousand trees at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from cosim.grid import load_network

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AT_ONCE = 1_000
SWEEPS, TOLERANCE_PU = 100, 1e-12
#: A tree whose voltages still move by more than this after all sweeps has no solution that is found.
STANDS_PU = 1e-9


@dataclass(frozen=True, slots=True)
class Feeder:
    """Branches (m) and buses (n + 1, the slack first): impedances and consumption in per unit."""

    incidence: Floats
    """(m, n + 1): +1 at the from end, -1 at the to end."""
    z: NDArray[np.complex128]
    s: NDArray[np.complex128]
    base_kva: float


def case33bw() -> Feeder:
    """Baran and Wu's feeder."""
    network = load_network("case33bw")
    branches, n_bus = network.branches, len(network.bus_names)
    count = len(network.line_names)
    incidence = np.zeros((count, n_bus))
    incidence[np.arange(count), branches.from_bus[:count]] = 1.0
    incidence[np.arange(count), branches.to_bus[:count]] = -1.0
    base_kva = network.base_mva * 1e3
    s = np.zeros(n_bus, complex)
    np.add.at(s, network.loads.bus, -(network.loads.p_kw + 1j * network.loads.q_kvar) / base_kva)
    return Feeder(incidence, branches.lines.r_pu + 1j * branches.lines.x_pu, s, base_kva)


def trees(feeder: Feeder) -> Iterator[Ints]:
    """Batches (k, m - n) of the open branches (indices) of every tree there is."""
    count, n_bus = feeder.incidence.shape
    sets = combinations(range(count), count - n_bus + 1)
    while batch := list(islice(sets, 20 * AT_ONCE)):
        opened = np.array(batch, np.int64)
        radial = is_tree(feeder, opened)
        if radial.any():
            yield opened[radial]


def is_tree(feeder: Feeder, opened: Ints) -> NDArray[np.bool_]:
    """Whether what is left (k,) without the open branches (k, m - n) is a tree."""
    # A square incidence matrix has determinant ±1 for a tree, else 0.
    reduced = feeder.incidence[:, 1:][_closed(opened, len(feeder.z))]
    return np.asarray(np.abs(np.linalg.det(reduced)) > 0.5)


def losses_kw(feeder: Feeder, opened: Ints) -> Floats:
    """Losses (k,) of trees given by their open branches (k, m - n); NaN where the sweep does not converge."""
    closed = _closed(opened, len(feeder.z))
    out = np.empty(len(opened))
    for i in range(0, len(opened), AT_ONCE):
        part = slice(i, i + AT_ONCE)
        out[part] = _swept(feeder, closed[part])
    return out


def _closed(opened: Ints, count: int) -> Ints:
    """(k, n) indices of the branches that are not open."""
    is_closed = np.ones((len(opened), count), bool)
    np.put_along_axis(is_closed, opened, False, axis=1)
    return np.nonzero(is_closed)[1].reshape(len(opened), -1)


def _swept(feeder: Feeder, closed: Ints) -> Floats:
    paths = np.rint(np.linalg.inv(feeder.incidence[:, 1:][closed]))
    z, s = feeder.z[closed], feeder.s[1:]
    v = np.ones((len(closed), len(s)), complex)
    for _ in range(SWEEPS):
        current = -np.einsum("kbe,kb->ke", paths, np.conj(s / v))
        # v_from - v_to = z i, branch by branch: A v = z i with the slack's column moved over.
        new = 1.0 + np.einsum("kbe,ke->kb", paths, z * current)
        moved = np.abs(new - v).max(axis=1)
        v = new
        if moved.max() < TOLERANCE_PU:
            break
    losses = (np.abs(current) ** 2 * z.real).sum(axis=1) * feeder.base_kva
    return np.where((moved < STANDS_PU) & (np.abs(v).min(axis=1) > 0.5), losses, np.nan)
