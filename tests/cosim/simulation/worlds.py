"""Small scenarios for tests: a feeder, one load, whatever a test adds; and policies that write down what they see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

from cosim.plugins import Message, PluginConfig, Registry, Situation
from cosim.points import Ids, PointDatabase, Vector
from cosim.recorder import Recorder, RecordOptions, RunAbout, RunResult
from cosim.scenario.loader import LoadedScenario, load_text
from cosim.simulation import BuildOptions, Simulation, build

#: What every scenario here starts from: one second scans on Baran and Wu's feeder with one controllable load.
BASE: Mapping[str, Any] = {
    "name": "small", "duration_s": 10, "step_s": 1, "seed": 1, "grid": {"network": "case33bw"},
    "devices": [{"kind": "load", "name": "ld", "bus": "5", "p_kw": 30, "q_kvar": 5}],
}
#: A channel that delays every message by 100 ms.
WAN = {"name": "wan", "rules": [{"kind": "latency", "distribution": "constant", "delay_ms": 100}]}

Answer = Callable[[Vector, int], Any]


class Scripted:
    """A policy that calls `answer` and notes wake-ups and messages in `log` as text."""

    def __init__(self, situation: Situation, log: list[str], answer: Answer) -> None:
        self.situation, self.log, self.answer = situation, log, answer

    def act(self, observation: Vector, t_us: int) -> Any:
        """Note, and answer."""
        self.log.append(f"{t_us / 1e6:.6f} {self.situation.name} wakes")
        return self.answer(observation, t_us)

    def hear(self, message: Message) -> None:
        """Note."""
        self.log.append(f"{message.sent_us / 1e6:.6f} {message.sender} said {list(message.values)}")


def scripted(kind_name: str, log: list[str], answer: Answer | None = None,
             make: Callable[[Situation], Answer] | None = None) -> type[Any]:
    """A policy plugin of that kind; `make` gives each agent its own answer."""

    class Kind:
        family: ClassVar[str] = "policy"
        kind: ClassVar[str] = kind_name
        summary: ClassVar[str] = "for tests"

        class Config(PluginConfig):
            """Options."""

            kind: str = kind_name

        @classmethod
        def build(cls, config: Any, situation: Situation) -> Scripted:
            """One agent's."""
            own = make(situation) if make is not None else answer
            return Scripted(situation, log, own or (lambda observation, t_us: None))

    return Kind


def registry(*plugins: type[Any]) -> Registry:
    """The installed plugins and these."""
    known = Registry()
    for plugin in plugins:
        known.add(plugin, origin="test")
    return known


def loaded(*, plugins: Sequence[type[Any]] = (), base_dir: Path | None = None, **changes: Any) -> LoadedScenario:
    """`BASE` with keys replaced."""
    text = yaml.safe_dump({**BASE, **changes}, sort_keys=False)
    return load_text(text, path=Path("test.yaml"), base_dir=base_dir or Path(), registry=registry(*plugins))


def world(*, plugins: Sequence[type[Any]] = (), external: tuple[str, ...] = (), out: Path | None = None,
          **changes: Any) -> Simulation:
    """A built simulation of `BASE` with keys replaced, recorded in memory (or in `out`)."""
    scenario = loaded(plugins=plugins, **changes)
    return build(scenario, BuildOptions(external=external, recorder=keeping(scenario, out, external)))


def keeping(scenario: LoadedScenario, out: Path | None = None, external: tuple[str, ...] = ()) -> Any:
    """A recorder factory that keeps everything."""
    about = RunAbout(name=scenario.scenario.name, seed=scenario.scenario.seed, scenario_text=scenario.text,
                     overrides=scenario.overrides, external=external,
                     duration_us=round(scenario.scenario.duration_s * 1e6))

    def make(points: PointDatabase, sample_ids: Ids) -> Recorder:
        step_s = scenario.scenario.record.period_s or scenario.scenario.step_s
        return Recorder(out, points, about, RecordOptions(sample_ids=sample_ids, period_us=round(step_s * 1e6),
                                                          messages=scenario.scenario.record.messages))

    return make


def ended(simulation: Simulation, t_s: float | None = None) -> RunResult:
    """Run to the end (or to `t_s`) and close the record."""
    simulation.advance_to(simulation.end_us if t_s is None else round(t_s * 1e6))
    simulation.recorder.end_instant(simulation.now_us)
    simulation.recorder.close("done")
    return simulation.recorder.result()


def agent(name: str = "a", **changes: Any) -> dict[str, Any]:
    """An agent that observes bus 5 and commands the load each second."""
    return {"name": name, "period_s": 1, "policy": {"kind": "constant", "values": [1.0]}, "observe": ["bus.5.v_pu"],
            "actuate": ["ld.scale"], **changes}


def over(channel: str = "wan", **changes: Any) -> dict[str, Any]:
    """Telemetry over a channel."""
    return {"kind": "channel", "channel": channel, **changes}


