"""The environment for learners: what a step costs, against Grid2Op and against the same scenario's plain run.

    python -m benchmarks.environment [--quick] [--json FILE]

* One learner on case118 (`benchmarks.learner_case118`: 618 observed points, 145 setpoints that all move every step, 99
  loads on profiles, AC) through `parallel_env` with the default reward (voltages, overloads, losses) and infos as they
  come, against Grid2Op's 118-bus environment with LightSimBackend that does nothing.  Beside it with the shield, and
  the same steps on the core (`EventEnv`) without PettingZoo's dictionaries.
* The exchange (`benchmarks.exchange`: N agents over a lossy channel, all due at the same offset) through
  `parallel_env`, against the same scenario as `gridloop run` runs it, in simulated seconds per wall second: with the
  default reward, and with one of voltages alone.  Beside it with wake-ups spread by jitter, where nearly every agent
  has a decision instant, and a step, of its own; and spread alike, but those within a tenth of a second together.
* Memory: peak of a fresh process with N learners less that with one, an agent.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run as a file: the repository root is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import harness, learner_case118, ours
from benchmarks.exchange import AGENT_OFFSET_S, PeerMissingError
from benchmarks.harness import Comparison, Rate, Reach, Row, child_peak_mb

if TYPE_CHECKING:
    from cosim.scenario.loader import LoadedScenario

SEED = 7
PEER = "rte_case118_example"
#: The case's own limits (bus 76 starts at 0.943 pu), and tighter ones, which every single step has to be brought into.
SHIELD = "shield: {mode: enforce}\nlimits: {v_min_pu: 0.94, v_max_pu: 1.06}\n"
TIGHT_SHIELD = "shield: {mode: enforce}\nlimits: {v_min_pu: 0.95, v_max_pu: 1.05}\n"
#: Simulated seconds of one measurement of the exchange, by number of agents.
DURATION_S = {10: 1_000, 100: 150}
JITTERED_S = {10: 300, 100: 10}
JITTER_S, TOGETHER_S = 0.4, 0.1


class NotConvergedError(Exception):
    """The power flow had no solution: what a step cost then means nothing."""


class EndedError(Exception):
    """The episode was over before the steps were: those after its end cost nothing."""


# -- case118 -----------------------------------------------------------------------------------------------------------


class Case118:
    """The environment of `learner_case118`, and actions about its operating point."""

    def __init__(self, folder: Path, shield: str = "") -> None:
        from cosim.env import parallel_env
        from cosim.scenario.loader import load_text

        learner_case118.write_profiles(folder / "loads.csv")
        text = learner_case118.scenario_text() + shield
        self.env = parallel_env(load_text(text, path=folder / "learner_case118.yaml"))
        self.core = self.env.core
        self.env.reset(seed=SEED)
        rows = learner_case118.actions(self.core.simulation, 200)
        encode = self.core.codecs[0].encode
        self._actions: list[dict[int | str, Any]] = [{"agent": encode(row).astype(np.float32)} for row in rows]

    def through_parallel(self, n: int) -> float:
        """Steps per second of PettingZoo's interface."""
        step: Callable[[Any], Any] = self.env.step
        actions = self._actions
        return self._rate(lambda k: step(actions[k % 200]), n)

    def of_the_core(self, n: int) -> float:
        """Steps per second of the core alone, with the same actions."""
        step, actions = self.core.step, self._actions
        return self._rate(lambda k: step(actions[k % 200]), n)

    def _rate(self, step: Callable[[int], Any], n: int) -> float:
        begun_s = perf_counter()
        for k in range(n):
            step(k)
        rate = n / (perf_counter() - begun_s)
        if self.core.last.ended:
            raise EndedError(f"at t = {self.core.last.t_us / 1e6} s")
        if not self.core.simulation.grid.state.converged:
            raise NotConvergedError(f"at t = {self.core.last.t_us / 1e6} s")
        return rate


