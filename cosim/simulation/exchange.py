"""What a shield in the control centre and the devices know of each other: the two ends of a channel.

An order carries the time at which it was sent; a device follows the latest-sent one that has arrived, and every report
says which that is.  So the centre knows what a device may be doing: the order that it confirmed, or any sent since.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cosim.plugins import Envelope
from cosim.points import Ids, Vector, differs
from cosim.shield.staleness import Report

FIELDS = ("p_min_kw", "p_max_kw", "q_min_kvar", "q_max_kvar", "s_max_kva")
"""Of an envelope, in the order in which reports carry them."""
#: Orders that differ and may all be in force somewhere; older ones are forgotten, and that is flagged.
MAX_UNDER_WAY = 64
NEVER_US = -1


class Order(NamedTuple):
    """Setpoints `values` of the outputs `slots` for `device`."""

    device: int
    sent_us: int
    slots: Ids
    values: Vector


class Account(NamedTuple):
    """A device's report: measured at `t_us`, the latest-sent order it has heard (`confirmed_us`), active and reactive
    power and what both would be without setpoints (4,), its envelope (5,) and the setpoints in force."""

    device: int
    t_us: int
    confirmed_us: int
    slots: Ids
    powers: Vector
    envelope: Vector
    in_force: Vector


class FieldEnds:
    """The devices' side: what has arrived there, and since when nothing has.  `device_of` (n_output,) are devices."""

    def __init__(self, device_of: Ids, n_injection: int, lost_age_us: int) -> None:
        self._device_of, self._lost_us = device_of, lost_age_us
        self.in_force: Vector = np.full(device_of.size, np.nan)
        self._heard_us = np.zeros(n_injection, np.int64)
        self.confirmed_us = np.full(n_injection, NEVER_US, np.int64)

    def hear(self, order: Order, now_us: int) -> None:
        """An order has arrived.  One that was overtaken by a later one only says that somebody is there."""
        self._heard_us[order.device] = now_us
        if order.sent_us >= self.confirmed_us[order.device]:
            self.confirmed_us[order.device] = order.sent_us
            self.in_force = self.in_force.copy()
            self.in_force[order.slots] = order.values

    def fall_back(self, t_us: int) -> None:
        """Devices that have heard nothing for too long let go of their setpoints."""
        silent = np.flatnonzero(t_us - self._heard_us > self._lost_us)
        if silent.size:
            let_go = np.isin(self._device_of, silent) & ~np.isnan(self.in_force)
            if let_go.any():
                self.in_force = np.where(let_go, np.nan, self.in_force)


class CentreEnd:
    """The control centre's side: the last report of every device, and what was sent that may be in force."""

    def __init__(self, device_of: Ids, n_injection: int) -> None:
        self._device_of = device_of
        self._powers = np.zeros((4, n_injection))
        self._limits = np.zeros((len(FIELDS), n_injection))
        self.in_force: Vector = np.full(device_of.size, np.nan)
        self._measured_us = np.full(n_injection, NEVER_US, np.int64)
        self._confirmed_us = np.full(n_injection, NEVER_US, np.int64)
        self._sent: list[tuple[int, Vector]] = [(NEVER_US, self.in_force)]
        """(last sent at, setpoints), the oldest first."""
        self._forgotten_us = NEVER_US - 1
        self._obeys = np.zeros(n_injection, bool)
        self._obeys[device_of[device_of >= 0]] = True

    def hear(self, account: Account) -> None:
        """A report has arrived."""
        device = account.device
        if account.t_us < self._measured_us[device]:
            return
        self._measured_us[device], self._confirmed_us[device] = account.t_us, account.confirmed_us
        self._powers[:, device], self._limits[:, device] = account.powers, account.envelope
        self.in_force[account.slots] = account.in_force

    def sending(self, setpoints: Vector, now_us: int) -> None:
        """Orders for these setpoints leave now, for some or all devices."""
        if np.array_equal(setpoints, self._sent[-1][1], equal_nan=True):
            self._sent[-1] = (now_us, setpoints)
        else:
            self._sent.append((now_us, setpoints))
        oldest = self._confirmed_us[self._obeys].min(initial=now_us)
        while self._sent[0][0] < oldest and len(self._sent) > 1:
            self._sent.pop(0)
        if len(self._sent) > MAX_UNDER_WAY:
            self._forgotten_us = self._sent.pop(0)[0]

    def under_way(self) -> Iterator[tuple[Vector, NDArray[np.bool_]]]:
        """Setpoints (n_output,) sent, and the devices (n_injection,) that may be following them."""
        for last_us, setpoints in self._sent:
            possible = self._confirmed_us <= last_us
            if possible.any():
                yield setpoints, possible

    def settled(self, setpoints: Vector) -> NDArray[np.bool_]:
        """Devices (n_injection,) that are known to follow `setpoints` and nothing else."""
        elsewhere = differs(setpoints, self.in_force)
        for values, possible in self.under_way():
            if values is not setpoints:
                elsewhere |= differs(setpoints, values) & possible[self._device_of]
        out = np.ones(self._measured_us.size, bool)
        out[self._device_of[elsewhere]] = False
        return out

    @property
    def has_forgotten(self) -> bool:
        """Whether a device may be following an order that is not kept any more."""
        return bool((self._confirmed_us[self._obeys] <= self._forgotten_us).any())

    def report(self, now_us: int) -> Report:
        """What is known now."""
        age_s = np.where(self._measured_us >= 0, (now_us - self._measured_us) / 1e6, np.inf)
        p, q, own_p, own_q = self._powers.copy()
        return Report(p, q, own_p, own_q, Envelope(*self._limits.copy()), self.in_force.copy(), age_s)

    def silence_s(self, now_us: int) -> Vector:
        """For how long (n_injection,) nothing is known of a device: since it reported, or, where it follows or may
        follow an order, since it confirmed one."""
        commanded = np.zeros(self._device_of.size, bool)
        for _, setpoints in self._sent:
            commanded |= ~np.isnan(setpoints)
        ordered = np.zeros(self._measured_us.size, bool)
        ordered[self._device_of[commanded | ~np.isnan(self.in_force)]] = True
        since = np.where(ordered, np.minimum(self._measured_us, np.maximum(self._confirmed_us, 0)), self._measured_us)
        return np.where(self._measured_us >= 0, (now_us - since) / 1e6, np.inf)
