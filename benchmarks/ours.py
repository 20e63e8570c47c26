"""Our side of the co-simulation benchmark: the only module of the benchmarks that knows `cosim`.

`cosim` is imported inside the functions, so that the peers can be measured without it. Until a function is filled in
it raises `NotBuiltError` and the harness reports its rows as missing. What each must do is `benchmarks.exchange`, with
our own scenario, channels, agents, points and shield in place (no short cuts that a user would not have).
"""

from __future__ import annotations

from benchmarks.exchange import Result
from benchmarks.harness import NotBuiltError, child_peak_mb


def run(n_agents: int, duration_s: int, seed: int, record: bool) -> Result:
    """The exchange on Gridloop; `record` records every point at 1 s (into a temporary folder).

    `wall_s` covers the advance from the first scan to `duration_s`, not `build`. `final_checksum` is the run's digest.
    """
    del n_agents, duration_s, seed, record
    raise NotBuiltError("ours not built yet: benchmarks.ours.run")


def kernel_senders(n: int, duration_s: int) -> tuple[int, float]:
    """(messages sent, wall_s): `n` senders of one message a second through one lossy channel, no grid, no agents."""
    del n, duration_s
    raise NotBuiltError("ours not built yet: benchmarks.ours.kernel_senders")


def memory_per_agent(n: int) -> float:
    """MB an agent: peak memory of a run with `n` agents less that with one, over n - 1; each in its own process."""
    run(1, 1, 1, False)  # says NotBuiltError here rather than in a child
    many, one = (child_peak_mb(f"from benchmarks import ours; ours.run({count}, 5, 1, False)") for count in (n, 1))
    return (many - one) / (n - 1)