@cache
def peer() -> Any:
    """Grid2Op's environment; raises PeerMissingError where it cannot be had."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import grid2op
            from lightsim2grid import LightSimBackend

            env = grid2op.make(PEER, test=True, backend=LightSimBackend())
            env.seed(0)
            env.reset()
    except Exception as error:  # an import, or anything that two packages' versions disagree about
        raise PeerMissingError(f"grid2op with LightSimBackend: {type(error).__name__}: {error}") from error
    return env


def peer_rate(n: int, *, acts: bool = False) -> float:
    """Steps per second of Grid2Op doing nothing, or moving all generators that it can redispatch up and down by 0.2 MW;
    resets, where an episode ends, are not counted."""
    env, wall_s = peer(), 0.0
    able = [int(i) for i in env.gen_redispatchable.nonzero()[0]] if acts else []
    turns = [env.action_space({"redispatch": [(i, mw) for i in able]} if acts else {}) for mw in (-0.2, 0.2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(n):
            begun_s = perf_counter()
            _, _, done, _ = env.step(turns[k % 2])
            wall_s += perf_counter() - begun_s
            if done:
                env.reset()
    return n / wall_s


def case118_rows(folder: Path, quick: bool) -> Iterator[Row]:
    """One learner on 118 buses."""
    n, n_peer, pairs = (600, 60, 3) if quick else (3_000, 300, 7)
    plain = Case118(folder)
    yield Comparison("case118 618/145, parallel_env, shield off", "steps/s", f"Grid2Op {PEER}",
                     lambda: plain.through_parallel(n), lambda: peer_rate(n_peer), Reach(True, 4)).row(pairs)
    yield Comparison("same", "steps/s", f"Grid2Op {PEER}, redispatching", lambda: plain.through_parallel(n),
                     lambda: peer_rate(n_peer // 5, acts=True), Reach(True, 4)).row(pairs)
    yield Comparison("same", "steps/s", "EventEnv alone", lambda: plain.through_parallel(n),
                     lambda: plain.of_the_core(n)).row(pairs)
    for name, text, n_steps in (("0.94 to 1.06 pu", SHIELD, n // 4), ("0.95 to 1.05 pu", TIGHT_SHIELD, n // 30)):
        yield Comparison(f"case118 618/145, parallel_env, shield {name}", "steps/s", f"Grid2Op {PEER}",
                         partial(Case118(folder, text).through_parallel, n_steps),
                         partial(peer_rate, n_peer)).row(pairs)


# -- the exchange ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exchange:
    """N agents, all due together at an offset or spread by `jitter_s`, deciding together within `together_s`."""

    n_agents: int
    duration_s: int
    jitter_s: float = 0.0
    together_s: float = 0.0
    reward: str = "[]"
    """Empty: the default, which looks at every bus, every branch and the losses at every step, as a run does not."""

    def loaded(self, folder: Path) -> LoadedScenario:
        """The scenario of `benchmarks.ours`, with the wake-ups spread."""
        from cosim.scenario.loader import load_text

        ours._write_profile(folder / "disturbed.csv", self.duration_s)
        text = ours.scenario_text(self.n_agents, self.duration_s, SEED, False)
        text = text.replace(f"    offset_s: {AGENT_OFFSET_S}\n",
                            f"    offset_s: {AGENT_OFFSET_S}\n    jitter_s: {self.jitter_s}\n")
        text += f"learning: {{together_s: {self.together_s}, reward: {self.reward}}}\n"
        return load_text(text, path=folder / "exchange.yaml")

    def as_environment(self, folder: Path) -> Rate:
        """Simulated seconds per second through `parallel_env`, actions at random."""
        from cosim.env import parallel_env

        env = parallel_env(self.loaded(folder))
        rng = np.random.default_rng(SEED)
        actions = [{name: rng.uniform(-1, 1, 1).astype(np.float32) for name in env.possible_agents} for _ in range(20)]

        def rate() -> float:
            env.reset(seed=SEED)
            k, begun_s = 0, perf_counter()
            while env.agents:
                env.step(actions[k % 20])
                k += 1
            return self.duration_s / (perf_counter() - begun_s)

        return rate

    def as_run(self, folder: Path) -> Rate:
        """Simulated seconds per second of a run by the scenario's own policies, that records nothing but its digest."""
        from cosim.simulation import build

        loaded = self.loaded(folder)

        def rate() -> float:
            simulation = build(loaded)
            begun_s = perf_counter()
            simulation.advance_to(self.duration_s * 1_000_000)
            simulation.recorder.close("done")
            return self.duration_s / (perf_counter() - begun_s)

        return rate


def exchange_rows(folder: Path, quick: bool) -> Iterator[Row]:
    """Ten and a hundred learners."""
    pairs, share = (3, 4) if quick else (7, 1)
    for n in (10, 100):
        for name, reward in (("default reward", "[]"), ("reward: voltage", "[{kind: voltage, per: h}]")):
            both = Exchange(n, DURATION_S[n] // share, reward=reward)
            yield _exchange_row(f"exchange, {n} agents, {name}", both, folder).row(pairs)
    for n in (10, 100):
        spread = Exchange(n, max(JITTERED_S[n] // share, 4), JITTER_S)
        yield _exchange_row(f"exchange, {n} agents, each at a time of its own", spread, folder).row(pairs)
        together = Exchange(n, DURATION_S[n] // share, JITTER_S, TOGETHER_S)
        yield _exchange_row(f"exchange, {n} agents, those within {TOGETHER_S} s together", together,
                            folder).row(pairs)


def _exchange_row(name: str, exchange: Exchange, folder: Path) -> Comparison:
    return Comparison(name, "sim s/s", "the same scenario's run", exchange.as_environment(folder),
                      exchange.as_run(folder), Reach(True, 0.5))


# -- memory ------------------------------------------------------------------------------------------------------------


def learn_for_a_while(n_agents: int) -> None:
    """A few steps with N learners (in a process of its own)."""
    with tempfile.TemporaryDirectory(prefix="gridloop-bench-") as scratch:
        Exchange(n_agents, 5).as_environment(Path(scratch))()


def memory_row(quick: bool) -> Row:
    """MB an agent."""
    n = 100 if quick else 400
    many, one = (child_peak_mb(f"from benchmarks import environment; environment.learn_for_a_while({count})")
                 for count in (n, 1))
    each = (many - one) / (n - 1)
    reach = Reach(False, 1.0)
    return Row("memory an agent", each, "MB", f"one agent ({one:.0f} MB), {n} agents ({many:.0f} MB)", each, str(reach),
               reach.met(each))


def measure(quick: bool) -> Iterator[Row]:
    """All rows."""
    with tempfile.TemporaryDirectory(prefix="gridloop-bench-") as scratch:
        yield from case118_rows(Path(scratch), quick)
        yield from exchange_rows(Path(scratch), quick)
    yield memory_row(quick)


def main() -> int:
    """The command line."""
    assert __doc__ is not None
    return harness.main(__doc__.splitlines()[0], measure)


if __name__ == "__main__":
    sys.exit(main())
