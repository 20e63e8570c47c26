"""Peer 2: the exchange through HELICS in one Python process, with no power flow.

The core type is `inproc` (no sockets) and messages are HELICS messages with a send-at time: the sender draws the loss
and the delay, which is cheaper than HELICS's own random-drop and random-delay filters (a filter is one more hop in the
core for every message). All requests are asynchronous and completed in turn, so one thread drives everything.
Federates are uninterruptible: one grant a second, in which all messages due are read. Layouts:

* `one_federate` (the default, the most favourable): the grid's endpoint and an endpoint for each agent in a single
  federate that steps by half seconds; only HELICS's messages are left of the co-simulation.
* `shared`: one federate for the grid, one for all agents.
* `federate_per_agent`: every agent its own federate, as independent agents would be.

Voltages are `surrogate_voltages`; a message is an agent number and a float64, packed in 12 bytes.
"""

from __future__ import annotations

import importlib
import itertools
import random
import struct
import time
from typing import Any

import numpy as np

from benchmarks.exchange import (
    AGENT_OFFSET_S,
    DELAY_S,
    LOSS,
    PERIOD_S,
    PeerMissingError,
    Result,
    checksum,
    droop_kvar,
    surrogate_voltages,
)

try:
    h: Any = importlib.import_module("helics")  # it has no type hints
except ImportError as missing:
    _MISSING: str | None = str(missing.name)
else:
    _MISSING = None

_MESSAGE = struct.Struct("<id")
_RUN_NUMBERS = itertools.count()  # cores and brokers live in one table of the process: no name may come twice


