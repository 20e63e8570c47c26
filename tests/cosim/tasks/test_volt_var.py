"""Six inverters on case33bw: how long the band is kept, and at what losses, by way of control."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from benchmarks.yardsticks import volt_var
from benchmarks.yardsticks.played import begun, watched
from cosim.grid import load_network

DAY = date(2016, 8, 14)
#: (CR, mean losses in kW) of a held-out day, from the day these were committed.
KNOWN = {"none": (0.64583, 140.125), "category B": (0.74792, 188.613), "droop without memory": (0.84167, 229.994),
         "droop": (1.0, 225.957), "category B, shielded": (1.0, 149.782)}


@pytest.fixture(scope="module")
def figures() -> dict[str, volt_var.Figures]:
    """Every way to control, on one held-out day."""
    return {variant: volt_var.measured(variant, [DAY]) for variant in volt_var.VARIANTS}


def test_figures_are_the_known_ones(figures: dict[str, volt_var.Figures]) -> None:
    """CR and losses of each have not moved."""
    for variant, (ratio, losses_kw) in KNOWN.items():
        assert figures[variant].ratio == pytest.approx(ratio, abs=1e-4), variant
        assert figures[variant].losses_kw == pytest.approx(losses_kw, abs=0.005), variant


def test_better_control_keeps_the_band_longer(figures: dict[str, volt_var.Figures]) -> None:
    """none < category B < the tuned curve; behind the shield the band is always kept."""
    ratio = {variant: each.ratio for variant, each in figures.items()}
    assert ratio["none"] < ratio["category B"] < ratio["droop"]
    assert ratio["category B, shielded"] == ratio["droop, shielded"] == 1.0


def test_the_optimum_loses_less_and_keeps_the_band() -> None:
    """At every 40th scan the least losses are below the tuned curve's at the same scans, with every voltage in."""
    best = volt_var.best([DAY], every=40)
    simulation = begun(volt_var.SCENARIO, DAY)
    _, seen = watched(simulation, ["bus.*.v_pu", "grid.losses_kw"])
    droop = volt_var.figures(simulation, seen[::40, :-1], seen[::40, -1])
    assert best.ratio == 1.0
    assert best.losses_kw < droop.losses_kw


def test_zones_hold_every_bus_once() -> None:
    """The loads' names partition the feeder, and each agent sees its own inverter and every bus of its zone."""
    simulation = begun(volt_var.SCENARIO, DAY)
    names = [name for name in simulation.points.names if name.endswith(".v_pu") and "_" in name.partition(".")[0]]
    zones = [name.partition("_")[0] for name in names if not name.startswith("pv_")]
    assert sorted(zones) == sorted(["near"] * 5 + ["west"] * 12 + ["north"] * 4 + ["east"] * 3 + ["south"] * 8)
    for agent, zone in zip(simulation.crew.agents.values(), ("west", "west", "north", "east", "south", "south"),
                           strict=True):
        seen = [simulation.points.names[i] for i in agent.observed]
        own = agent.name.rpartition("_")[2]
        assert seen[:3] == [f"pv_{own}.v_pu", f"pv_{own}.p_kw", f"pv_{own}.q_kvar"]
        assert len(seen) == 3 + 3 * zones.count(zone)


def test_losses_equal_those_of_the_branch_currents() -> None:
    """The published losses equal the sum of r I² worked out from the bus voltages (scans of a sunny noon)."""
    simulation = begun(volt_var.SCENARIO, DAY)
    simulation.advance_to(12 * 3_600_000_000)
    state, network = simulation.grid.state, load_network("case33bw")
    v = state.v_pu * np.exp(1j * np.radians(state.angle_deg))
    count = len(network.line_names)
    closed = network.topology.line_closed
    z = network.branches.lines.r_pu + 1j * network.branches.lines.x_pu
    current = (v[network.branches.from_bus[:count]] - v[network.branches.to_bus[:count]]) / z
    losses_kw = ((np.abs(current) ** 2 * z.real)[closed]).sum() * network.base_mva * 1e3
    assert losses_kw > 50
    assert state.losses_kw == pytest.approx(losses_kw, rel=1e-6)


def test_sun_at_its_highest_is_8750_kw() -> None:
    """The plants' sizes are MAPDN's: over the year each comes to 1458 kW, never more than 1 kW beyond."""
    import pyarrow.parquet as pq

    from cosim.datasets.registry import SHIPPED

    table = pq.read_table(SHIPPED / "simbench_year.parquet", columns=["pv3_p_pu", "pv5_p_pu"])
    peaks = [p_rated * table[column].to_numpy().max() for p_rated, column in ((2365.4, "pv3_p_pu"),
                                                                             (2419.4, "pv5_p_pu"))]
    assert peaks == pytest.approx([1458, 1458], abs=1)
