"""What one topology's power flow needs besides its network: the solver, and index arrays made once.

A `Plan` is built when something switches and reused until it switches again, so that a solve in an unchanged
topology only moves numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse._sparsetools import csr_matvec

from cosim.grid.electrical import Electrical, bus_admittance, electrical, references
from cosim.grid.jacobian import JacobianPattern
from cosim.grid.network import IntArray, Network
from cosim.grid.newton import NewtonSolver
from cosim.state import BoolArray, ComplexArray, FloatArray, Topology


@dataclass(frozen=True, slots=True, eq=False)
class Supply:
    """Who covers the difference between what buses draw and what is injected there.

    A site is a group of fused buses with a generator or reference: `bus_site` (n_bus,), `n_site` where none.
    `gen_site` (n_gen,) likewise. A regulating generator delivers `q_share * site_q + q_offset` (PYPOWER's rule: in
    proportion to reactive range). `slack_site` are the sites of the references, `slack_gen` the slack generators
    and `slack_parts` (n_slack_gen,) what share of its site's remainder each takes; `beside_slack` are the other
    regulating generators at those sites.
    """

    n_site: int
    bus_site: IntArray
    gen_site: IntArray
    regulating: BoolArray
    q_share: FloatArray
    q_offset: FloatArray
    slack_site: IntArray
    slack_gen: IntArray
    slack_parts: FloatArray
    beside_slack: IntArray
    at_site: IntArray
    """Of each bus's p and q in pairs (2 n_bus,): its place among the sites' p, then q."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A topology ready to be solved. `fixed_q` (n_gen,) says which generators feed in a set reactive power.

    Admittances are times the base in kVA, so that voltages per unit give kW and kvar.
    """

    topology: Topology
    model: Electrical
    solver: NewtonSolver
    admittance: csr_matrix
    supply: Supply
    node_bus: IntArray
    gen_node: IntArray
    gen_runs: FloatArray
    fixed_q: FloatArray
    dead_bus: IntArray
    reference_gen: int
    reference_v: complex
    several_references: bool
    any_fixed_q: bool
    y_ff: ComplexArray
    y_ft: ComplexArray
    y_tf: ComplexArray
    y_tt: ComplexArray
    y_own: ComplexArray
    y_mutual: ComplexArray
    """Of the from ends, then of the to ends: what a branch draws there by the voltage near and by the one far."""
    _pattern: list[JacobianPattern] = field(default_factory=list, repr=False)
    _rows: tuple[IntArray, IntArray, ComplexArray] = field(init=False, repr=False)
    """The arrays of `admittance`: it looks them up at length."""

    def __post_init__(self) -> None:
        """Take the arrays out once."""
        matrix = self.admittance
        object.__setattr__(self, "_rows", (matrix.indptr, matrix.indices, matrix.data))

    @property
    def pattern(self) -> JacobianPattern:
        """Where the Jacobian of this topology has its elements; made when first asked for."""
        if not self._pattern:
            self._pattern.append(JacobianPattern(self.admittance, self.model))
        return self._pattern[0]


    def drawn_kva(self, voltage: ComplexArray) -> ComplexArray:
        """What each bus (n_bus,) takes from its injections at `voltage` (n_bus,)."""
        current = np.zeros(voltage.size, np.complex128)
        # What `admittance @ voltage` ends in, without four checks that take longer than the product.
        csr_matvec(voltage.size, voltage.size, *self._rows, voltage, current)
        return np.asarray(voltage * current.conj())


def make_plan(network: Network, topology: Topology, gen_v_pu: FloatArray, pq_gen: BoolArray) -> Plan | None:
    """The plan of this topology with `pq_gen` (n_gen,) not regulating; None where no reference is left."""
    held = references(network, topology, gen_v_pu)
    if not held.bus.size:
        return None
    model = electrical(network, topology, held, pq_gen)
    gens = network.gens
    node_bus = np.full(model.n_node + 1, 0, dtype=np.int64)
    node_bus[model.node[::-1]] = np.arange(model.node.size)[::-1]
    node_bus[0] = held.bus[0]
    slack = np.flatnonzero(held.slack_gen)
    runs = model.gen_live & ~held.slack_gen
    base_kva = 1e3 * network.base_mva
    fixed_q = model.gen_live & (pq_gen | ~gens.regulates) & ~held.slack_gen
    return Plan(
        topology=topology, model=model, solver=NewtonSolver(model, network.base_mva),
        admittance=base_kva * bus_admittance(network, model), supply=_supply(network, model, pq_gen),
        node_bus=node_bus[: model.n_node], gen_node=model.node[gens.bus], gen_runs=runs.astype(np.float64),
        fixed_q=fixed_q.astype(np.float64), any_fixed_q=bool(fixed_q.any()),
        dead_bus=np.flatnonzero(model.node == model.n_node),
        reference_gen=-1 if network.ext_grids.names else int(slack[0]), reference_v=complex(held.voltage[0]),
        several_references=np.unique(held.bus).size > 1,
        y_ff=base_kva * model.y[0], y_ft=base_kva * model.y[1], y_tf=base_kva * model.y[2],
        y_tt=base_kva * model.y[3], y_own=base_kva * model.y[[0, 3]].reshape(-1),
        y_mutual=base_kva * model.y[[1, 2]].reshape(-1),
    )


def _supply(network: Network, model: Electrical, pq_gen: BoolArray) -> Supply:
    """Sites and shares of the generators and references."""
    gens, held = network.gens, model.references
    # Fused buses share node and scale; the references all share node 0, so the first bus of each voltage group counts.
    key = np.where(model.node == 0, -1 - model.reference_group, model.node)
    supplied = np.concatenate([gens.bus[model.gen_live], held.bus])
    sites = np.unique(key[supplied])
    position = np.searchsorted(sites, key)
    known = np.take(sites, np.minimum(position, sites.size - 1)) == key
    bus_site = np.where(known, position, sites.size)
    gen_site = np.where(model.gen_live, bus_site[gens.bus], sites.size)
    regulating = model.gen_live & ~(pq_gen & ~held.slack_gen) & (gens.regulates | held.slack_gen)
    infeeds = np.bincount(bus_site[network.ext_grids.bus], minlength=sites.size + 1)
    share, offset = _reactive_shares(network, gen_site, regulating, infeeds)
    slack = np.flatnonzero(held.slack_gen)
    slack_site = np.unique(bus_site[held.bus])
    at_site = np.bincount(bus_site[held.bus], minlength=sites.size)
    beside = np.flatnonzero(regulating & ~held.slack_gen & np.isin(gen_site, slack_site))
    return Supply(int(sites.size), bus_site, gen_site, regulating, share, offset, slack_site, slack,
                  1.0 / at_site[bus_site[gens.bus[slack]]], beside,
                  np.column_stack((bus_site, bus_site + sites.size + 1)).reshape(-1))


def _reactive_shares(
    network: Network, gen_site: IntArray, regulating: BoolArray, infeeds: IntArray
) -> tuple[FloatArray, FloatArray]:
    """`q_share`, `q_offset` (n_gen,); equal shares where ranges are infinite or nil or an external grid joins."""
    gens = network.gens
    share, offset = np.zeros(gen_site.size), np.zeros(gen_site.size)
    for site in range(infeeds.size - 1):
        at = np.flatnonzero(regulating & (gen_site == site))
        if not at.size:
            continue
        spread = gens.q_max_kvar[at] - gens.q_min_kvar[at]
        if at.size > 1 and not infeeds[site] and np.isfinite(spread).all() and spread.min() >= 0 and spread.sum() > 0:
            share[at] = spread / spread.sum()
            offset[at] = gens.q_min_kvar[at] - share[at] * gens.q_min_kvar[at].sum()
        else:
            share[at] = 1.0 / (at.size + infeeds[site])
    return share, offset


def summed(index: IntArray, values: FloatArray, size: int) -> FloatArray:
    """The sum (size,) of the values at each index (bincount of nothing counts integers, hence the detour)."""
    if not index.size:
        return np.zeros(size)
    return np.bincount(index, values, size)  # type: ignore[return-value]  # its stub knows only of integers
