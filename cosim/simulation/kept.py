"""What does not change from one run of a scenario to the next: its network and its profiles, read once.

A reset of an environment builds everything else anew, so no state is carried over; reading a network anew would cost
more than an episode.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cosim.errors import Problem, ScenarioError
from cosim.grid import Network, load_network
from cosim.scenario.schema import Grid as GridSpec
from cosim.scenario.schema import Scenario
from cosim.simulation.site import ProfileStore


class Kept:
    """Networks and profiles by name; both are immutable."""

    def __init__(self) -> None:
        self.profiles = ProfileStore()
        self._networks: dict[tuple[str, Path], Network] = {}
        self._last: tuple[Network, GridSpec, Network] | None = None

    def network(self, scenario: Scenario, base_dir: Path) -> Network:
        """The scenario's network, scaled; raises GridError or ScenarioError."""
        key = scenario.grid.network, base_dir
        if key not in self._networks:
            self._networks[key] = load_network(scenario.grid.network, base_dir)
        plain = self._networks[key]
        last = self._last
        if last is None or last[0] is not plain or last[1] != scenario.grid:
            last = self._last = plain, scenario.grid, adjusted(plain, scenario)
        return last[2]


def adjusted(network: Network, scenario: Scenario) -> Network:
    """The network with the scenario's scales and ratings; raises ScenarioError for lines that do not exist."""
    grid = scenario.grid
    loads = replace(network.loads, p_kw=network.loads.p_kw * grid.load_scale,
                    q_kvar=network.loads.q_kvar * grid.load_scale)
    sgens = replace(network.sgens, p_kw=network.sgens.p_kw * grid.generation_scale,
                    q_kvar=network.sgens.q_kvar * grid.generation_scale)
    branches = network.branches
    if grid.ratings_ka:
        from_kva, to_kva = branches.rating_from_kva.copy(), branches.rating_to_kva.copy()
        index = {name: i for i, name in enumerate(network.line_names)}
        problems = []
        for name, rating_ka in grid.ratings_ka.items():
            if name not in index:
                problems.append(Problem(f"network {network.name} has no line '{name}'", f"grid.ratings_ka.{name}"))
                continue
            i = index[name]
            for rating, bus in ((from_kva, branches.from_bus[i]), (to_kva, branches.to_bus[i])):
                rating[i] = np.sqrt(3.0) * network.bus_vn_kv[bus] * rating_ka * 1e3
        if problems:
            raise ScenarioError(tuple(problems))
        branches = replace(branches, rating_from_kva=from_kva, rating_to_kva=to_kva)
    return replace(network, loads=loads, sgens=sgens, branches=branches)


def base_kw(network: Network) -> float:
    """What powers of the network are scaled by for learners: its load, kW."""
    return float(np.abs(network.loads.p_kw).sum())
