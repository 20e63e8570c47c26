"""A station: one remote terminal unit, inverter, meter or relay as masters see it.

Sans-IO like the sessions: it is told the simulation time and says when it next wants to be (comm-loss, reversion).
"""

from __future__ import annotations

from typing import Protocol

from gateways.modbus.bank import Bank

#: Until a station asks again for what the run did not take (after a loss of communication, a reversion).
RETRY_US = 1_000_000


class Station(Protocol):
    """Points out, commands in."""

    name: str
    kind: str
    unit: int
    listener: str | None
    bank: Bank

    def next_us(self) -> int | None:
        """Simulation time at which `on_time` wants to be called, or None."""

    def on_time(self, t_us: int) -> None:
        """The simulation has reached `t_us`: let timers that are due act."""

    def summary(self) -> str:
        """One line for the table that `gridloop serve` prints, e.g. ``42 points, 7 writable``."""