def commands(result: RunResult, source: str | None = None) -> list[tuple[float, str, float]]:
    """(t_s, kind, value) of the recorded commands."""
    frame = result.commands()
    if source is not None:
        frame = frame[frame["source"] == source]
    return [(row.t_us / 1e6, str(row.kind), row.value) for row in frame.itertuples()]


def events(result: RunResult, kind: str = "") -> list[str]:
    """Events as text: time, kind, subject, detail."""
    return [f"{row.t_us / 1e6:.6f} {row.kind} {row.subject}" + (f": {row.detail}" if row.detail else "")
            for row in result.events().itertuples() if kind in row.kind]


#: Every built-in device but those that need a transformer; droop, schedule, random and constant agents, direct and over
#: a lossy route; every kind of disturbance but generator and transformer outages.
RICH: Mapping[str, Any] = {
    "name": "rich", "duration_s": 60, "step_s": 1, "seed": 11, "grid": {"network": "case33bw"},
    "commands": {"timing": "on_arrival", "quantum_s": 0.05},
    "devices": [
        {"kind": "load", "name": "ld", "bus": "5", "p_kw": 30, "q_kvar": 5, "zip_p": [0.3, 0.3, 0.4]},
        {"kind": "pv", "name": "pv1", "bus": "18", "p_rated_kw": 300, "mode": "volt_var", "s_rated_kva": 330},
        {"kind": "pv", "name": "pv2", "bus": "33", "p_rated_kw": 200},
        {"kind": "battery", "name": "bat", "bus": "25", "e_rated_kwh": 2, "p_max_kw": 150},
        {"kind": "breaker", "name": "cb", "line": "28-29", "delay_s": 0.15},
        {"kind": "capacitor", "name": "cap", "bus": "30", "q_step_kvar": 100, "steps": 4, "control": "voltage",
         "delay_s": 2.5, "lockout_s": 5},
        {"kind": "generator", "name": "gen", "bus": "12", "p_max_kw": 200, "p_kw": 50, "ramp_kw_per_s": 7},
        {"kind": "wind", "name": "wt", "bus": "22", "p_rated_kw": 100},
    ],
    "channels": [
        {"name": "lan", "rules": [{"kind": "latency", "distribution": "lognormal", "median_ms": 30, "sigma": 0.8}]},
        {"name": "wan", "ordering": "fifo", "rules": [
            {"kind": "latency", "distribution": "gamma", "shape": 2, "scale_ms": 40},
            {"kind": "gilbert_elliott", "p": 0.1, "r": 0.5, "loss_bad": 0.8},
            {"kind": "duplication", "probability": 0.1, "extra_delay_ms": 30},
            {"kind": "corruption", "probability": 0.05, "deliver": True}]},
        {"name": "far", "hops": ["lan", "wan"]},
    ],
    "agents": [
        {"name": "vv", "period_s": 2, "jitter_s": 0.4, "policy": {"kind": "droop"}, "observe": ["bus.33.v_pu"],
         "actuate": ["pv2.q_set_kvar"], "telemetry": {"kind": "channel", "channel": "far"}, "deadline_s": 0.3,
         "late": "fallback", "fallback": {"kind": "constant", "values": [0.0]}},
        {"name": "shuffle", "period_s": 1.5, "offset_s": 0.2, "compute_s": 0.1, "observe": ["bat.soc"],
         "policy": {"kind": "random"}, "actuate": ["bat.p_set_kw"], "ttl_s": 5,
         "telemetry": {"kind": "channel", "channel": "lan"}},
        {"name": "plan", "period_s": 5,
         "policy": {"kind": "schedule", "rows": [[0, 60, 1], [20, 180, 0.5], [40, 0, 2]]},
         "actuate": ["gen.p_set_kw", "ld.scale"], "authority": "schedule"},
        {"name": "watch", "trigger": "on_change", "deadband": 0.002, "observe": ["bus.18.v_pu"],
         "policy": {"kind": "constant", "values": [250]}, "actuate": ["pv1.p_set_kw"]},
    ],
    "disturbances": [
        {"kind": "line_outage", "line": "7-8", "random": {"per_hour": 360}, "duration_s": 4.5},
        {"kind": "load_step", "bus": "18", "p_kw": 400, "at_s": [7.3, 31], "duration_s": 6},
        {"kind": "partition", "channel": "wan", "at_s": 22.2, "duration_s": 9, "drop_in_flight": True},
        {"kind": "point_freeze", "points": ["bus.33.*"], "at_s": 12, "duration_s": 8},
        {"kind": "point_bias", "points": ["bat.soc"], "offset": 0.1, "at_s": 18, "duration_s": 8},
        {"kind": "point_noise", "points": ["bus.1*.v_pu"], "sigma": 0.003, "at_s": 35, "duration_s": 20},
        {"kind": "breaker", "device": "cb", "at_s": 26, "duration_s": 10},
    ],
}
