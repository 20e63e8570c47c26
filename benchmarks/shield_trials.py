"""Figure 1 of `benchmarks.shield`: does anybody get a violation past the shield?

The run is the engine's own: commands enter the inbox, `advance_to` does the scan, and the shield stands where it
always stands. A `Watch` around it times each call and judges what is committed against the exact limits with no
tolerance. The devices' clocks only go forward, so the instants are not random: a year is stepped through evenly (in
1e6 calls every 31.5 s), each process has its own part of the year and its own seed. The profiles are 15-minute
values with straight lines between for the PV, so neighbouring instants are alike, the requests are not.

What the shield flags as infeasible is given to `least_violation`, an interior-point method that shares nothing with
it; a feasible point found there refutes the flag. A sample of accepted states is solved again by pandapower.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import beta

from benchmarks import shield_channel
from benchmarks.harness import in_processes
from benchmarks.optimal_projection import least_violation
from benchmarks.projection_model import Problem
from benchmarks.shield_cases import (
    FEEDERS,
    Feeder,
    Inverters,
    Judge,
    Window,
    built,
    feeder_text,
    own_limits_kept,
    policy,
)
from benchmarks.shield_oracle import Oracle
from cosim.points import Vector
from cosim.shield.assess import Attempt
from cosim.shield.decision import Asked, Shield, ShieldDecision, ShieldReason, Trial
from cosim.state import GridState, Response

CONFIRMED_MOST = 200
"""Flagged states of one cell that are put to the independent feasibility solve."""
FAILURES_SHOWN = 10
JUST_BEFORE_US = 30_000_000
"""What a decision did behind a channel shows a scan or three later: a flag that old still speaks for it."""


class Seen:
    """The attempts of one call: the first is the request itself."""

    __slots__ = ("attempt", "trials")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.trials: list[Trial] = []

    def __call__(self, setpoints: Vector) -> Trial:
        trial = self.attempt(setpoints)
        self.trials.append(trial)
        return trial

    def without(self, setpoints: Vector, branch: int) -> Trial:
        return self.attempt.without(setpoints, branch)

    def ahead(self, setpoints: Vector) -> Trial | None:
        return self.attempt.ahead(setpoints)

    def response(self, setpoints: Vector, trial: Trial) -> Response | None:
        return self.attempt.response(setpoints, trial)


Note = Callable[[ShieldDecision, Seen, float, int], None]
"""Told of every call that was committed: the answer, its attempts, its time (ms) and the simulation's (us)."""


class Watch:
    """A shield that tells of another's calls and changes nothing."""

    def __init__(self, inner: Shield, note: Note) -> None:
        self._inner, self._note = inner, note
        self._seen: Seen | None = None
        self._ms = 0.0

    def filter(self, asked: Asked, attempt: Attempt) -> ShieldDecision:
        seen = Seen(attempt)
        begun_s = time.perf_counter()
        decision = self._inner.filter(asked, seen)
        self._ms = (time.perf_counter() - begun_s) * 1e3
        self._seen = seen
        return decision

    def settled(self, decision: ShieldDecision, t_us: int) -> None:
        assert self._seen is not None
        self._note(decision, self._seen, self._ms, t_us)
        self._inner.settled(decision, t_us)


@dataclass(frozen=True, slots=True)
class Share:
    """What one process does of a cell (feeder and policy): part `share` of `of` of a year of `calls`."""

    feeder: str
    policy: str
    calls: int
    share: int = 0
    of: int = 1
    shielded: bool = True
    checked: int = 0
    """Accepted states solved again by pandapower."""
    confirmed: int = CONFIRMED_MOST
    channel: str = ""
    """Quality of the channel between the field and a shield in the control centre; "": the year, in the field."""

    @property
    def seed(self) -> int:
        return 1_000 * (1 + list(FEEDERS).index(self.feeder)) + self.share

    @property
    def window(self) -> Window:
        return shield_channel.window(self.calls) if self.channel else Window.of_year(self.calls, self.share, self.of)

    def text(self) -> str:
        """The scenario file."""
        if self.channel and self.shielded:
            return shield_channel.text(self.feeder, self.channel, self.calls, self.seed)
        mode, loads = "enforce" if self.shielded else "off", "linear" if self.channel else "hold"
        return feeder_text(FEEDERS[self.feeder], self.window, self.seed, f"shield: '{mode}'", loads)


