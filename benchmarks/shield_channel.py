"""Figure 5 of `benchmarks.shield`: the shield in the control centre, behind channels of falling quality.

case33bw over summer days, a scan every ten seconds, reports every ten. The declared ramps are the largest changes that
each device's profile really makes (`_ramps`), the loads' profiles run straight between their quarter-hours: the honest
claim's conditions hold, but for what the channel does. Requests come from beside the shield.
"""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq

from benchmarks.harness import ROOT
from benchmarks.shield_cases import FEEDERS, HOMES, PEAK_PU, SHOPS, Window, feeder_text
from cosim.grid import load_network

QUALITIES = {
    "in the field": "",
    "5 s delay": "{kind: latency, distribution: uniform, low_ms: 4000, high_ms: 6000}",
    "5 s, 10 % loss": "{kind: latency, distribution: uniform, low_ms: 4000, high_ms: 6000}, "
                      "{kind: loss, probability: 0.1}",
    "5 s, 10 % loss, bursts": "{kind: latency, distribution: uniform, low_ms: 4000, high_ms: 6000}, "
                              "{kind: loss, probability: 0.1}, "
                              "{kind: gilbert_elliott, mean_good_s: 1200, mean_bad_s: 20, loss_bad: 0.9}",
    "15 s, 30 % loss, long bursts": "{kind: latency, distribution: uniform, low_ms: 10000, high_ms: 20000}, "
                                    "{kind: loss, probability: 0.3}, "
                                    "{kind: gilbert_elliott, mean_good_s: 900, mean_bad_s: 120, loss_bad: 1.0}",
}
"""Rules of the channel, both directions; in the field there is none, the shield sees the grid itself."""
TO_REACH = "5 s, 10 % loss, bursts"
STEP_S = 10.0
BEGIN_S = 164 * 86_400
"""13 June 2016."""
SAMPLE_S = 900.0
_ROUNDING = 1.001


def window(calls: int) -> Window:
    """`calls` scans from 13 June on, for short runs from six in the morning."""
    return Window(BEGIN_S if calls >= 8_640 else BEGIN_S + 5 * 3_600, STEP_S, calls)


def text(feeder: str, quality: str, calls: int, seed: int) -> str:
    """The scenario file: the feeder behind a channel."""
    rules = QUALITIES[quality]
    if not rules:
        return feeder_text(FEEDERS[feeder], window(calls), seed, loads="linear")
    extra = (f"channels:\n  - {{name: wan, rules: [{rules}]}}\n"
             "shield:\n  mode: enforce\n"
             f"  telemetry: {{channel: wan, period_s: {STEP_S:g}, hold_age_s: 60, lost_age_s: 600, ramps: [\n"
             + ",\n".join(f"    {line}" for line in _ramps(feeder)) + "]}")
    return feeder_text(FEEDERS[feeder], window(calls), seed, extra, "linear")


def _ramps(name: str) -> list[str]:
    """For each device the largest change of its powers in the year's profiles, per second."""
    feeder = FEEDERS[name]
    table = pq.read_table(ROOT / "scenarios" / "profiles" / "simbench_year.parquet")
    fastest = {column: float(np.abs(np.diff(table[column].to_numpy())).max()) / SAMPLE_S * _ROUNDING
               for column in (*SHOPS, *HOMES, *PEAK_PU)}
    sun = max(fastest[column] / PEAK_PU[column] for column in PEAK_PU) * feeder.peak_kw
    lines = [f"{{devices: ['pv_*'], kw_per_s: {sun:.6g}}}"]
    loads = load_network(feeder.network).loads
    for load, p_kw, q_kvar in zip(loads.names, np.abs(loads.p_kw), np.abs(loads.q_kvar), strict=True):
        shop = load.startswith("Load_CI") if feeder.network == "cigre_mv" else len(load) == 1
        (p, q), kind = (SHOPS, "shop") if shop else (HOMES, "home")
        lines.append(f"{{devices: ['{kind}_{load}'], kw_per_s: {p_kw * fastest[p]:.6g}, "
                     f"kvar_per_s: {q_kvar * fastest[q]:.6g}}}")
    return lines
