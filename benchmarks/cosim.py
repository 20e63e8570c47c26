"""Co-simulation against its peers: the figures to reach of the core engine, one row each.

    python -m benchmarks.cosim [--quick] [--json FILE]

The exchange is that of `benchmarks.exchange`. The peers are the bare loop (SimPy + lightsim2grid by hand: the floor),
HELICS in process and mosaik, both without a power flow. Where a peer can be set up in several ways the rows say which:
HELICS's row to reach is its fastest layout; mosaik's is one simulator an agent (independent agents), and mosaik with
all agents batched in one simulator, where it schedules two participants and not N, is reported beside it without a
figure to reach.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

if __package__ in (None, ""):  # run as a file: the repository root is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import bare_loop, exchange, harness, helics_peer, mosaik_peer, ours
from benchmarks.harness import Comparison, NotBuiltError, Rate, Reach, Row

SEED = 7
Side = Callable[[int, int, int], exchange.Result]

# Seconds simulated per measurement, chosen so that each takes a few tenths of a wall second on a common machine.
DURATION_S = {10: 2_000, 100: 400, 1_000: 60}
HELICS_DURATION_S = {10: 400, 100: 80, 1_000: 10}
MOSAIK_DURATION_S = {10: 200, 100: 16}
MOSAIK_SHARED_DURATION_S = {10: 1_000, 100: 400, 1_000: 20}


class WrongExchangeError(Exception):
    """A side's counts are not those of the exchange: its rate would mean nothing."""


def _ours(n_agents: int, duration_s: int, seed: int) -> exchange.Result:
    return ours.run(n_agents, duration_s, seed, False)


def _ours_recorded(n_agents: int, duration_s: int, seed: int) -> exchange.Result:
    return ours.run(n_agents, duration_s, seed, True)


def _ours_commands_recorded(n_agents: int, duration_s: int, seed: int) -> exchange.Result:
    return ours.run(n_agents, duration_s, seed, True, False)


def _mosaik_shared(n_agents: int, duration_s: int, seed: int) -> exchange.Result:
    return mosaik_peer.run(n_agents, duration_s, seed, "shared")


def _helics_federates(n_agents: int, duration_s: int, seed: int) -> exchange.Result:
    return helics_peer.run(n_agents, duration_s, seed, "federate_per_agent")


def rate(side: Side, n_agents: int, duration_s: int) -> Rate:
    """Grid steps per second of `side`; raises WrongExchangeError when what it did is not the exchange."""

    def measure() -> float:
        result = side(n_agents, duration_s, SEED)
        found = exchange.complaints(result, n_agents, duration_s)
        if found:
            raise WrongExchangeError(f"{side.__module__} with {n_agents} agents: {'; '.join(found)}")
        return result.steps_per_s

    return measure


def per_second(work: Callable[[int, int], tuple[int, float]], n: int, duration_s: int) -> Rate:
    """Events per second of a (count, wall_s) function."""

    def measure() -> float:
        count, wall_s = work(n, duration_s)
        return count / wall_s

    return measure


def _exchange_rows(quick: bool) -> Iterator[Comparison]:
    """10, 100 and 1,000 agents against each peer that has a row for that size."""
    every_size = dict.fromkeys((10, 100, 1_000), Reach(True, 0.5))
    mosaik_reach = {10: Reach(True, 8.0), 100: Reach(True, 60.0)}
    peers: list[tuple[str, Side, dict[int, int], Mapping[int, Reach | None]]] = [
        ("bare loop", bare_loop.run, DURATION_S, every_size),
        ("HELICS, one federate", helics_peer.run, HELICS_DURATION_S, {10: Reach(True, 2.0), 100: None}),
        ("HELICS, a federate an agent", _helics_federates, HELICS_DURATION_S, {10: None}),
        ("mosaik, a simulator an agent", mosaik_peer.run, MOSAIK_DURATION_S, mosaik_reach),
        ("mosaik, agents batched", _mosaik_shared, MOSAIK_SHARED_DURATION_S, {10: None, 100: None}),
    ]
    scale = 0.5 if quick else 1.0
    for n_agents in (10, 100, 1_000):
        mine = rate(_ours, n_agents, int(DURATION_S[n_agents] * scale))
        for peer, side, durations, reaches in peers:
            if n_agents in reaches:
                theirs = rate(side, n_agents, max(2, int(durations[n_agents] * scale)))
                yield Comparison(f"{n_agents:,} agents", "grid steps/s", peer, mine, theirs, reaches[n_agents])


def _own_rows(quick: bool) -> Iterator[Comparison]:
    """The kernel alone, and recording on against off."""
    seconds = 100 if quick else 300
    yield Comparison(
        "kernel: 1,000 senders, lossy channel",
        "messages/s",
        "1,000 SimPy timeout processes",
        per_second(ours.kernel_senders, 1_000, seconds),
        per_second(bare_loop.raw_timeouts, 1_000, seconds),
        Reach(True, 0.35),
    )
    duration_s = 400 if quick else 1_500
    for against, side in (("the same, recording commands but no points", _ours_commands_recorded),
                          ("the same, nothing written", _ours)):
        yield Comparison(
            "100 agents, recording every point",  # 25 % slower at most: 1 / 1.25
            "grid steps/s",
            against,
            rate(_ours_recorded, 100, duration_s),
            rate(side, 100, duration_s),
            Reach(True, 0.8),
        )


def memory_row() -> Row:
    """Memory an agent; the ratio is to the 0.2 MB allowed."""
    reach = Reach(False, 1.0)
    try:
        value = ours.memory_per_agent(1_000)
    except NotBuiltError as missing:
        return Row("memory an agent, 1,000 agents", None, "MB", f"0.2 MB ({missing})", None, str(reach), None)
    return Row("memory an agent, 1,000 agents", value, "MB", "0.2 MB", value / 0.2, str(reach), reach.met(value / 0.2))


def digest_row() -> Row:
    """The same exchange and seed in two processes: 1 where the digests agree."""
    name, reach = "same digest in two processes", Reach(True, 1.0)
    try:
        ours.run(1, 1, SEED, False)
    except NotBuiltError as missing:
        return Row(name, None, "agree", f"another process ({missing})", None, str(reach), None)
    statement = f"from benchmarks import ours; print(ours.run(100, 60, {SEED}, False).final_checksum)"
    agree = float(harness.child_output(statement) == harness.child_output(statement))
    return Row(name, agree, "agree", "another process", agree, str(reach), reach.met(agree))


def measure(quick: bool) -> Iterator[Row]:
    """All rows, measured one after the other."""
    pairs = 3 if quick else 7
    for comparison in (*_exchange_rows(quick), *_own_rows(quick)):
        yield comparison.row(pairs)
    yield memory_row()
    yield digest_row()


if __name__ == "__main__":
    sys.exit(harness.main("Co-simulation benchmark: Gridloop against its peers.", measure))
