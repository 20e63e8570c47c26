"""Newton's method by lightsim2grid, on one `Electrical` network.

`LSGrid` is built by its own primitives rather than from pandapower or MATPOWER data: our model has already resolved
switches, islands, several references and one-sided branches, which its importers ignore or refuse, so what it gets
are plain series impedances, one shunt and at most one generator a node. Its result computation is switched off; flows
are ours.

The solver's vectorised setters take float32 and its double setters one element a call, which for 118 buses costs as
much as half of the solution. So each node has three loads, and a double is written as the exact sum of three singles
(24 bits each against 53; Dekker's splitting): one vectorised call, not one bit lost.
"""

from __future__ import annotations

import numpy as np
from lightsim2grid.lightsim2grid_cpp import AlgorithmType, LSGrid

from cosim.grid.electrical import Electrical
from cosim.state import ComplexArray, FloatArray

TOLERANCE_PU = 1e-12
"""Largest mismatch: tight, because a looser one answers a small change with the old voltages and no iteration."""
ROUNDING = 16.0 * float(np.finfo(np.float64).eps)
"""Times the largest row sum of the admittance matrix: the mismatch that rounding leaves, which no solver gets below."""
MAX_ITERATIONS = 30
PIECES = 3
SOLVER_BASE_MVA = 2.0**40
"""The base in lightsim2grid's world. Its setters, the double ones too, ignore a change below 1e-7 MW or 1e-7 pu; on
this base that is 1e-19 pu of power. The factor is a power of two, so it costs no bit."""
_FAR_PU, _NEAR_PU = 0.5, 1e-6


class NewtonSolver:
    """One network held in a solver: set injections and set points, then `solve`.

    Construction factorises nothing; the first solve finds the sparsity and later ones reuse it.
    """

    def __init__(self, model: Electrical, base_mva: float) -> None:
        count = model.n_node
        self._grid = grid = LSGrid()
        grid.set_sn_mva(SOLVER_BASE_MVA)
        is_line = model.ratio == 1.0
        is_trafo = ~is_line
        grid.init_bus(count, 1, np.ones(count), int(is_line.sum()), int(is_trafo.sum()))
        start, end = model.from_node.astype(np.int32), model.to_node.astype(np.int32)
        none = np.zeros(int(is_line.sum()), dtype=np.complex128)
        grid.init_powerlines(model.r[is_line], model.x[is_line], none, start[is_line], end[is_line])
        ratio = model.ratio[is_trafo]
        grid.init_trafo(model.r[is_trafo], model.x[is_trafo], np.zeros(ratio.size, dtype=np.complex128),
                        np.abs(ratio), np.degrees(np.angle(ratio)), [True] * ratio.size,
                        start[is_trafo], end[is_trafo], True)
        every = np.arange(count, dtype=np.int32)
        shunt = model.node_shunt * SOLVER_BASE_MVA
        grid.init_shunt(shunt.real.copy(), -shunt.imag, every)
        grid.init_loads(np.zeros(PIECES * count), np.zeros(PIECES * count), np.tile(every, PIECES))
        held = np.concatenate([[0], model.pv_node]).astype(np.int32)
        wide = np.full(held.size, np.finfo(np.float64).max / 2)
        self._v_set = np.ones(held.size)
        grid.init_generators(np.zeros(held.size), self._v_set, -wide, wide, held)
        grid.add_gen_slackbus(0, 1.0)
        grid.deactivate_result_computation()
        grid.change_algorithm(AlgorithmType.NRSing_KLU)  # one reference; the default, SparseLU, takes 5 times as long
        grid.change_algorithm(AlgorithmType.DC_KLU)
        self._algorithm = grid.get_algo()
        self._tolerance = SOLVER_BASE_MVA * max(TOLERANCE_PU, ROUNDING * _largest_row(model))
        self._count = count
        self._every_piece = np.ones(PIECES * count, dtype=bool)
        self._load_of_kw = -SOLVER_BASE_MVA / (1e3 * base_mva)
        self._rest = np.zeros((2, count))
        self._flat = np.zeros((2, PIECES * count), dtype=np.float32)
        self._pieces = tuple(self._flat.reshape(2, PIECES, count)[:, piece] for piece in range(PIECES))

    @property
    def iterations(self) -> int:
        """Newton iterations of the last solve."""
        return int(self._algorithm.get_nb_iter())

    def set_injections(self, power: FloatArray) -> None:
        """Set what is injected at each node, kW and kvar (2, n_node or more); the first n_node of each are used."""
        rest, (first, second, third) = self._rest, self._pieces
        np.multiply(power[:, : self._count], self._load_of_kw, out=rest)
        first[:] = rest
        np.subtract(rest, first, out=rest)
        second[:] = rest
        np.subtract(rest, second, out=rest)
        third[:] = rest
        self._grid.update_loads_p(self._every_piece, self._flat[0])
        self._grid.update_loads_q(self._every_piece, self._flat[1])

    def set_voltages(self, v_pu: FloatArray) -> None:
        """Set the held magnitudes: the reference, then each `pv_node` (1 + n_pv,)."""
        if v_pu.tobytes() != self._v_set.tobytes():
            change = self._grid.change_v_gen
            moved = np.flatnonzero(v_pu != self._v_set)
            near = np.abs(v_pu - self._v_set)[moved] < _NEAR_PU
            for position, wanted, is_near in zip(moved.tolist(), v_pu[moved].tolist(), near.tolist(), strict=True):
                if is_near:  # a change below 1e-7 is ignored
                    change(position, wanted + _FAR_PU)
                change(position, wanted)
            self._v_set = v_pu

    def solve(self, start: ComplexArray) -> ComplexArray | None:
        """Node voltages (n_node,) from `start`, or None where Newton's method says that it does not get there.

        What it calls a solution is not always one in numbers: the caller checks that it is finite.
        """
        guess = start.copy()  # ac_pf writes into what it is given; its tolerance is in MVA
        result: ComplexArray = self._grid.ac_pf(guess, MAX_ITERATIONS, self._tolerance)
        return result if result.size else None

    def dc_start(self, start: ComplexArray) -> ComplexArray | None:
        """The linear (DC) solution with the held magnitudes, as a start for `solve`."""
        result = self._grid.dc_pf(start.copy(), 1, self._tolerance)
        if not result.shape[0] or not np.isfinite(result.view(np.float64)).all():
            return None
        rotation: ComplexArray = np.exp(1j * np.angle(result))
        return np.abs(start) * rotation

    def last_iterate(self) -> ComplexArray | None:
        """Where a failed solve stopped (n_node,), or None where nothing is left of it."""
        last = np.array(self._grid.get_V_solver())
        order = np.array(self._grid.id_me_to_ac_solver())
        if last.size != self._count or order.size != last.size:
            return None
        return np.asarray(last[order])


def _largest_row(model: Electrical) -> float:
    """The largest sum of admittance magnitudes at a node."""
    series = 1.0 / np.hypot(model.r, model.x)
    ratio = np.abs(model.ratio)
    rows = np.bincount(model.from_node, series / ratio**2 + series / ratio, model.n_node)
    rows = rows + np.bincount(model.to_node, series + series / ratio, model.n_node)
    return float((rows + np.abs(model.node_shunt)).max())
