"""Small scenarios for learners: three batteries on a feeder, and one with everything that has a memory."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import cosim.simulation.kept
from cosim.env import Decision, EnvOptions, EventEnv
from cosim.grid import Network, load_network
from cosim.scenario.loader import LoadedScenario, load_text

#: Baran and Wu's feeder with a load and three batteries; one learner for each battery, every 5 s.
BASE: Mapping[str, Any] = {
    "name": "three", "duration_s": 40, "step_s": 1, "seed": 1, "grid": {"network": "case33bw"},
    "devices": [{"kind": "load", "name": "ld", "bus": "5", "p_kw": 300, "q_kvar": 50},
                *({"kind": "battery", "name": f"bat{i}", "bus": bus, "p_max_kw": 100, "e_rated_kwh": 2}
                  for i, bus in ((1, "13"), (2, "18"), (3, "25")))],
    "record": {"points": [], "messages": False},
}
LOSSES = {"kind": "sum", "name": "losses", "points": ["grid.losses_kw"], "weight": -0.01}


def learner(i: int = 1, **changes: Any) -> dict[str, Any]:
    """An agent for battery `i`."""
    return {"name": f"agent_{i}", "policy": {"kind": "constant", "values": [0.0]}, "period_s": 5,
            "observe": [f"bat{i}.soc", f"bat{i}.v_pu", "grid.losses_kw"], "actuate": [f"bat{i}.p_set_kw"], **changes}


def loaded(*agents: Mapping[str, Any], learning: Mapping[str, Any] | None = None, **changes: Any) -> LoadedScenario:
    """The base scenario with these agents (default: one for each battery)."""
    each = [dict(agent) for agent in agents] or [learner(i) for i in (1, 2, 3)]
    data = {**BASE, "agents": each, "learning": dict(learning or {"reward": [LOSSES]}), **changes}
    return load_text(yaml.safe_dump(data), path=Path("three.yaml"))


def made(*agents: Mapping[str, Any], options: EnvOptions | None = None, **changes: Any) -> EventEnv:
    """An environment of `loaded`."""
    return EventEnv(loaded(*agents, **changes), options=options)


def networks_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of networks, as environments read them from now on."""
    read: list[str] = []

    def counted(name: str, base_dir: Path) -> Network:
        read.append(name)
        return load_network(name, base_dir)

    monkeypatch.setattr(cosim.simulation.kept, "load_network", counted)
    return read


def with_memory() -> LoadedScenario:
    """Batteries, taps, a lossy channel, history, jitter, random load steps: everything that could outlive a reset."""
    devices = [{"kind": "battery", "name": "bat", "bus": "9", "p_max_kw": 9000, "e_rated_kwh": 400},
               {"kind": "tap_changer", "name": "tap", "trafo": "4-9", "delay_s": 2, "delay_next_s": 1},
               {"kind": "load", "name": "ld", "bus": "14", "p_kw": 900}]
    seen = {"history": 3, "last_action": True, "acknowledged": True, "quality": True, "clock": ["day"]}
    agents = [
        {"name": "store", "policy": {"kind": "constant", "values": [0.0]}, "period_s": 3, "jitter_s": 1.5,
         "compute_s": 0.4, "telemetry": {"kind": "channel", "channel": "wan"},
         "observe": ["bat.soc", "bat.v_pu", "bus.*.v_pu"], "actuate": ["bat.p_set_kw"],
         "learn": {"observe": seen, "reward": [{"kind": "change", "points": ["bat.p_set_kw"], "weight": -1}]}},
        {"name": "taps", "policy": {"kind": "constant", "values": [0.0]}, "period_s": 7,
         "observe": ["tap.*", "grid.losses_kw"], "actuate": ["tap.v_set_pu"],
         "learn": {"observe": seen, "act": {"range": {"tap.v_set_pu": [0.95, 1.05]}}}}]
    data = {"name": "memory", "duration_s": 60, "step_s": 1, "seed": 4, "grid": {"network": "case14"},
            "devices": devices, "agents": agents,
            "channels": [{"name": "wan", "rules": [
                {"kind": "latency", "distribution": "uniform", "low_ms": 50, "high_ms": 900},
                {"kind": "gilbert_elliott", "mean_good_s": 5, "mean_bad_s": 5, "loss_bad": 0.9}]}],
            "disturbances": [{"kind": "load_step", "bus": "14", "p_kw": 20000, "duration_s": 4,
                              "random": {"per_hour": 600}}],
            "learning": {"reward": [LOSSES, {"kind": "voltage", "low": 1.0, "high": 1.0}],
                         "discount": {"gamma": 0.9, "per_s": 10},
                         "episode": {"vary": [{"path": "devices.0.soc_start", "low": 0.3, "high": 0.7}]}},
            "record": {"points": [], "messages": False}}
    return load_text(yaml.safe_dump(data), path=Path("memory.yaml"))


def played(env: EventEnv, seed: int | None, choice: int = 0) -> list[Decision]:
    """The decisions of a whole episode with random actions drawn from `choice`."""
    rng = np.random.default_rng(choice)
    found = [env.reset(seed)]
    while not found[-1].ended:
        found.append(env.step({i: drawn(env, i, rng) for i in np.flatnonzero(found[-1].due).tolist()}))
    return found


def drawn(env: EventEnv, i: int, rng: np.random.Generator) -> np.ndarray:
    """A random row of one learner."""
    action = env.specs[i].action
    return np.concatenate([rng.uniform(-1, 1, len(action.continuous)), [rng.integers(n) for n in action.counts]])


def fingerprint(decisions: list[Decision]) -> str:
    """A digest of every bit of some decisions."""
    digest = hashlib.sha256()
    for d in decisions:
        for part in (d.due, d.observation, d.reward, d.cost, d.dt_s, d.age_s, d.terminated):
            digest.update(np.ascontiguousarray(part).tobytes())
        digest.update(f"{d.t_us} {d.truncated} {d.ended}".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.stdout.write(fingerprint(played(EventEnv(with_memory()), 21, 3)))
