"""Peer 3: the exchange through mosaik 3 with in-process simulators, with no power flow.

mosaik connects simulators by data flows and has no notion of a lossy link, so the sender draws the loss and the delay,
stamps the message with the time it is due, and the receiver reads it if it is due by then; that is cheaper than a
simulator in between. The grid steps at whole seconds and the agents half a second later, so the time resolution is
0.5 s (two integers a second), the coarsest that can express the exchange. Printing, progress and debugging are off.
Layouts:

* `simulator_per_agent` (the default): every agent its own simulator: independent agents, each with its own next step,
  which is what the exchange is about and how mosaik models participants that step on their own time.
* `shared`: all agents are entities of one simulator and step in one call: mosaik's most favourable case, in which
  mosaik schedules two participants whatever the number of agents and the agents are a hand-written loop.

`wall_s` runs from the grid's first step to the step that ends the last second.
"""

from __future__ import annotations

import random
import warnings
from time import perf_counter
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
    import mosaik  # isort: skip - first, so that it is what is reported as missing
    import loguru
    import mosaik_api_v3
except ImportError as missing:
    _MISSING: str | None = str(missing.name)
else:
    _MISSING = None

RESOLUTION_S = 0.5
_STEP = round(PERIOD_S / RESOLUTION_S)
_OFFSET = round(AGENT_OFFSET_S / RESOLUTION_S)
_API = "3.0"


class Ledger:
    """What both sides of one run share: the random stream, the counts and the state read at the end."""

    def __init__(self, n_agents: int, duration_s: int, seed: int) -> None:
        self.random = random.Random(seed).random
        self.duration_s = duration_s
        self.sent = self.delivered = self.steps = 0
        self.held_v_pu = [1.0] * n_agents
        self.setpoint_kvar = [0.0] * n_agents
        self.started_s = self.ended_s = 0.0

    def message(self, time_now: int, value: float) -> tuple[float, float] | None:
        """(due_s, value) of a message sent now, or None when it is lost."""
        self.sent += 1
        if self.random() < LOSS:
            return None
        delay_s = DELAY_S[0] + (DELAY_S[1] - DELAY_S[0]) * self.random()
        return time_now * RESOLUTION_S + delay_s, value

    def receive(self, time_now: int, inbox: dict[str, Any], latest: list[float], agent: int) -> None:
        """Write the due message of `inbox` (one sender) into `latest[agent]`."""
        for message in inbox.values():
            if message is not None and message[0] <= time_now * RESOLUTION_S:
                latest[agent] = message[1]
                self.delivered += 1


def _meta(model: str, inputs: str, outputs: str) -> dict[str, Any]:
    """Meta data of a time-based simulator with one model."""
    return {
        "api_version": _API,
        "type": "time-based",
        "models": {model: {"public": True, "params": ["agents"], "attrs": [inputs, outputs]}},
    }


if _MISSING is None:

    class _Side(mosaik_api_v3.Simulator):
        """Common half: one entity an agent, named by its number, and one outbox of attribute `sends`.

        The arguments not used are those of mosaik's API.
        """

        sends = ""

        def init(self, sid: str, time_resolution: float = 1.0, **sim_params: Any) -> Any:  # noqa: ARG002
            self.ledger: Ledger = sim_params["ledger"]
            return self.meta

        def create(self, num: int, model: str, **model_params: Any) -> Any:  # noqa: ARG002
            self.agents: list[int] = model_params["agents"]
            nothing_yet = {self.sends: None}
            self.outbox: dict[str, dict[str, Any]] = {str(agent): dict(nothing_yet) for agent in self.agents}
            return [{"eid": str(agent), "type": model} for agent in self.agents]

        def get_data(self, outputs: Any) -> Any:  # noqa: ARG002
            return self.outbox

    class GridSide(_Side):
        """The grid: takes setpoints, sends voltages; its last step only collects the last second's setpoints."""

        sends = "voltage"

        def __init__(self) -> None:
            super().__init__(_meta("Bus", "setpoint", "voltage"))  # type: ignore[no-untyped-call]

        def step(self, time: int, inputs: Any, max_advance: int) -> int:  # noqa: ARG002
            ledger = self.ledger
            if not ledger.steps:
                ledger.started_s = perf_counter()
            for eid, attributes in inputs.items():
                ledger.receive(time, attributes["setpoint"], ledger.setpoint_kvar, int(eid))
            if ledger.steps == ledger.duration_s:
                ledger.ended_s = perf_counter()
                return time + _STEP
            voltages = surrogate_voltages(len(self.agents), ledger.steps).tolist()
            self.outbox = {str(i): {"voltage": ledger.message(time, v_pu)} for i, v_pu in enumerate(voltages)}
            ledger.steps += 1
            return time + _STEP

    class AgentSide(_Side):
        """One agent or all of them: takes voltages, sends setpoints."""

        sends = "setpoint"

        def __init__(self) -> None:
            super().__init__(_meta("Agent", "voltage", "setpoint"))  # type: ignore[no-untyped-call]

        def step(self, time: int, inputs: Any, max_advance: int) -> int:  # noqa: ARG002
            if time < _OFFSET:
                return _OFFSET
            ledger = self.ledger
            for eid, attributes in inputs.items():
                ledger.receive(time, attributes["voltage"], ledger.held_v_pu, int(eid))
            held = ledger.held_v_pu
            self.outbox = {
                str(agent): {"setpoint": ledger.message(time, droop_kvar(held[agent]))} for agent in self.agents
            }
            return time + _STEP


def _build(ledger: Ledger, groups: list[list[int]]) -> Any:
    """A mosaik world with the grid and one agents' simulator for each group, connected agent by agent."""
    sims: Any = {"Grid": {"python": f"{__name__}:GridSide"}, "Agents": {"python": f"{__name__}:AgentSide"}}
    world = mosaik.World(sims, time_resolution=RESOLUTION_S, skip_greetings=True, configure_logging=False)
    n_agents = len(ledger.held_v_pu)
    buses = world.start("Grid", ledger=ledger).Bus.create(n_agents, agents=list(range(n_agents)))
    for group in groups:
        agents = world.start("Agents", ledger=ledger).Agent.create(len(group), agents=group)
        for agent in agents:
            bus = buses[int(agent.eid)]
            world.connect(bus, agent, ("voltage", "voltage"))
            world.connect(agent, bus, ("setpoint", "setpoint"), time_shifted=True, initial_data={"setpoint": None})
    return world


def run(n_agents: int, duration_s: int, seed: int, layout: str = "simulator_per_agent") -> Result:
    """Run the exchange; raises PeerMissingError without mosaik. `layout`: `simulator_per_agent` or `shared`."""
    if _MISSING:
        raise PeerMissingError(_MISSING)
    loguru.logger.disable("mosaik")
    ledger = Ledger(n_agents, duration_s, seed)
    everyone = list(range(n_agents))
    world = _build(ledger, [everyone] if layout == "shared" else [[agent] for agent in everyone])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one an agent at t = 0: no setpoint yet, None supplied, as meant
        world.run(until=duration_s * _STEP + 1, print_progress=False)
    return Result(
        grid_steps=ledger.steps,
        messages_sent=ledger.sent,
        messages_delivered=ledger.delivered,
        wall_s=ledger.ended_s - ledger.started_s,
        final_checksum=checksum(np.array(ledger.held_v_pu), np.array(ledger.setpoint_kvar)),
        moved_agents=sum(q_kvar != 0.0 for q_kvar in ledger.setpoint_kvar),
    )
