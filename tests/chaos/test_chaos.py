"""Random scenarios, assembled from random parts, under random commands: what must hold always.

``GRIDLOOP_CHAOS_SEEDS=200 pytest tests/chaos`` tries more of them; a failure names its seed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cosim.channel import Channel
from cosim.commands import Authority
from cosim.recorder import RunResult
from cosim.replay import replay
from cosim.simulation import BuildOptions, Simulation, build
from tests.cosim.simulation.worlds import keeping, loaded

SEEDS = int(os.environ.get("GRIDLOOP_CHAOS_SEEDS", "10"))
DURATION_S = 30

#: Buses that devices and steps may stand at, lines that may go out, by network.
PLACES: dict[str, tuple[list[str], list[str]]] = {
    "case33bw": ([str(i) for i in range(2, 34)], ["3-4", "7-8", "19-20", "28-29", "3-23"]),
    "case14": ([str(i) for i in range(2, 15)], []),
}


class Dice:
    """Draws the parts of one scenario."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.network = self.one("case33bw", "case33bw", "case14")
        self.buses, self.lines = PLACES[self.network]

    def one(self, *choices: Any) -> Any:
        """One of them."""
        return choices[int(self.rng.integers(len(choices)))]

    def number(self, low: float, high: float) -> float:
        """A number with a few digits."""
        return round(float(self.rng.uniform(low, high)), 3)

    def times(self, most: int) -> range:
        """None to `most` of something."""
        return range(int(self.rng.integers(0, most + 1)))

    def some(self, **options: Any) -> dict[str, Any]:
        """Each option or not."""
        return {key: value for key, value in options.items() if self.rng.random() < 0.5}

    # -- parts -----------------------------------------------------------------------------------------------------

    def devices(self) -> list[dict[str, Any]]:
        """One load, and some of every kind."""
        found = [{"kind": "load", "name": "d0", "bus": self.one(*self.buses), "p_kw": 50, "q_kvar": 10}]
        found += [{"name": f"d{i}", **self._device()} for i in range(1, 1 + int(self.rng.integers(1, 8)))]
        if self.lines:
            found.append({"kind": "breaker", "name": "cb", "line": self.lines[0], "delay_s": self.one(0, 0.07, 1.5)})
        return found

    def _device(self) -> dict[str, Any]:
        place, p_kw = {"bus": self.one(*self.buses)}, self.number(10, 500)
        return self.one(
            lambda: {"kind": "load", **place, "p_kw": p_kw, "zip_p": self.one([1, 0, 0], [0, 0.5, 0.5], [0, 0, 1])},
            lambda: {"kind": "pv", **place, "p_rated_kw": p_kw, "mode": self.one("none", "volt_var"),
                     **self.some(olrt_s=self.one(0.0, 2.0), s_rated_kva=p_kw * 1.1)},
            lambda: {"kind": "battery", **place, "p_max_kw": p_kw, "e_rated_kwh": self.number(0.5, 5),
                     **self.some(self_discharge_per_h=0.01, soc_start=self.number(0.1, 0.9))},
            lambda: {"kind": "generator", **place, "p_max_kw": p_kw, "p_kw": self.number(0, p_kw),
                     **self.some(ramp_kw_per_s=self.number(1, 50), min_up_s=3.0, min_down_s=4.0)},
            lambda: {"kind": "wind", **place, "p_rated_kw": p_kw},
            lambda: {"kind": "capacitor", **place, "q_step_kvar": 50, "steps": 3,
                     "control": self.one("none", "voltage"), "delay_s": self.one(1.5, 4.0), "lockout_s": 3},
        )()

    def channels(self) -> list[dict[str, Any]]:
        """Two links and a route."""
        links = [{"name": f"link{i}", "rules": [self._rule() for _ in self.times(3)],
                  **self.some(ordering="fifo", capacity=int(self.rng.integers(1, 20)))} for i in range(2)]
        return [*links, {"name": "route", "hops": ["link0", "link1"]}]

    def _rule(self) -> dict[str, Any]:
        return self.one(
            lambda: {"kind": "latency", "distribution": "uniform", "low_ms": 0, "high_ms": self.number(1, 2000)},
            lambda: {"kind": "latency", "distribution": "constant", "delay_ms": self.one(0, 0, 1000)},
            lambda: {"kind": "latency", "distribution": "lognormal", "median_ms": 80, "sigma": 1.0},
            lambda: {"kind": "loss", "probability": self.number(0, 0.5)},
            lambda: {"kind": "gilbert_elliott", "p": 0.1, "r": 0.3},
            lambda: {"kind": "duplication", "probability": 0.3, "extra_delay_ms": self.one(0, 500)},
            lambda: {"kind": "corruption", "probability": 0.2, "deliver": self.one(True, False)},
            lambda: {"kind": "bandwidth", "bits_per_second": self.one(500, 9600), "queue_messages": 3},
        )()

    def agents(self, outputs: list[str]) -> list[dict[str, Any]]:
        """One to six agents that act on those outputs."""
        return [self._agent(i, outputs) for i in range(int(self.rng.integers(1, 7)))]

    def _agent(self, i: int, outputs: list[str]) -> dict[str, Any]:
        period_s = self.one(0.3, 0.7, 1, 1, 2.5, 10)
        late = self.one("hold", "zero", "drop", "fallback")
        trigger = self.one("period", "period", "period", "on_change")
        return {
            "name": f"a{i}", "trigger": trigger, "observe": [f"bus.{self.one(*self.buses)}.v_pu"],
            "actuate": [self.one(*outputs)], "policy": self._policy(),
            **({"period_s": period_s, **self.some(jitter_s=period_s / 2, offset_s=self.number(0, 3))}
               if trigger == "period" else {"deadband": 0.001}),
            **self.some(compute_s=self.number(0, 2), ttl_s=self.number(0.1, 6),
                        authority=self.one("schedule", "agent", "operator", "interlock"),
                        telemetry={"kind": "channel", "channel": self.one("link0", "link1", "route")}),
            **({"deadline_s": self.number(0.01, 2), "late": late,
                **({"fallback": {"kind": "constant", "values": [0.0]}} if late == "fallback" else {})}
               if self.rng.random() < 0.5 else {}),
        }

    def _policy(self) -> dict[str, Any]:
        return self.one({"kind": "random", "low": -50, "high": 300}, {"kind": "random", "low": 0, "high": 1},
                        {"kind": "droop", "base": 100}, {"kind": "constant", "values": [self.number(-100, 100)]},
                        {"kind": "schedule", "rows": [[2, 0.5], [11, 40], [22.2, -40]]})

    def disturbances(self) -> list[dict[str, Any]]:
        """None to eight."""
        return [self._disturbance() for _ in self.times(8)]

    def _disturbance(self) -> dict[str, Any]:
        when = self.one({"at_s": self.number(0, 29), **self.some(duration_s=self.number(0.001, 15))},
                        {"random": {"per_hour": self.number(60, 900)}, "duration_s": self.number(0.1, 5)})
        kinds = [{"kind": "load_step", "bus": self.one(*self.buses), "p_kw": self.one(-200, 300, 1e6)},
                 {"kind": "partition", "channel": self.one("link0", "route"),
                  "direction": self.one("both", "up", "down"), "drop_in_flight": self.one(True, False)},
                 {"kind": "point_freeze", "points": [self.one("bus.*", "d*", "*")]},
                 {"kind": "point_bias", "points": ["bus.2.v_pu"], "gain": 1.1, "offset": -0.2},
                 {"kind": "point_noise", "points": ["bus.1*.v_pu"], "sigma": 0.01}]
        if self.lines:
            kinds += [{"kind": "line_outage", "line": self.one(*self.lines)},
                      {"kind": "breaker", "device": "cb", "closed": self.one(True, False)}]
        return {**self.one(*kinds), **when}

    def scenario(self) -> dict[str, Any]:
        """All of it.  Outputs are those of the devices, found by building them alone."""
        base = {"name": "chaos", "duration_s": DURATION_S, "step_s": self.one(0.5, 1, 1, 3), "seed": 5,
                "grid": {"network": self.network}, "devices": self.devices(), "channels": self.channels(),
                "commands": self.one({"timing": "on_scan"}, {"timing": "on_arrival"},
                                     {"timing": "on_arrival", "quantum_s": 0.1})}
        outputs = [point.name for point in build(loaded(**base)).points.points if point.kind.writable]
        return {**base, "agents": self.agents(outputs), "disturbances": self.disturbances()}


