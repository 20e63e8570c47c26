"""Random radial feeders with devices and a shield, and an independent power flow (pandapower) of what is applied.

Everything follows from three numbers (seed, buses, devices), so that a failing example is three numbers too.  The
oracle shares nothing with the shield but the feeder's data: impedances in ohms, flows and voltages are pandapower's.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp

from cosim.plugins import Registry
from cosim.points import Ids, Vector
from cosim.scenario.loader import load_text
from cosim.shield import Asked, NetworkShield, ShieldDecision
from cosim.simulation import Simulation
from cosim.simulation.build import build
from cosim.simulation.trial import Attempts, SolvedTrial
from cosim.state import Dispatch, GridState

BASE_MVA, BASE_KV = 10.0, 12.66
STEP_US = 1_000_000
#: Looked up once: it costs more than a feeder.
REGISTRY = Registry()
KINDS = ("pv", "battery", "generator", "load", "capacitor", "regulator", "breaker")


@dataclass(frozen=True, slots=True, eq=False)
class Feeder:
    """Bus 0 is the slack; branch i joins bus `parent[i]` to bus i + 1.  Impedances per unit, powers MW and Mvar."""

    parent: Ids
    r_pu: Vector
    x_pu: Vector
    b_pu: Vector
    rating_mva: Vector
    p_mw: Vector
    q_mvar: Vector
    slack_v_pu: float
    gen_bus: tuple[int, ...]
    gen_p_mw: tuple[float, ...]
    devices: tuple[dict[str, Any], ...]
    shield: dict[str, Any]

    @property
    def n_bus(self) -> int:
        """Buses, the slack's included."""
        return len(self.parent) + 1

    def root_branch(self, bus: int) -> int:
        """The branch of the slack's through which `bus` is fed; -1 for the slack."""
        branch = -1
        while bus > 0:
            branch, bus = bus - 1, int(self.parent[bus - 1])
        return branch

    def case_text(self) -> str:
        """As a MATPOWER case, version 2."""
        kinds = [3] + [2 if bus in self.gen_bus else 1 for bus in range(1, self.n_bus)]
        bus = [f"{i + 1} {kind} {self.p_mw[i]!r} {self.q_mvar[i]!r} 0 0 1 1 0 {BASE_KV} 1 1.1 0.9"
               for i, kind in enumerate(kinds)]
        gens = [(0, 0.0, self.slack_v_pu), *((at, p, 1.0) for at, p in zip(self.gen_bus, self.gen_p_mw, strict=True))]
        gen = [f"{at + 1} {p!r} 0 50 -50 {v!r} 100 1 20 0 0 0 0 0 0 0 0 0 0 0 0" for at, p, v in gens]
        branch = [f"{self.parent[i] + 1} {i + 2} {self.r_pu[i]!r} {self.x_pu[i]!r} {self.b_pu[i]!r} "
                  f"{self.rating_mva[i]!r} 0 0 0 0 1 -360 360" for i in range(len(self.parent))]
        tables = "".join(f"mpc.{name} = [\n{''.join(f' {row};{chr(10)}' for row in rows)}];\n"
                         for name, rows in (("bus", bus), ("gen", gen), ("branch", branch)))
        text = f"function mpc = feeder\nmpc.version = '2';\nmpc.baseMVA = {BASE_MVA};\n{tables}"
        return text.replace("np.float64(", "").replace(")", "")

    def scenario_text(self, **shield: Any) -> str:
        """The scenario (JSON is YAML); `shield` changes its section."""
        last = str(self.n_bus)
        return json.dumps({
            "name": "feeder", "duration_s": 3600, "step_s": STEP_US / 1e6, "grid": {"network": "feeder.m"},
            "devices": list(self.devices), "shield": {**self.shield, **shield}, "record": {"points": []},
            "disturbances": [{"kind": "load_step", "bus": last, "at_s": 3000, "duration_s": 10, "p_kw": 1.0}]})