class Exchange:
    """One federation: the grid and one federate for each of `groups` (lists of agent numbers).

    Without groups the grid's federate owns all agents and is granted twice a second.
    """

    def __init__(self, n_agents: int, seed: int, groups: list[list[int]]) -> None:
        self.random = random.Random(seed).random
        self.sent = self.delivered = 0
        self.held_v_pu = [1.0] * n_agents
        self.setpoint_kvar = [0.0] * n_agents
        self.groups = groups
        self.names = [f"a{agent}" for agent in range(n_agents)]
        self.endpoints: list[Any] = [None] * n_agents
        self.number = next(_RUN_NUMBERS)
        count = len(groups) + 1
        self.broker = h.helicsCreateBroker("inproc", f"broker{self.number}", f"-f {count} --loglevel=no_print")
        self.grid = self._federate("grid", count, 0.0)
        self.grid_endpoint = h.helicsFederateRegisterGlobalEndpoint(self.grid, "grid")
        self.agents = [self._federate(f"agents{i}", count, AGENT_OFFSET_S) for i in range(len(groups))]
        owners = list(zip(self.agents, groups, strict=True)) or [(self.grid, list(range(n_agents)))]
        for federate, group in owners:
            for agent in group:
                self.endpoints[agent] = h.helicsFederateRegisterGlobalEndpoint(federate, self.names[agent])
        for federate in (self.grid, *self.agents):
            h.helicsFederateEnterExecutingModeAsync(federate)
        for federate in (self.grid, *self.agents):
            h.helicsFederateEnterExecutingModeComplete(federate)

    def _federate(self, name: str, count: int, offset_s: float) -> Any:
        """A federate on the run's one core."""
        info = h.helicsCreateFederateInfo()
        h.helicsFederateInfoSetCoreTypeFromString(info, "inproc")
        h.helicsFederateInfoSetCoreName(info, f"core{self.number}")
        options = f"--broker=broker{self.number} --federates={count} --loglevel=no_print"
        h.helicsFederateInfoSetCoreInitString(info, options)
        period_s = PERIOD_S if self.groups else AGENT_OFFSET_S
        h.helicsFederateInfoSetTimeProperty(info, h.HELICS_PROPERTY_TIME_PERIOD, period_s)
        h.helicsFederateInfoSetTimeProperty(info, h.HELICS_PROPERTY_TIME_OFFSET, offset_s)
        h.helicsFederateInfoSetFlagOption(info, h.HELICS_FLAG_UNINTERRUPTIBLE, True)
        return h.helicsCreateMessageFederate(name, info)

    def send(self, endpoint: Any, destination: str, now_s: float, message: tuple[int, float]) -> None:
        """Lose `message` (agent, value) or hand it to HELICS, to be delivered after a delay."""
        self.sent += 1
        if self.random() < LOSS:
            return
        at_s = now_s + DELAY_S[0] + (DELAY_S[1] - DELAY_S[0]) * self.random()
        h.helicsEndpointSendBytesToAt(endpoint, _MESSAGE.pack(*message), destination, at_s)

    def receive(self, federate: Any, latest: list[float]) -> None:
        """Write every message due at `federate` into `latest[agent]`."""
        count = h.helicsFederatePendingMessageCount(federate)
        for _ in range(count):
            agent, value = _MESSAGE.unpack(h.helicsMessageGetBytes(h.helicsFederateGetMessage(federate)))
            latest[agent] = value
        self.delivered += count
        h.helicsFederateClearMessages(federate)

    def measure(self, step: int) -> None:
        """The grid's scan; the setpoints in force are those received before it."""
        for message in enumerate(surrogate_voltages(len(self.names), step).tolist()):
            self.send(self.grid_endpoint, self.names[message[0]], step * PERIOD_S, message)

    def act(self, group: list[int], now_s: float) -> None:
        """Every agent of `group` answers the voltage it holds."""
        for agent in group:
            self.send(self.endpoints[agent], "grid", now_s, (agent, droop_kvar(self.held_v_pu[agent])))

    def play(self, duration_s: int) -> None:
        """Run the exchange; the grid's last grant only collects the setpoints of the last second."""
        for federate in self.agents:
            h.helicsFederateRequestTimeAsync(federate, AGENT_OFFSET_S)
        for step in range(duration_s):
            self.measure(step)
            h.helicsFederateRequestTimeAsync(self.grid, (step + 1) * PERIOD_S)
            for federate, group in zip(self.agents, self.groups, strict=True):
                now_s = h.helicsFederateRequestTimeComplete(federate)
                self.receive(federate, self.held_v_pu)
                self.act(group, now_s)
                h.helicsFederateRequestTimeAsync(federate, now_s + PERIOD_S)
            h.helicsFederateRequestTimeComplete(self.grid)
            self.receive(self.grid, self.setpoint_kvar)

    def play_alone(self, duration_s: int) -> None:
        """The exchange when one federate is everything."""
        everyone = list(range(len(self.names)))
        for step in range(duration_s):
            self.measure(step)
            now_s = h.helicsFederateRequestTime(self.grid, step * PERIOD_S + AGENT_OFFSET_S)
            self.receive(self.grid, self.held_v_pu)
            self.act(everyone, now_s)
            h.helicsFederateRequestTime(self.grid, (step + 1) * PERIOD_S)
            self.receive(self.grid, self.setpoint_kvar)

    def close(self) -> None:
        """Leave the federation; the agents' last requests are still open and are granted when the grid leaves."""
        h.helicsFederateDisconnect(self.grid)
        for federate in self.agents:
            h.helicsFederateRequestTimeComplete(federate)
            h.helicsFederateDisconnect(federate)
        h.helicsBrokerWaitForDisconnect(self.broker, 5000)
        for federate in (self.grid, *self.agents):
            h.helicsFederateFree(federate)
        h.helicsBrokerFree(self.broker)


def _groups(n_agents: int, layout: str) -> list[list[int]]:
    """The agents of each agents' federate under `layout`; raises KeyError for an unknown one."""
    everyone = list(range(n_agents))
    return {"one_federate": [], "shared": [everyone], "federate_per_agent": [[agent] for agent in everyone]}[layout]


def run(n_agents: int, duration_s: int, seed: int, layout: str = "one_federate") -> Result:
    """Run the exchange in one of the module's layouts; raises PeerMissingError without helics."""
    if _MISSING:
        raise PeerMissingError(_MISSING)
    exchange = Exchange(n_agents, seed, _groups(n_agents, layout))
    play = exchange.play if exchange.groups else exchange.play_alone
    started = time.perf_counter()
    play(duration_s)
    wall_s = time.perf_counter() - started
    exchange.close()
    return Result(
        grid_steps=duration_s,
        messages_sent=exchange.sent,
        messages_delivered=exchange.delivered,
        wall_s=wall_s,
        final_checksum=checksum(np.array(exchange.held_v_pu), np.array(exchange.setpoint_kvar)),
        moved_agents=sum(q_kvar != 0.0 for q_kvar in exchange.setpoint_kvar),
    )