def command_at_random(simulation: Simulation, rng: np.random.Generator) -> None:
    """Something from outside: a set point, a vector, a release, nonsense."""
    ids = rng.choice(simulation.inbox.point_ids, int(rng.integers(1, 4)))
    points = simulation.points.points
    authority = Authority(int(rng.integers(0, 4)))
    at_us = None if rng.random() < 0.7 else simulation.now_us + int(rng.integers(0, 3_000_000))
    if rng.random() < 0.3:
        simulation.inbox.release(ids, "chaos", authority, at_us=at_us)
        return
    values = [rng.uniform(max(points[i].low, -1e3), min(points[i].high, 1e3)) for i in ids]
    if rng.random() < 0.1:
        values[0] = float(rng.choice([np.nan, np.inf, 1e12, -1e12]))
    ttl_s = None if rng.random() < 0.5 else float(rng.uniform(0.001, 5))
    simulation.inbox.submit_many(ids, values, "chaos", authority, ttl_s=ttl_s, at_us=at_us)


def conserved(channel: Channel) -> None:
    """Every message sent or copied is delivered, dropped or under way."""
    for link in channel.directions:
        assert link.sent + link.duplicated == link.delivered + link.dropped + link.in_flight, link.name
        assert link.in_flight >= 0, link.name


