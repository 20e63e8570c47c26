"""Who is in force: one slot per output and authority, and the live slot of the highest authority wins.

Commands arrive a few at a time and every agent sends one a period, so a change is settled slot by slot in plain Python
(0.3 us each) rather than by reducing the whole table; the table is swept only when a time to live has ended.  A long
vector is a `Block`: its outputs mostly lie side by side, so its slots are written run by run, and it is settled run by
run too where whoever was in force has sent it, the usual case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from cosim.points import Vector

#: Expiry of a command without time to live.
NEVER_US = 2**63 - 1
NOBODY = -1


class InForce(NamedTuple):
    """What every output slot is asked to be: `values` (n_output,) NaN where nothing is asked; `authority` (n_output,)
    int8, -1 where nothing is asked.  Never written again once handed out."""

    values: Vector
    authority: np.ndarray[Any, np.dtype[np.int8]]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Slots (n,) commanded together; `runs` are stretches of neighbours: (slots, part of the vector, length)."""

    slots: tuple[int, ...]
    runs: tuple[tuple[slice, slice, int], ...]

    @classmethod
    def of(cls, slots: Sequence[int]) -> Block:
        """Where these slots (at least one) lie side by side."""
        at = np.asarray(slots, np.int64)
        starts = [0, *(np.flatnonzero(np.diff(at) != 1) + 1).tolist(), at.size]
        runs = tuple((slice(slots[i], slots[i] + j - i), slice(i, j), j - i)
                     for i, j in pairwise(starts))
        return cls(tuple(slots), runs)


class Arbiter:
    """Slots (n_authority, n_output) and what is in force among them."""

    def __init__(self, n_authority: int, n_output: int) -> None:
        self._values = [[np.nan] * n_output for _ in range(n_authority)]
        self._expires_us = [[0] * n_output for _ in range(n_authority)]
        self._sources = [[""] * n_output for _ in range(n_authority)]
        self.winner = [NOBODY] * n_output
        """Authority in force per slot, as of the last `settle`; -1: nobody."""
        self._touched: dict[int, int] = {}
        """Slots to look at again, and the one authority put there (-1: several, or something ended)."""
        self._blocks: list[tuple[Block, Vector, int]] = []
        """Vectors put since the last `settle` by whoever was in force on all their slots, and when they end."""
        self._held: dict[Block, int] = {}
        """Blocks known to be held whole, and by whom; forgotten when a winner changes."""
        self.next_expiry_us = NEVER_US
        """No command in force ends before this."""
        self.in_force = InForce(np.full(n_output, np.nan), np.full(n_output, NOBODY, np.int8))

    def put(self, slot: int, authority: int, value: float, expires_us: int, source: str = "") -> None:
        """Take a command of `source` into its slot, in the place of the one of equal authority."""
        self._values[authority][slot] = value
        self._expires_us[authority][slot] = expires_us
        self._sources[authority][slot] = source
        self._touched[slot] = authority if self._touched.get(slot, authority) == authority else NOBODY
        if expires_us < self.next_expiry_us:
            self.next_expiry_us = expires_us

    def holds(self, block: Block, authority: int) -> bool:
        """Whether this authority is in force on the whole block, as of the last `settle`."""
        if self._held.get(block) == authority:
            return True
        if all(self.winner[at] == [authority] * n for at, _, n in block.runs):
            self._held[block] = authority
            return True
        return False

    def put_block(self, block: Block, authority: int, values: Vector, expires_us: int, source: str = "") -> None:
        """As `put` for every slot of a block; `values` (n,) must not change afterwards."""
        if not self.holds(block, authority):
            for slot, value in zip(block.slots, values.tolist(), strict=True):
                self.put(slot, authority, value, expires_us, source)
            return
        row, expiries, sources = self._values[authority], self._expires_us[authority], self._sources[authority]
        listed = values.tolist()
        for at, part, n in block.runs:
            row[at], expiries[at], sources[at] = listed[part], [expires_us] * n, [source] * n
        # A slot that somebody else touches in this turn is looked at again by itself, after the blocks.
        self._blocks.append((block, values, expires_us))
        if expires_us < self.next_expiry_us:
            self.next_expiry_us = expires_us

    def release(self, slot: int, authority: int) -> None:
        """Empty a slot."""
        self._expires_us[authority][slot] = 0
        self._touched[slot] = NOBODY

    def settle(self, t_us: int) -> InForce:
        """What is in force at `t_us`; the same object while nothing changed.  A command ends *at* its expiry."""
        if t_us >= self.next_expiry_us:
            self._touched.update(dict.fromkeys(range(len(self.winner)), NOBODY))
            ends = (t for row in self._expires_us for t in row if t > t_us)
            self.next_expiry_us = min(ends, default=NEVER_US)
        if not self._touched and not self._blocks:
            return self.in_force
        values, authorities = self.in_force.values.copy(), self.in_force.authority
        for block, vector, expires in self._blocks:
            if expires <= t_us:
                self._touched.update(dict.fromkeys(block.slots, NOBODY))
            for at, part, _ in block.runs:
                values[at] = vector[part]
        self._blocks.clear()
        if self._touched:
            authorities = authorities.copy()
            self._settle_touched(t_us, values, authorities)
        self.in_force = InForce(values, authorities)
        return self.in_force

    def _settle_touched(self, t_us: int, values: Vector, authorities: np.ndarray[Any, np.dtype[np.int8]]) -> None:
        """Write who is in force on the slots that were touched, and what they ask for."""
        winners, table, expires_us = self.winner, self._values, self._expires_us
        for slot, only in self._touched.items():
            # Usually whoever was in force has sent the next command.
            winner = (only if only >= winners[slot] and only >= 0 and expires_us[only][slot] > t_us
                      else self._highest(slot, t_us))
            if winner != winners[slot]:
                winners[slot] = authorities[slot] = winner
                self._held.clear()
            values[slot] = table[winner][slot] if winner >= 0 else np.nan
        self._touched.clear()

    def source(self, slot: int) -> str:
        """Who put the command that is in force as of the last `settle`; "" where nobody did."""
        winner = self.winner[slot]
        return self._sources[winner][slot] if winner >= 0 else ""

    def _highest(self, slot: int, t_us: int) -> int:
        for authority in range(len(self._values) - 1, NOBODY, -1):
            if self._expires_us[authority][slot] > t_us:
                return authority
        return NOBODY