def feeder(seed: int, n_bus: int, n_device: int, kinds: tuple[str, ...] = KINDS) -> Feeder:
    """A feeder; the same for the same numbers."""
    rng = np.random.default_rng([seed, n_bus, n_device])
    n = n_bus - 1
    bushy = rng.choice([0.0, 0.3, 1.0])
    parent = np.array([0] + [int(rng.integers(i)) if rng.random() < bushy else i - 1 for i in range(2, n_bus)])
    parent = np.where(np.arange(n) == 0, 0, parent)
    length, ratio = rng.uniform(0.2, 1.0, n), rng.choice([0.3, 1.0, 3.0])
    r, x = length / np.hypot(1, ratio), length * ratio / np.hypot(1, ratio)
    demand = np.concatenate(([0.0], rng.uniform(0, 1, n))) * rng.choice([0.5, 2.0, 4.0]) / max(n, 1)
    reactive = demand * rng.uniform(-0.1, 0.5, n_bus)
    flow, drop = _downstream(parent, demand, r), _drop(parent, demand, reactive, r, x)
    size = float(rng.choice([0.01, 0.03, 0.05, 0.1])) / max(float(np.abs(drop).max()), 1e-3)
    r, x = r * size, x * size
    gens: list[int] = []
    devices = [_device(i, str(rng.choice(kinds)), rng, parent, gens) for i in range(n_device)]
    known = [device for k, device in enumerate(devices) if device is not None and ("line" not in device or all(
        other is None or other.get("line") != device["line"] for other in devices[:k]))]  # a line has one breaker
    rating = (flow + 0.2) * rng.uniform(1.1, 3.0, n) * rng.choice([0.7, 1.0, 1.0, 4.0])
    return Feeder(parent, r, x, rng.uniform(0, 0.002, n) * (rng.random() < 0.3), rating, demand, reactive,
                  float(rng.choice([1.0, 1.0, 1.02, 0.99])), tuple(gens),
                  tuple(float(rng.uniform(0, 0.3)) for _ in gens), tuple(known), _shield(rng))


def _downstream(parent: Ids, demand: Vector, of: Vector) -> Vector:
    """Demand (MW) that each branch carries, losses apart; of the shape of `of`."""
    carried = demand[1:].copy()
    for i in range(of.size - 1, 0, -1):
        if parent[i] > 0:
            carried[parent[i] - 1] += carried[i]
    return carried


def _drop(parent: Ids, p_mw: Vector, q_mvar: Vector, r: Vector, x: Vector) -> Vector:
    """Voltage drop from the slack to every bus but it, per unit, by LinDistFlow."""
    own = (r * _downstream(parent, p_mw, r) + x * _downstream(parent, q_mvar, r)) / BASE_MVA
    total = own.copy()
    for i in range(1, own.size):
        if parent[i] > 0:
            total[i] += total[parent[i] - 1]
    return total


def _device(i: int, kind: str, rng: np.random.Generator, parent: Ids, gens: list[int]) -> dict[str, Any] | None:
    """One device; `gens` collects the buses whose voltage one holds."""
    n_bus = len(parent) + 1
    bus = int(rng.integers(1, n_bus))
    at: dict[str, Any] = {"name": f"{kind}_{i}", "bus": str(bus + 1)}
    kw = float(rng.choice([1.0, 50.0, 500.0, 2000.0, 6000.0]) * rng.uniform(0.5, 1.5))
    if kind == "pv":
        mode = str(rng.choice(["none", "none", "volt_var", "volt_watt"]))
        return {**at, "kind": "pv", "p_rated_kw": kw, "s_rated_kva": kw * float(rng.uniform(0.8, 1.3)), "mode": mode,
                "priority": str(rng.choice(["p", "q"])), "olrt_s": float(rng.choice([0.0, 5.0])),
                "volt_watt_olrt_s": float(rng.choice([0.0, 10.0]))}
    if kind == "battery":
        return {**at, "kind": "battery", "e_rated_kwh": kw * float(rng.choice([0.001, 1.0])), "p_max_kw": kw,
                "priority": str(rng.choice(["p", "q"]))}
    if kind == "generator":
        ramp = {"ramp_kw_per_s": kw * 0.05} if rng.random() < 0.3 else {}
        return {**at, "kind": "generator", "p_max_kw": kw, "p_min_kw": kw * float(rng.choice([0.0, 0.2])), **ramp}
    if kind == "load":
        share = [[0.0, 0.0, 1.0], [0.3, 0.3, 0.4]][int(rng.integers(2))]
        return {**at, "kind": "load", "p_kw": kw * 0.3, "power_factor": 0.95, "zip_p": share, "zip_q": share}
    if kind == "capacitor":
        return {**at, "kind": "capacitor", "q_step_kvar": kw * 0.3, "steps": int(rng.integers(1, 4)), "lockout_s": 0}
    if kind == "breaker":
        return {"kind": "breaker", "name": at["name"], "line": f"{parent[bus - 1] + 1}-{bus + 1}"}
    if bus in gens:
        return None
    gens.append(bus)
    return {"kind": "generator", "name": at["name"], "element": str(bus + 1), "p_max_kw": kw, "p_min_kw": 0.0,
            "p_kw": 0.0}