def ordered(result: RunResult) -> None:
    """Times never fall and sequence numbers rise, in every table; commands expire after they came."""
    for frame in (result.samples().reset_index(), result.events(), result.commands(), result.decisions()):
        column = "t_us" if "t_us" in frame else "t_s"
        assert frame[column].is_monotonic_increasing
        if "seq" in frame:
            assert frame["seq"].is_monotonic_increasing
    messages = result.messages().dropna(subset=["arrival_us"])
    assert (messages["arrival_us"] >= messages["t_us"]).all()
    expiring = result.commands().dropna(subset=["expires_us"])
    assert (expiring["expires_us"] > expiring["t_us"]).all()


def within_limits(simulation: Simulation, devices: list[dict[str, Any]]) -> None:
    """What is applied lies in each point's range, and what is injected in each device's rating."""
    state = simulation.grid.state
    if not simulation.points.quality.any():
        values = simulation.points.values
        for i in simulation.inbox.point_ids:
            point, value = simulation.points.points[i], values[i]
            assert np.isnan(value) or point.low <= value <= point.high, point
    applied = dict(zip(simulation._fleet.names, simulation._fleet.device_p_kw.tolist(), strict=True))
    for device in devices:
        p_kw, rated = applied[device["name"]], device.get("p_max_kw", device.get("p_rated_kw", 0)) * (1 + 1e-9)
        if device["kind"] in ("pv", "wind", "generator"):
            assert 0 <= p_kw <= rated, device
        elif device["kind"] == "battery":
            assert -rated <= p_kw <= rated, device
    if state.converged:
        assert np.nanmax(state.v_pu) < 2


@pytest.mark.parametrize("seed", range(SEEDS))
def test_chaos(seed: int, tmp_path: Path) -> None:
    """Nothing raises, time runs forward, messages are conserved, limits hold, and the run replays to its digest."""
    dice = Dice(seed)
    scenario = loaded(**dice.scenario())
    (tmp_path / "scenario.yaml").write_text(scenario.text)
    print(f"chaos seed {seed}:\n{scenario.text}")  # noqa: T201  # shown when it fails
    simulation = build(scenario, BuildOptions(recorder=keeping(scenario, tmp_path / "out")))
    devices = list(scenario.scenario.devices)
    last_us = -1
    while simulation.now_us < simulation.end_us:
        for _ in dice.times(2):
            command_at_random(simulation, dice.rng)
        step_us = int(dice.rng.integers(1, 1_500_000))
        simulation.advance_to(min(simulation.end_us, simulation.now_us + step_us))
        assert simulation.points.t_us >= last_us
        last_us = simulation.points.t_us
        within_limits(simulation, devices)
        for channel in simulation.channels.values():
            conserved(channel)
    simulation.recorder.end_instant(simulation.now_us)
    simulation.recorder.close("done")
    result = RunResult.load(tmp_path / "out")
    ordered(result)
    assert isinstance(result.samples(), pd.DataFrame)
    outcome = replay(tmp_path / "out")
    assert outcome.same, f"seed {seed}: {outcome}"
