"""The parts a simulation is made of, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cosim.channel import Channel
from cosim.commands import CommandInbox
from cosim.grid import Grid
from cosim.kernel import Kernel
from cosim.objective import KpiAccumulator
from cosim.points import Ids, PointDatabase
from cosim.recorder import Recorder
from cosim.scenario.schema import Scenario
from cosim.shield import Shield
from cosim.simulation.crew import Crew
from cosim.simulation.fleet import Fleet
from cosim.simulation.orders import ShieldOrders
from cosim.simulation.outages import Outages
from cosim.simulation.publisher import Publisher
from cosim.simulation.site import RunSite
from cosim.simulation.trial import Trials
from cosim.stopwatch import TimeBudget


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything `cosim.simulation.build` has put together."""

    scenario: Scenario
    kernel: Kernel
    points: PointDatabase
    inbox: CommandInbox
    grid: Grid
    recorder: Recorder
    crew: Crew
    channels: Mapping[str, Channel]
    fleet: Fleet
    outages: Outages
    shield: Shield
    publisher: Publisher
    trials: Trials
    kpis: KpiAccumulator
    budget: TimeBudget
    sample_ids: Ids
    orders: ShieldOrders
    site: RunSite