def _shield(rng: np.random.Generator) -> dict[str, Any]:
    """Limits of some width, and now and then an exchange limit, soft limits, weights, blocks to shed."""
    width = float(rng.choice([0.02, 0.05, 0.08]))
    found: dict[str, Any] = {
        "mode": "enforce",
        "voltage": [{"v_min_pu": 1.0 - width, "v_max_pu": 1.0 + width, "hard": bool(rng.random() < 0.9)}],
        "loading": [{"loading_max": 1.0, "hard": bool(rng.random() < 0.8)}]}
    if rng.random() < 0.3:
        found["exchange"] = [{"p_min_kw": -float(rng.uniform(0, 3000)), "p_max_kw": float(rng.uniform(0, 5000))}]
    if rng.random() < 0.2:
        found["weights"] = [{"devices": ["pv_*"], "p": 10.0, "q": 0.1}]
    if rng.random() < 0.3:
        found["emergency"] = {"shed": [{"devices": ["load_*"]}], "trip": ["pv_*"]}
    return found


# -- the run ----------------------------------------------------------------------------------------------------------


class Bench:
    """A built run whose shield is asked directly."""

    def __init__(self, what: Feeder, **shield: Any) -> None:
        self.feeder = what
        text = what.scenario_text(**_without_names(what, shield))
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "feeder.m").write_text(what.case_text(), encoding="utf-8")
            self.sim: Simulation = build(load_text(text, path=Path(folder) / "feeder.yaml", registry=REGISTRY))
        self.fleet, self.shield = self.sim._fleet, self.sim._shield
        assert isinstance(self.shield, NetworkShield)
        self.attempts = 0
        self.t_us = 0
        self.last: Vector = self.shield._last

    def advance(self, p_kw: float = 0.0, q_kvar: float = 0.0) -> None:
        """One scan later, with other demand at the last bus."""
        self.t_us += STEP_US
        self.fleet.set_extra(0, p_kw, q_kvar)
        self.fleet.advance(self.t_us)

    def ask(self, values: Vector, authority: int = 1) -> ShieldDecision:
        """What the shield answers; nothing is applied."""
        who = np.where(np.isnan(values), -1, authority).astype(np.int8)
        attempts = Attempts(self._counted, self.sim._moving, self.sim._respond)
        return self.shield.filter(Asked(values, who, self.t_us), attempts)

    def apply(self, decision: ShieldDecision) -> None:
        """Take the answer over, as a SOLVE does."""
        self.sim._settle(decision, self.t_us)
        self.last = decision.applied

    def held(self) -> SolvedTrial:
        """What staying with the last applied setpoints comes to now."""
        return self.sim._attempt(self.followed(self.last), -1)

    def followed(self, values: Vector) -> Vector:
        """What devices can follow of `values`."""
        return self.shield.means.capability.limit(values).setpoints

    def ranges(self) -> tuple[Vector, Vector]:
        """Static ranges (low, high) of all outputs."""
        points = [point for group in self.fleet.groups for point in group.setpoints]
        nothing = [np.empty(0)]
        return (np.concatenate([point.low for point in points] or nothing),
                np.concatenate([point.high for point in points] or nothing))

    def requests(self, seed: int) -> Vector:
        """A request: within the ranges, at their edges, beyond, or nothing; of some or all outputs."""
        rng = np.random.default_rng([seed, 77])
        low, high = self.ranges()
        style = rng.integers(4)
        share = rng.random(low.size) if style == 0 else rng.choice([0.0, 1.0], low.size)
        share = np.full(low.size, rng.choice([0.0, 1.0])) if style == 2 else share
        values = np.where(np.isfinite(high - low), low + share * (high - low), rng.choice([-1e4, 1e4], low.size))
        return np.where(rng.random(low.size) < rng.choice([0.0, 0.2, 0.7]), np.nan, values)

    def _counted(self, setpoints: Vector, lost: int) -> SolvedTrial:
        self.attempts += 1
        return self.sim._attempt(setpoints, lost)


