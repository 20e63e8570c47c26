"""The electrical network of one topology: what is live, fused to nodes, as admittances in per unit.

Closed bus-bus switches fuse their buses to one node. A branch with both ends connected joins two nodes; one with one
open end hangs on the other as the admittance its charging shows there; one with both open is gone. Nodes without a
path to a reference (an external grid or a slack generator) are de-energised and left out.

All reference nodes become one solver node, number 0. A reference held at `c` times the voltage of the first is
expressed at the first by scaling its terminal (an ideal transformer), which is exact because a reference takes any
power. So several infeeds, in one island or in many, are one ordinary power flow with one reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from cosim.grid.network import IntArray, Network, PiBranches
from cosim.state import BoolArray, ComplexArray, FloatArray, Topology


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """Where voltage and angle are held: buses, complex voltages, and the slack generators in use (n_gen,)."""

    bus: IntArray
    voltage: ComplexArray
    slack_gen: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Electrical:
    """One topology's network in per unit.

    `node` (n_bus,) is each bus's solver node, `n_node` for a de-energised bus; `scale` (n_bus,) its voltage over its
    node's (1 but at further references). `from_node`, `to_node`, `r`, `x`, `ratio` (n_joined,) are the branches for
    the solver, without shunts: those are in `node_shunt` (n_node,). `y` (4, n_branch) holds ff, ft, tf, tt of every
    two-terminal branch on its bus voltages, zero when dead; `bus_shunt` (n_bus,) the shunts proper;
    `pv_node` (n_pv,) the voltage-controlled nodes and `pv_gen` (n_pv,) the generator whose set point counts;
    `gen_live` (n_gen,) says which generators run; `reference_group` (n_bus,) numbers the fused buses, which tells
    apart the references that node 0 stands for.
    """

    n_node: int
    node: IntArray
    scale: ComplexArray
    from_node: IntArray
    to_node: IntArray
    r: FloatArray
    x: FloatArray
    ratio: ComplexArray
    node_shunt: ComplexArray
    y: ComplexArray
    bus_shunt: ComplexArray
    pv_node: IntArray
    pv_gen: IntArray
    gen_live: BoolArray
    references: References
    reference_group: IntArray


def references(network: Network, topology: Topology, gen_v_pu: FloatArray) -> References:
    """The references in force: external grids, and slack generators in service.

    With neither left, the generator in service with the largest maximum power takes over, so losing the slack
    machine is an outage and not the end of the calculation.
    """
    gens, ext = network.gens, network.ext_grids
    running = topology.gen_closed & network.buses.in_service[gens.bus]
    slack = running & gens.slack
    if not ext.names and not slack.any() and (running & gens.regulates).any():
        candidate = np.where(running & gens.regulates, gens.p_max_kw, -np.inf)
        slack = np.zeros(slack.shape, dtype=bool)
        slack[int(candidate.argmax())] = True
    which = np.flatnonzero(slack)
    which = which[np.sort(np.unique(gens.bus[which], return_index=True)[1])]  # MATPOWER: the first at a bus balances
    slack = np.zeros(slack.shape, dtype=bool)
    slack[which] = True
    held = gen_v_pu[which] * np.exp(1j * np.radians(gens.angle_deg[which]))
    ext_held = ext.v_pu * np.exp(1j * np.radians(ext.angle_deg))
    return References(np.concatenate([ext.bus, gens.bus[which]]), np.concatenate([ext_held, held]), slack)


def fused_buses(network: Network, topology: Topology) -> IntArray:
    """The group of each bus (n_bus,): buses joined by closed bus-bus switches share one."""
    switches, live = network.switches, network.buses.in_service
    is_bus = np.array([kind == "bus" for kind in switches.kind], dtype=bool)
    which = np.flatnonzero(is_bus & topology.switch_closed)
    a, b = switches.bus[which], switches.element[which]
    keep = live[a] & live[b]
    return _components(live.size, a[keep], b[keep])


def _components(size: int, a: IntArray, b: IntArray) -> IntArray:
    """The connected component of each of `size` vertices with edges a-b."""
    graph = coo_matrix((np.ones(a.size), (a, b)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def connected_ends(network: Network, topology: Topology) -> tuple[BoolArray, BoolArray]:
    """Whether each two-terminal branch is connected at its from end and at its to end."""
    closed = np.concatenate([topology.line_closed, topology.trafo_closed])
    count, live = closed.size, network.buses.in_service
    start, end = network.branches.from_bus[:count], network.branches.to_bus[:count]
    at_from, at_to = closed & live[start], closed & live[end]
    switches = network.switches
    offset = {"line": 0, "trafo": topology.line_closed.size}
    for position in np.flatnonzero(~topology.switch_closed):
        kind = switches.kind[position]
        if kind not in offset:
            continue
        branch = int(switches.element[position]) + offset[kind]
        if switches.bus[position] == start[branch]:
            at_from[branch] = False
        if switches.bus[position] == end[branch]:
            at_to[branch] = False
    return at_from, at_to


def branch_admittances(pi: PiBranches) -> ComplexArray:
    """(4, n) admittances ff, ft, tf, tt (MATPOWER User's Manual, eq. 3.2); zero impedance is left to the caller."""
    series = 1.0 / (pi.r_pu + 1j * pi.x_pu)
    tap = pi.ratio
    return np.array([(series + pi.y_from_pu) / np.abs(tap) ** 2, -series / np.conj(tap), -series / tap,
                     series + pi.y_to_pu])


def electrical(network: Network, topology: Topology, held: References, pq_gen: BoolArray) -> Electrical:
    """The network in this topology; generators in `pq_gen` (n_gen,) do not regulate."""
    group = fused_buses(network, topology)
    at_from, at_to = connected_ends(network, topology)
    count = at_from.size
    start, end = network.branches.from_bus[:count], network.branches.to_bus[:count]
    joined = at_from & at_to
    island = _components(int(group.max()) + 1, group[start[joined]], group[end[joined]])[group]
    live = network.buses.in_service & np.isin(island, island[held.bus])
    node, scale, n_node = _number_nodes(group, live, held)
    pi = network.branches.lines.joined(network.branches.taps.at(topology.tap))
    y = _switched_admittances(pi, at_from & live[start], at_to & live[end])
    shunts = network.shunts
    per_step = (-shunts.p_kw + 1j * shunts.q_kvar) / (1e3 * network.base_mva)
    bus_shunt = np.zeros(live.size, dtype=np.complex128)
    np.add.at(bus_shunt, shunts.bus, per_step * topology.shunt_step)
    bus_shunt[~live] = 0.0
    inside_mask = joined & live[start] & (node[start] != node[end])
    looped = joined & live[start] & (node[start] == node[end])  # both ends on one node: only an admittance is left
    inside = np.flatnonzero(inside_mask)
    gens = network.gens
    gen_live = topology.gen_closed & live[gens.bus]
    regulating = np.flatnonzero(gen_live & gens.regulates & ~pq_gen & ~held.slack_gen & (node[gens.bus] != 0))
    pv_node, first = np.unique(node[gens.bus[regulating]], return_index=True)
    # The ideal transformer at a further reference: its terminal's ratio times node voltage over bus voltage.
    tap_from, tap_to = 1.0 / scale[start[inside]], 1.0 / scale[end[inside]]
    factor = np.abs(tap_to) ** 2
    node_shunt = np.zeros(n_node + 1, dtype=np.complex128)
    np.add.at(node_shunt, node, bus_shunt)
    series = 1.0 / (pi.r_pu + 1j * pi.x_pu)
    over = np.abs(pi.ratio) ** 2
    own_from = y[0] - np.where(inside_mask, series / over, 0.0) + np.where(looped, y[1] + y[2], 0.0)
    own_to = y[3] - np.where(inside_mask, series, 0.0)
    np.add.at(node_shunt, node[start], np.where(live[start], own_from, 0.0))
    np.add.at(node_shunt, node[end], np.where(live[end], own_to, 0.0))
    return Electrical(
        n_node=n_node, node=node, scale=scale, from_node=node[start[inside]], to_node=node[end[inside]],
        r=pi.r_pu[inside] * factor, x=pi.x_pu[inside] * factor, ratio=pi.ratio[inside] * tap_from / tap_to,
        node_shunt=node_shunt[:n_node], y=y, bus_shunt=bus_shunt, pv_node=pv_node.astype(np.int64),
        pv_gen=regulating[first].astype(np.int64), gen_live=gen_live, references=held,
        reference_group=group,
    )


def _number_nodes(group: IntArray, live: BoolArray, held: References) -> tuple[IntArray, ComplexArray, int]:
    """Solver nodes of the buses (all references are node 0), their voltage scale, and the number of nodes."""
    is_reference = np.isin(group, group[held.bus]) & live
    others = live & ~is_reference
    labels, numbers = np.unique(group[others], return_inverse=True)
    n_node = labels.size + (1 if held.bus.size else 0)
    node = np.full(group.size, n_node, dtype=np.int64)
    node[is_reference] = 0
    node[others] = numbers + 1
    scale = np.ones(group.size, dtype=np.complex128)
    for bus, voltage in zip(held.bus[::-1], held.voltage[::-1], strict=True):  # the first named counts
        scale[group == group[bus]] = voltage / held.voltage[0]
    return node, scale, n_node


def _switched_admittances(pi: PiBranches, at_from: BoolArray, at_to: BoolArray) -> ComplexArray:
    """(4, n) admittances with open ends eliminated: what a one-sided branch shows where it is connected."""
    y = branch_admittances(pi)
    only_from, only_to = at_from & ~at_to, at_to & ~at_from
    both = at_from & at_to
    product = y[1] * y[2]
    ff = np.where(both, y[0], np.where(only_from, y[0] - product / y[3], 0.0))
    tt = np.where(both, y[3], np.where(only_to, y[3] - product / y[0], 0.0))
    return np.array([ff, np.where(both, y[1], 0.0), np.where(both, y[2], 0.0), tt])


def bus_admittance(network: Network, model: Electrical) -> csr_matrix:
    """The (n_bus, n_bus) admittance matrix on bus voltages: current drawn by branches and shunts at each bus."""
    count = model.y.shape[1]
    start, end = network.branches.from_bus[:count], network.branches.to_bus[:count]
    size = model.node.size
    every = np.arange(size)
    rows = np.concatenate([start, start, end, end, every])
    columns = np.concatenate([start, end, start, end, every])
    return coo_matrix((np.concatenate([*model.y, model.bus_shunt]), (rows, columns)), shape=(size, size)).tocsr()


def loops(network: Network, topology: Topology) -> int:
    """Independent loops of branches that are closed at both ends (0: a radial network).

    Parallel branches form a loop; references are taken for one point, so that two of them in one island form one.
    """
    group = fused_buses(network, topology)
    at_from, at_to = connected_ends(network, topology)
    count = at_from.size
    joined = np.flatnonzero(at_from & at_to)
    start, end = group[network.branches.from_bus[:count][joined]], group[network.branches.to_bus[:count][joined]]
    reference = np.unique(group[network.ext_grids.bus])
    size = int(group.max(initial=-1)) + 1
    extra = (reference[:-1], reference[1:]) if reference.size > 1 else (reference[:0], reference[:0])
    start, end = np.concatenate([start, extra[0]]), np.concatenate([end, extra[1]])
    islands = int(_components(size, start, end).max(initial=-1)) + 1
    return int(start.size - size + islands)
