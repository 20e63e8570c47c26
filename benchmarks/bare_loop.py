"""Peer 1, the floor: the exchange by hand in SimPy and lightsim2grid, with no abstraction between them.

What a competent person writes for this one experiment and nothing else: one process an agent, messages delivered by
the callback of a delayed event (no stores, no processes per message), lists instead of arrays where single elements
are read, one solver object changed in place and warm-started. No recording, no checks, no arbitration, no shield.

`raw_timeouts` is the second floor: SimPy processes that only wait.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from typing import Any

import numpy as np

from benchmarks.exchange import (
    AGENT_OFFSET_S,
    DELAY_S,
    DROOP_KVAR_PER_PU,
    LIMIT_KVAR,
    LOSS,
    PERIOD_S,
    PeerMissingError,
    Result,
    checksum,
    disturbance,
)

try:
    import simpy
    from lightsim2grid.network import init_from_matpower
    from pypower.case118 import case118
except ImportError as missing:  # reported as a row by the harness
    _MISSING: str | None = str(missing.name)
else:
    _MISSING = None

Process = Generator[Any, Any, None]


class BareLoop:
    """State of one run; `run` below is the entry."""

    def __init__(self, n_agents: int, seed: int) -> None:
        self.env = simpy.Environment()
        self.random = random.Random(seed).random
        self.n_agents = n_agents
        self.sent = self.delivered = self.steps = 0
        self.held_v_pu = [1.0] * n_agents
        self.setpoint_kvar = [0.0] * n_agents
        self.arrived: list[tuple[int, float]] = []

        self.grid = init_from_matpower(case118())
        loads = self.grid.get_loads()
        n_loads = len(loads)
        self.load_of = [i % n_loads for i in range(n_agents)]
        self.bus_of = np.array([loads[k].bus_id for k in self.load_of])
        self.q_load_mvar = [float(load.target_q_mvar) for load in loads]
        self.disturbed = max(range(n_loads), key=lambda k: loads[k].target_p_mw)
        self.base_p_mw = float(loads[self.disturbed].target_p_mw)
        self.v = self.grid.ac_pf(np.ones(self.grid.total_bus(), dtype=complex), 20, 1e-8)

    def send(self, deliver: Any, message: tuple[int, float]) -> None:
        """Lose `message`, or have `deliver` called with it after a delay."""
        self.sent += 1
        if self.random() < LOSS:
            return
        event = self.env.timeout(DELAY_S[0] + (DELAY_S[1] - DELAY_S[0]) * self.random(), message)
        event.callbacks.append(deliver)

    def on_measurement(self, event: Any) -> None:
        agent, v_pu = event._value
        self.delivered += 1
        self.held_v_pu[agent] = v_pu

    def on_setpoint(self, event: Any) -> None:
        self.delivered += 1
        self.arrived.append(event._value)

    def agent_process(self, agent: int) -> Process:
        yield self.env.timeout(AGENT_OFFSET_S)
        while True:
            q_kvar = DROOP_KVAR_PER_PU * (1.0 - self.held_v_pu[agent])
            if q_kvar > LIMIT_KVAR:
                q_kvar = LIMIT_KVAR
            elif q_kvar < -LIMIT_KVAR:
                q_kvar = -LIMIT_KVAR
            self.send(self.on_setpoint, (agent, q_kvar))
            yield self.env.timeout(PERIOD_S)

    def grid_process(self) -> Process:
        while True:
            self.apply_arrived()
            self.grid.change_p_load(self.disturbed, self.base_p_mw * disturbance(self.steps))
            self.v = self.grid.ac_pf(self.v, 20, 1e-8)
            if not len(self.v):
                raise RuntimeError(f"the power flow diverged at t = {self.env.now} s")
            self.steps += 1
            for message in enumerate(self.grid.get_Vm()[self.bus_of].tolist()):
                self.send(self.on_measurement, message)
            yield self.env.timeout(PERIOD_S)

    def apply_arrived(self) -> None:
        touched: dict[int, None] = {}
        for agent, q_kvar in self.arrived:
            load = self.load_of[agent]
            self.q_load_mvar[load] -= (q_kvar - self.setpoint_kvar[agent]) * 1e-3
            self.setpoint_kvar[agent] = q_kvar
            touched[load] = None
        self.arrived.clear()
        for load in touched:
            self.grid.change_q_load(load, self.q_load_mvar[load])


def run(n_agents: int, duration_s: int, seed: int) -> Result:
    """Run the exchange of `benchmarks.exchange`; raises PeerMissingError without simpy, lightsim2grid or pypower."""
    if _MISSING:
        raise PeerMissingError(_MISSING)
    loop = BareLoop(n_agents, seed)
    loop.env.process(loop.grid_process())
    for agent in range(n_agents):
        loop.env.process(loop.agent_process(agent))
    started = time.perf_counter()
    loop.env.run(until=duration_s * PERIOD_S)
    wall_s = time.perf_counter() - started
    return Result(
        grid_steps=loop.steps,
        messages_sent=loop.sent,
        messages_delivered=loop.delivered,
        wall_s=wall_s,
        final_checksum=checksum(np.abs(loop.v), np.array(loop.setpoint_kvar)),
        moved_agents=sum(q_kvar != 0.0 for q_kvar in loop.setpoint_kvar),
    )


def raw_timeouts(n: int, duration_s: int) -> tuple[int, float]:
    """(timeouts, wall_s) of `n` SimPy processes that wait 1 s, `duration_s` times, and do nothing else."""
    if _MISSING:
        raise PeerMissingError(_MISSING)
    env = simpy.Environment()

    def wait() -> Process:
        while True:
            yield env.timeout(1.0)

    for _ in range(n):
        env.process(wait())
    started = time.perf_counter()
    env.run(until=duration_s + 0.5)
    return n * duration_s, time.perf_counter() - started
