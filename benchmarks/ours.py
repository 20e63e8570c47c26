"""Our side of the co-simulation benchmark: the only module of the benchmarks that knows `cosim`.

`cosim` is imported inside the functions, so that the peers can be measured without it. The scenario is what a user
would write (generated, because it has up to a thousand agents): devices, a channel, agents with a built-in policy, the
shield in place, nothing switched off but the recording of points and messages where the row says so.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.exchange import (
    AGENT_OFFSET_S,
    DELAY_S,
    DROOP_KVAR_PER_PU,
    LIMIT_KVAR,
    LOSS,
    N_LOADS,
    Result,
    disturbance,
)
from benchmarks.harness import child_peak_mb

if TYPE_CHECKING:
    from cosim.channel import Traffic
    from cosim.simulation import Simulation

RECORDED_POINTS = '["*"]'


def run(n_agents: int, duration_s: int, seed: int, record: bool, points: bool = True) -> Result:
    """The exchange on Gridloop; `record` records into a temporary folder: commands, and with `points` every point each
    second.

    `wall_s` covers the advance from the first scan to `duration_s`, not `build`; with `record` it covers the last
    flush too. `final_checksum` is the run's digest.
    """
    with tempfile.TemporaryDirectory(prefix="gridloop-bench-") as scratch:
        folder = Path(scratch)
        _write_profile(folder / "disturbed.csv", duration_s)
        simulation = _built(folder, scenario_text(n_agents, duration_s, seed, record and points), record)
        begun_s = perf_counter()
        simulation.advance_to(duration_s * 1_000_000 - 1)
        digest = simulation.recorder.close("done")
        wall_s = perf_counter() - begun_s
        wan = simulation.channels["wan"]
        setpoints = simulation.points.read_vector(["pv*.q_set_kvar"])
        return Result(
            grid_steps=simulation.solves - 1,  # one SOLVE belongs to `build`
            messages_sent=wan.up.sent + wan.down.sent, messages_delivered=wan.up.delivered + wan.down.delivered,
            wall_s=wall_s, final_checksum=digest,
            moved_agents=int(((setpoints == setpoints) & (setpoints != 0)).sum()))


def kernel_senders(n: int, duration_s: int) -> tuple[int, float]:
    """(messages sent, wall_s): `n` senders of one message a second through one lossy channel, no grid, no agents."""
    from cosim.channel import build_channels
    from cosim.kernel import Kernel
    from cosim.plugins import Registry
    from cosim.scenario.schema import Channel

    kernel = Kernel(1)
    rules = [{"kind": "latency", "distribution": "uniform", "low_ms": DELAY_S[0] * 1e3, "high_ms": DELAY_S[1] * 1e3},
             {"kind": "loss", "probability": LOSS}]
    link = build_channels([Channel(name="wan", rules=tuple(rules))], kernel, Registry())["wan"].up
    for _ in range(n):
        kernel.every(1_000_000, _Sender(link).send)
    begun_s = perf_counter()
    kernel.advance_to(duration_s * 1_000_000)
    return link.sent, perf_counter() - begun_s


class _Sender:
    """Sends the time over a link, and keeps the last that arrived."""

    __slots__ = ("_link", "last_us")

    def __init__(self, link: Traffic) -> None:
        self._link, self.last_us = link, -1

    def send(self, t_us: int) -> None:
        """Send one message."""
        self._link.send(64, self.take, t_us)

    def take(self, t_us: int) -> None:
        """A message has arrived."""
        self.last_us = t_us


def memory_per_agent(n: int) -> float:
    """MB an agent: peak memory of a run with `n` agents less that with one, over n - 1; each in its own process."""
    many, one = (child_peak_mb(f"from benchmarks import ours; ours.run({count}, 5, 1, False)") for count in (n, 1))
    return (many - one) / (n - 1)


def scenario_text(n_agents: int, duration_s: int, seed: int, points: bool) -> str:
    """The exchange as a scenario file, that records every point or none."""
    from cosim.grid import load_network

    network = load_network("case118", Path())
    loads = network.loads
    largest = min(range(len(loads.names)), key=lambda i: loads.p_kw[i])
    half_width = LIMIT_KVAR / DROOP_KVAR_PER_PU
    devices = "\n".join(
        f"  - {{kind: pv, name: pv{i}, bus: '{network.bus_names[loads.bus[i % N_LOADS]]}', p_rated_kw: 1, "
        f"s_rated_kva: {LIMIT_KVAR * 2}, q_max_pu: 0.5}}" for i in range(n_agents))
    return f"""\
name: exchange
seed: {seed}
duration_s: {duration_s}
step_s: 1
grid: {{network: case118}}
devices:
  - {{kind: load, name: disturbed, element: '{loads.names[largest]}', profile: "disturbed.csv#factor"}}
{devices}
channels:
  - name: wan
    rules:
      - {{kind: latency, distribution: uniform, low_ms: {DELAY_S[0] * 1e3}, high_ms: {DELAY_S[1] * 1e3}}}
      - {{kind: loss, probability: {LOSS}}}
agents:
  - name: "agent_{{}}"
    each: "pv*"
    period_s: 1
    offset_s: {AGENT_OFFSET_S}
    policy: {{kind: droop, curve: [[{1 - half_width}, 1], [{1 + half_width}, -1]], base: {LIMIT_KVAR}}}
    observe: ["{{}}.v_pu"]
    actuate: ["{{}}.q_set_kvar"]
    telemetry: {{kind: channel, channel: wan}}
record: {{points: {RECORDED_POINTS if points else "[]"}, messages: false}}
"""


def _write_profile(path: Path, duration_s: int) -> None:
    rows = "\n".join(f"{t_s},{disturbance(t_s)!r}" for t_s in range(duration_s + 2))
    path.write_text(f"t_s,factor\n{rows}\n", encoding="utf-8")


def _built(folder: Path, text: str, record: bool) -> Simulation:
    from cosim.recorder import Recorder, RecordOptions
    from cosim.scenario.loader import load_text
    from cosim.simulation import BuildOptions, build

    loaded = load_text(text, path=folder / "exchange.yaml")
    if not record:
        return build(loaded)
    return build(loaded, BuildOptions(recorder=lambda points, ids: Recorder(
        folder / "result", points, options=RecordOptions(sample_ids=ids, period_us=1_000_000))))
