"""Figure 2: how long a request takes when masters ask at their own pace, beside the floor under the same load."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks.gateway_effort import Effort, reached, told
from benchmarks.gateway_load import Latencies, open_loop
from benchmarks.gateway_servers import Running, ours, peer
from benchmarks.harness import Row, settled

SESSIONS, PER_SECOND = 10, 1_000.0
MOST_RATIO, MOST_MS = 3.0, 5.0


def latency(effort: Effort) -> Iterator[Row]:
    """Windows in turn; the medians of their quantiles."""
    with ours("--no-floor") as mine, peer("echo") as floor:
        for server in (mine, floor):  # a first window that does not count
            open_loop(server.port, SESSIONS, PER_SECOND, 1.0)
        pairs = [(window(mine, effort.latency_window_s), window(floor, effort.latency_window_s))
                 for _ in range(effort.pairs)]
    name = f"{PER_SECOND:,.0f} requests/s over {SESSIONS} connections"
    value, theirs, ratio = _medians(pairs, 0.99)
    lost = sum(own.lost for own, _ in pairs)
    yield reached(f"{name}: p99", value, "ms", f"bare asyncio echo, same load ({theirs:.3g} ms); {lost} not answered",
                  f"<= {MOST_RATIO:g} times or {MOST_MS:g} ms", ratio=ratio,
                  ok=not lost and (ratio <= MOST_RATIO or value <= MOST_MS))
    for share in (0.5, 0.999):
        value, theirs, ratio = _medians(pairs, share)
        yield told(f"{name}: p{100 * share:g}", value, "ms", f"bare asyncio echo ({theirs:.3g} ms)", ratio)


def window(server: Running, seconds: float) -> Latencies:
    """One side, once."""
    with settled():
        return open_loop(server.port, SESSIONS, PER_SECOND, seconds)


def _medians(pairs: list[tuple[Latencies, Latencies]], share: float) -> tuple[float, float, float]:
    """Ours, theirs (ms), and the median of the pairs' ratios."""
    figures = [(own.ms(share), theirs.ms(share)) for own, theirs in pairs]
    return (median(own for own, _ in figures), median(theirs for _, theirs in figures),
            median(own / theirs for own, theirs in figures))