@dataclass(slots=True)
class Tally:
    """What came of a share. Times in ms; energies in kW x calls; `rechecked_pu` is the largest difference found."""

    counts: Counter[str] = field(default_factory=Counter)
    available: float = 0.0
    curtailed: float = 0.0
    curtailed_by_shield: float = 0.0
    times_ms: list[float] = field(default_factory=list)
    rechecked_pu: float = 0.0
    wall_s: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in another share's."""
        self.counts.update(other.counts)
        for name in ("available", "curtailed", "curtailed_by_shield"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.times_ms += other.times_ms
        self.rechecked_pu = max(self.rechecked_pu, other.rechecked_pu)
        self.wall_s = max(self.wall_s, other.wall_s)
        self.failures += other.failures

    def share_of(self, what: str) -> float:
        """A count as a share of the calls."""
        return self.counts[what] / max(self.counts["calls"], 1)

    def ms(self, quantile: float) -> float:
        """A quantile of the call times; quantile 1 is the maximum."""
        return float(np.quantile(np.array(self.times_ms), quantile)) if self.times_ms else float("nan")

    def fail(self, words: str) -> None:
        """Keep how to see a failure again, up to a few."""
        if len(self.failures) < FAILURES_SHOWN:
            self.failures.append(words)


class Counting:
    """Counts a share's calls, and keeps what is to be checked afterwards."""

    def __init__(self, share: Share, inverters: Inverters, judge: Judge) -> None:
        self.share, self.inverters, self.judge, self.tally = share, inverters, judge, Tally()
        self.flagged: list[tuple[Problem, str]] = []
        self.accepted: list[tuple[Vector, Vector, GridState]] = []
        self._every = max(1, share.window.steps // share.checked) if share.checked else 0
        self._rng = np.random.default_rng(share.seed + 500)
        self._flagged_us = -JUST_BEFORE_US - 1

    def __call__(self, decision: ShieldDecision, seen: Seen, ms: float, t_us: int) -> None:
        tally, counts = self.tally, self.tally.counts
        counts["calls"] += 1
        counts[decision.rung.name] += 1
        tally.times_ms.append(ms)
        state, kept = decision.trial.state, self.judge(decision.trial.state)
        first = seen.trials[0] if seen.trials else decision.trial  # a shield that believes has a model of its own
        counts["requests violating"] += not self.judge(first.state)
        self._energy(decision.trial, first)
        if decision.infeasible:
            self._flagged_us = t_us
        if not own_limits_kept(self.inverters, decision.trial):
            counts["device limits passed"] += 1
            tally.fail(self._repro("device limits passed", t_us, decision))
        if not kept:
            counts["violating"] += 1
            if decision.infeasible:
                counts["infeasible"] += 1
                self._keep_flagged(first, self._repro("flag refuted", t_us, decision))
            elif self.share.shielded:
                counts["unflagged"] += 1
                counts["unflagged, a report stale"] += bool((decision.reason == ShieldReason.STALE).any())
                counts["unflagged, flagged just before"] += t_us - self._flagged_us <= JUST_BEFORE_US
                tally.fail(self._repro("unflagged", t_us, decision))
        elif decision.infeasible:
            counts["flagged though kept"] += 1
        elif self._every and counts["calls"] % self._every == 0:
            self.accepted.append((decision.trial.dispatch.p_kw, decision.trial.dispatch.q_kvar, state))

    def _energy(self, applied: Trial, requested: Trial) -> None:
        at, tally = self.inverters.devices, self.tally
        given = float(applied.dispatch.p_kw[at].sum())
        available = float(self.inverters.available_kw.sum())
        tally.available += available
        tally.curtailed += available - given
        tally.curtailed_by_shield += float(requested.dispatch.p_kw[at].sum()) - given

    def _keep_flagged(self, requested: Trial, repro: str) -> None:
        """A fair sample of at most `confirmed` (reservoir sampling)."""
        place = len(self.flagged)
        if place >= self.share.confirmed:
            place = int(self._rng.integers(self.tally.counts["infeasible"]))
        if place < self.share.confirmed:
            self.flagged[place:place + 1] = [(self.inverters.problem(requested), repro)]

    def _repro(self, what: str, t_us: int, decision: ShieldDecision) -> str:
        share, v, asked = self.share, decision.trial.state.v_pu, decision.requested
        channel = f", channel={share.channel!r}" if share.channel else ""
        return (f"{what}: Share({share.feeder!r}, {share.policy!r}, {share.calls}, {share.share}, "
                f"{share.of}{channel}) at t_us = {t_us} on rung {decision.rung.name}: v {v.min():.7f}..{v.max():.7f}, "
                f"requested {np.array2string(asked[~np.isnan(asked)], precision=6, max_line_width=500)}")


def run(share: Share) -> Tally:
    """Drive one share through the engine, then check what was flagged and a sample of what was accepted."""
    window = share.window
    simulation = built(share.text())
    inverters, judge = Inverters(simulation), Judge(simulation)
    counting = Counting(share, inverters, judge)
    ask = policy(share.policy, inverters, judge, np.random.default_rng(share.seed))
    simulation.advance_to(0)
    simulation._shield = Watch(simulation._shield, counting)
    step_us, begun_s = round(window.step_s * 1e6), time.perf_counter()
    for k in range(1, window.steps + 1):
        ask(simulation.grid.state)
        simulation.advance_to(k * step_us)
        if k % max(window.steps // 10, 1) == 0:
            _tell(share, k / window.steps, counting.tally, begun_s)
    counting.tally.wall_s = time.perf_counter() - begun_s
    if share.shielded and not share.channel:
        _confirm(counting)
        _recheck(counting, FEEDERS[share.feeder])
    return counting.tally


def _tell(share: Share, done: float, tally: Tally, begun_s: float) -> None:
    counts = tally.counts
    print(f"  {share.feeder} {share.policy}{'' if share.shielded else ' unshielded'} {share.share + 1}/{share.of}: "
          f"{done:.0%}, {counts['unflagged']} unflagged, {counts['infeasible']} infeasible, "
          f"{time.perf_counter() - begun_s:.0f} s", file=sys.stderr, flush=True)


def _confirm(counting: Counting) -> None:
    """Put the flagged states to the independent feasibility solve."""
    for problem, repro in counting.flagged:
        found = least_violation(problem)
        counting.tally.counts["refuted" if found.feasible else "confirmed"] += 1
        if found.feasible:
            safe = np.array2string(np.concatenate([found.p_kw, found.q_kvar]), precision=3, max_line_width=500)
            counting.tally.fail(f"{repro}; safe: {safe}")


def _recheck(counting: Counting, feeder: Feeder) -> None:
    """Solve the sample of accepted states with pandapower."""
    if not counting.accepted:
        return
    oracle = Oracle(feeder, counting.inverters._simulation.grid)
    for p_kw, q_kvar, state in counting.accepted:
        differs, kept = oracle.compare(p_kw, q_kvar, state)
        counting.tally.rechecked_pu = max(counting.tally.rechecked_pu, differs)
        counting.tally.counts["rechecked"] += 1
        counting.tally.counts["rechecked and violating"] += not kept


Cell = tuple[str, str, str, bool]


def run_all(shares: Sequence[Share], processes: int) -> dict[Cell, Tally]:
    """Every share, `processes` at a time; tallies by (feeder, policy, channel, shielded)."""
    found: dict[Cell, Tally] = {}
    for share, tally in zip(shares, in_processes(run, shares, processes), strict=True):
        found.setdefault((share.feeder, share.policy, share.channel, share.shielded), Tally()).add(tally)
    return found


def upper_bound(hits: int, calls: int, level: float = 0.95) -> float:
    """Clopper-Pearson's one-sided upper bound of a probability that showed `hits` times in `calls`."""
    return float(beta.ppf(level, hits + 1, calls - hits)) if hits < calls else 1.0