def _without_names(what: Feeder, shield: dict[str, Any]) -> dict[str, Any]:
    """Leave out what names kinds of devices that this feeder does not have."""
    out = {**what.shield, **shield}
    names = [str(device["name"]) for device in what.devices]
    has = {kind: any(name.startswith(kind) for name in names) for kind in ("pv", "load")}
    if not has["pv"]:
        out.pop("weights", None)
    if "emergency" in out:
        emergency = {key: entry for key, entry in out["emergency"].items() if has["pv" if key == "trip" else "load"]}
        out = {**out, "emergency": emergency}
    return {**out, **{key: [] for key in ("weights",) if key in what.shield and key not in out}}


# -- the oracle -------------------------------------------------------------------------------------------------------


class Oracle:
    """pandapower's solution of the feeder at a dispatch."""

    def __init__(self, what: Feeder, injection_bus: Ids) -> None:
        self._feeder = what
        net = pp.create_empty_network(f_hz=50.0, sn_mva=BASE_MVA)
        ohm = BASE_KV**2 / BASE_MVA
        for _ in range(what.n_bus):
            pp.create_bus(net, BASE_KV)
        pp.create_ext_grid(net, 0, vm_pu=what.slack_v_pu)
        for i, start in enumerate(what.parent.tolist()):
            nano = what.b_pu[i] / ohm / (2 * np.pi * 50.0) * 1e9
            pp.create_line_from_parameters(net, start, i + 1, 1.0, what.r_pu[i] * ohm, what.x_pu[i] * ohm, nano, 1.0)
        for bus in range(what.n_bus):
            pp.create_load(net, bus, what.p_mw[bus], what.q_mvar[bus])
        for bus in what.gen_bus:
            pp.create_gen(net, bus, 0.0, vm_pu=1.0)
        for bus in injection_bus.tolist():
            pp.create_sgen(net, bus, 0.0, 0.0)
        self._net = net

    def solve(self, dispatch: Dispatch, near: GridState | None = None) -> dict[str, Vector] | None:
        """Voltages, apparent power over rating of the branches, import in kW; None without solution.

        From a flat start, or from the voltages of `near`: a feeder near its limit has more than one solution.
        """
        net, topology = self._net, dispatch.topology
        net.sgen["p_mw"], net.sgen["q_mvar"] = dispatch.p_kw / 1e3, dispatch.q_kvar / 1e3
        net.line["in_service"] = topology.line_closed
        net.gen["p_mw"], net.gen["vm_pu"] = dispatch.gen_p_kw[1:] / 1e3, dispatch.gen_v_pu[1:]
        net.gen["in_service"] = topology.gen_closed[1:]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                start: dict[str, Any] = {"init": "flat"} if near is None else {
                    "init_vm_pu": np.nan_to_num(near.v_pu, nan=1.0),
                    "init_va_degree": np.nan_to_num(near.angle_deg)}
                pp.runpp(net, tolerance_mva=1e-9, max_iteration=60, numba=False, **start)
            except pp.LoadflowNotConverged:
                return None
        line = net.res_line
        s_mva = np.maximum(np.hypot(line.p_from_mw, line.q_from_mvar), np.hypot(line.p_to_mw, line.q_to_mvar))
        return {"voltage": net.res_bus.vm_pu.to_numpy(), "loading": np.nan_to_num(s_mva) / self._feeder.rating_mva,
                "exchange": np.array([net.res_ext_grid.p_mw.sum() * 1e3])}

    def excess(self, found: dict[str, Vector], shield: dict[str, Any]) -> Vector:
        """By how much hard limits are passed, per unit (of rated voltage, rating, base power)."""
        parts = [self._band(found["voltage"], shield["voltage"][0], "v_min_pu", "v_max_pu"),
                 self._band(found["loading"], shield["loading"][0], "", "loading_max")]
        parts += [self._band(found["exchange"], limit, "p_min_kw", "p_max_kw") / (BASE_MVA * 1e3)
                  for limit in shield.get("exchange", ())]
        return np.concatenate(parts)

    @staticmethod
    def _band(values: Vector, limit: dict[str, Any], low: str, high: str) -> Vector:
        if not limit.get("hard", True):
            return np.zeros(values.size)
        return np.fmax(np.fmax(values - limit.get(high, np.inf), limit.get(low, -np.inf) - values), 0.0)

