"""A MATPOWER case as a `Network`.

Buses are named by their number (or `mpc.bus_name`), loads, generators and shunts after their bus, branches
"from-to". A branch with a ratio or a phase shift is a transformer, every other one a line, as MATPOWER has it.
The generators at the reference bus (type 3) are the slack; a generator at a PQ bus (type 1) does not regulate.
"""

from __future__ import annotations

import numpy as np

from cosim.grid.matpower import UNLIMITED_MVA, Case
from cosim.grid.names import element_names, numbered
from cosim.grid.network import (
    ASSUMED_TAP_LIMIT,
    ASSUMED_TAP_STEP,
    Branches,
    Buses,
    ExternalGrids,
    Generators,
    Injections,
    IntArray,
    Network,
    PiBranches,
    RatioTaps,
    Shunts,
    Switches,
)
from cosim.state import BoolArray, FloatArray, Topology


def network_of_case(case: Case, source: str) -> Network:
    """The network a case describes."""
    labels = [f"{number:g}" for number in case.bus[:, 0]]
    names = element_names(case.bus_names, labels)
    bus = _buses(case, names)
    is_trafo = (case.branch[:, 8] != 0) | (case.branch[:, 9] != 0)
    branches = _branches(case, names, is_trafo)
    gens = _generators(case, names)
    loads = _injections(case, names)
    shunts = _shunts(case, names)
    status = case.branch[:, 10] > 0
    topology = Topology(
        line_closed=status[~is_trafo],
        trafo_closed=status[is_trafo],
        gen_closed=case.gen[:, 7] > 0,
        switch_closed=np.zeros(0, dtype=bool),
        tap=np.zeros(int(is_trafo.sum())),
        shunt_step=np.ones(len(shunts.names)),
    )
    nothing = Injections((), np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))
    return Network(
        name=case.name, source=source, base_mva=case.base_mva, buses=bus, branches=branches, loads=loads,
        sgens=nothing, fixed=nothing, gens=gens,
        ext_grids=ExternalGrids((), np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0)), shunts=shunts,
        switches=Switches((), (), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)),
        topology=topology, rating_is_current=False,
    )


def _positions(case: Case, numbers: FloatArray) -> IntArray:
    """Row positions in `mpc.bus` of these bus numbers."""
    order = np.argsort(case.bus[:, 0])
    return order[np.searchsorted(case.bus[order, 0], numbers)].astype(np.int64)


def _buses(case: Case, names: tuple[str, ...]) -> Buses:
    """Buses; those of type 4 are out of service. A base voltage of 0 (per-unit case) becomes 1 kV."""
    kv = case.bus[:, 9]
    return Buses(
        names=names,
        vn_kv=np.where(kv > 0, kv, 1.0),
        zone=tuple(f"{zone:g}" for zone in case.bus[:, 10]),
        in_service=case.bus[:, 1] != 4,
        v_min_pu=case.bus[:, 12].copy(),
        v_max_pu=case.bus[:, 11].copy(),
    )


def _branches(case: Case, names: tuple[str, ...], is_trafo: BoolArray) -> Branches:
    """Lines, then transformers."""
    order = np.concatenate([np.flatnonzero(~is_trafo), np.flatnonzero(is_trafo)])
    rows = case.branch[order]
    start, end = _positions(case, rows[:, 0]), _positions(case, rows[:, 1])
    labels = numbered(f"{names[f]}-{names[t]}" for f, t in zip(start, end, strict=True))
    n_line = int((~is_trafo).sum())
    magnitude = np.where(rows[:, 8] == 0, 1.0, rows[:, 8])
    half = 0.5j * rows[:, 4]
    pi = PiBranches(rows[:, 2].copy(), rows[:, 3].copy(), half, half, magnitude * np.exp(1j * np.radians(rows[:, 9])))
    rating = np.where((rows[:, 5] > 0) & (rows[:, 5] < UNLIMITED_MVA), rows[:, 5] * 1e3, np.nan)
    n_trafo = len(order) - n_line
    return Branches(
        line_names=labels[:n_line], trafo_names=labels[n_line:], trafo3w_names=(), from_bus=start, to_bus=end,
        rating_from_kva=rating, rating_to_kva=rating, lines=part(pi, slice(None, n_line)),
        taps=RatioTaps(part(pi, slice(n_line, None)), np.full(n_trafo, ASSUMED_TAP_STEP)),
        tap_min=np.full(n_trafo, -float(ASSUMED_TAP_LIMIT)), tap_max=np.full(n_trafo, float(ASSUMED_TAP_LIMIT)),
        tap_assumed=np.ones(n_trafo, dtype=bool),
    )


def part(pi: PiBranches, which: slice) -> PiBranches:
    """Some of the branches."""
    return PiBranches(pi.r_pu[which], pi.x_pu[which], pi.y_from_pu[which], pi.y_to_pu[which], pi.ratio[which])


def _generators(case: Case, names: tuple[str, ...]) -> Generators:
    """Generators, named after their bus."""
    gen = case.gen
    bus = _positions(case, gen[:, 0])
    kind = case.bus[bus, 1]
    return Generators(
        names=numbered(names[b] for b in bus), bus=bus, p_kw=gen[:, 1] * 1e3, q_kvar=gen[:, 2] * 1e3,
        v_pu=gen[:, 5].copy(), angle_deg=case.bus[bus, 8], p_min_kw=gen[:, 9] * 1e3, p_max_kw=gen[:, 8] * 1e3,
        q_min_kvar=gen[:, 4] * 1e3, q_max_kvar=gen[:, 3] * 1e3, regulates=(kind == 2) | (kind == 3), slack=kind == 3,
    )


def _injections(case: Case, names: tuple[str, ...]) -> Injections:
    """Loads: one at each bus with demand."""
    where = np.flatnonzero((case.bus[:, 2] != 0) | (case.bus[:, 3] != 0))
    return Injections(tuple(names[b] for b in where), where.astype(np.int64), -case.bus[where, 2] * 1e3,
                      -case.bus[where, 3] * 1e3)


def _shunts(case: Case, names: tuple[str, ...]) -> Shunts:
    """Shunts: one of one step at each bus that has Gs or Bs."""
    where = np.flatnonzero((case.bus[:, 4] != 0) | (case.bus[:, 5] != 0))
    return Shunts(tuple(names[b] for b in where), where.astype(np.int64), -case.bus[where, 4] * 1e3,
                  case.bus[where, 5] * 1e3, np.ones(where.size))
