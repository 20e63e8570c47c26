"""What the core costs a learner with a long action vector, by section: case118, one agent, 618 points, 145 setpoints.

    python -m benchmarks.learner_case118 [--steps N] [--digest] [--profile] [--quick] [--json FILE]

One agent decided from outside sets the power of 53 generators (the 54th is the reference) and the demand of 92 loads
(redispatch and demand response), and sees 618 points.  99 loads follow profiles that move every step, so every
injection of the grid changes at every step.  The actions move about the case's own operating point by up to `SPAN` of
the range: at the far ends of all ranges at once the case has no power flow.  The shield is off and
nothing is recorded, or (`--digest`) nothing but the digest and the journal.

A shared machine makes any mean worthless, so steps are timed by the hundred: `quickest` is the quickest hundred, which
comes nearest to an idle machine.

The sections are those of a step: `decide` (the kernel up to the decision), `commit` (the action enters), `drain` (it is
put into force), `advance` and `settle` (devices), `attempt` (devices' laws and the power flow), `flow` (the power flow
alone, a part of `attempt`), `publish` (flows included) and `rest`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run as a file: the repository root is not on the path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
from numpy.typing import NDArray

from benchmarks import harness
from benchmarks.harness import Row, settled

if TYPE_CHECKING:
    from cosim.simulation import Simulation

N_OBSERVED, N_ACTUATED = 618, 145
N_FLEXIBLE = 92
"""Loads whose demand is commanded."""
N_REACTIVE = 30
"""Generators whose reactive power is seen."""
#: Share of a setpoint's range by which actions move either way.
SPAN = 0.02
DURATION_S = 100_000
PROFILE_STEP_S = 500
#: Steps that are timed together.
AT_ONCE = 100
SEED = 11

Actions = NDArray[np.float64]


def scenario_text(duration_s: int = DURATION_S) -> str:
    """The scenario; it reads ``loads.csv`` beside it."""
    from cosim.grid import load_network

    network = load_network("case118", Path())
    loads, gens = network.loads, network.gens
    devices = [f"  - {{kind: load, name: load{name}, element: '{name}', profile: "
               f"{{file: loads.csv, column: l{name}, interpolation: linear}}}}" for name in loads.names]
    devices += [f"  - {{kind: generator, name: gen{name}, element: '{name}'}}"
                for i, name in enumerate(network.gen_names) if not gens.slack[i]]
    listed = "\n".join(devices)
    flexible = ", ".join(f"load{name}.scale" for name in loads.names[:N_FLEXIBLE])
    reactive = ", ".join(f"gen.{name}.q_kvar" for name in network.gen_names[:N_REACTIVE])
    return f"""\
name: learner_case118
seed: {SEED}
duration_s: {duration_s}
step_s: 1
grid: {{network: case118}}
devices:
{listed}
agents:
  - name: agent
    policy: {{kind: constant, values: {[0.0] * N_ACTUATED}}}
    period_s: 1
    observe: ["bus.*.v_pu", "bus.*.angle_deg", "line.*.p_kw", "trafo.*.p_kw", "trafo.*.q_kvar", "load*.p_kw",
              "gen.*.p_kw", grid.slack_p_kw, grid.slack_q_kvar, grid.losses_kw, grid.iterations,
              {reactive}]
    actuate: ["gen*.p_set_kw", {flexible}]
record: {{points: [], messages: false}}
"""


def write_profiles(path: Path) -> None:
    """A factor for every load, within ten per cent of one: a corner every `PROFILE_STEP_S`, straight between."""
    from cosim.grid import load_network

    names = load_network("case118", Path()).loads.names
    factors = np.random.default_rng(SEED).uniform(0.9, 1.1, (DURATION_S // PROFILE_STEP_S + 2, len(names)))
    head = ",".join(("t_s", *(f"l{name}" for name in names)))
    rows = (f"{i * PROFILE_STEP_S}," + ",".join(f"{value:.6f}" for value in row) for i, row in enumerate(factors))
    path.write_text("\n".join((head, *rows)), encoding="utf-8")


def built(folder: Path, *, digest: bool = True) -> Simulation:
    """The simulation, with the agent decided outside."""
    from cosim.recorder import SilentRecorder
    from cosim.scenario.loader import load_text
    from cosim.simulation import BuildOptions, build

    write_profiles(folder / "loads.csv")
    loaded = load_text(scenario_text(), path=folder / "learner_case118.yaml")
    silent = None if digest else lambda points, _: SilentRecorder(points)
    simulation = build(loaded, BuildOptions(external=("agent",), recorder=silent))
    agent = simulation.crew.agents["agent"]
    assert (len(agent.observed), len(agent.actuated)) == (N_OBSERVED, N_ACTUATED)
    return simulation


def actions(simulation: Simulation, n: int, span: float = SPAN) -> Actions:
    """Actions (n, N_ACTUATED), drawn evenly about the operating point, within the setpoints' ranges."""
    network, ids = simulation.grid.network, simulation.crew.agents["agent"].actuated
    low, high = (np.array([getattr(simulation.points.points[i], end) for i in ids]) for end in ("low", "high"))
    free = ~network.gens.slack
    middle = np.concatenate((network.gens.p_kw[free], np.ones(N_FLEXIBLE)))
    drawn = np.random.default_rng(SEED).uniform(-span, span, (n, N_ACTUATED)) * (high - low)
    return np.asarray(np.clip(middle + drawn, low, high))


def steps(simulation: Simulation, rows: Actions) -> float:
    """Wall seconds of one step per row: decide, look at the points, commit."""
    agent = simulation.crew.agents["agent"]
    begun_s = perf_counter()
    for row in rows:
        simulation.advance_to_decision()
        agent.look()
        simulation.commit({"agent": row})
    return perf_counter() - begun_s


class _Clocked:
    """Wraps methods of a simulation's parts and adds up the wall time of each; nested ones count in both."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        self.seconds[name] = 0.0

        def clocked(*arguments: Any) -> Any:
            begun_s = perf_counter()
            result = call(*arguments)
            self.seconds[name] += perf_counter() - begun_s
            return result

        return clocked


def by_section(simulation: Simulation, rows: Actions) -> dict[str, float]:
    """Microseconds a step by section; the clock itself costs about two of them."""
    clocked, parts = _Clocked(), vars(simulation)
    wrapped = [("drain", simulation.inbox, "drain"), ("advance", parts["_fleet"], "advance"),
               ("attempt", simulation, "_attempt"), ("flow", simulation.grid, "trial"),
               ("settle", parts["_fleet"], "settle"), ("publish", parts["_publisher"], "publish")]
    for name, owner, method in wrapped:
        setattr(owner, method, clocked.around(name, getattr(owner, method)))
    advance, commit = (clocked.around(name, getattr(simulation, method))
                       for name, method in (("step", "advance_to_decision"), ("commit", "commit")))
    for row in rows:
        advance()
        commit({"agent": row})
    for _, owner, method in wrapped:
        delattr(owner, method)
    per_step = {name: 1e6 * seconds / len(rows) for name, seconds in clocked.seconds.items()}
    inside = sum(per_step[name] for name in ("drain", "advance", "attempt", "settle", "publish"))
    return per_step | {"rest": per_step["step"] - inside}


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """The cost of a step, whole and by section."""
    with tempfile.TemporaryDirectory(prefix="gridloop-bench-") as scratch:
        simulation = built(Path(scratch), digest=options.digest)
        rows = actions(simulation, 600 if options.quick else options.steps)
        steps(simulation, rows[:300])
        with settled():
            costs_us = sorted(1e6 * steps(simulation, rows[i:i + AT_ONCE]) / AT_ONCE
                              for _ in range(3) for i in range(0, len(rows) - AT_ONCE + 1, AT_ONCE))
        for name, cost_us in (("quickest hundred", costs_us[0]), ("median hundred", costs_us[len(costs_us) // 2])):
            yield Row(f"a step, {name}", 1e6 / cost_us, "steps/s", "the quickest hundred", costs_us[0] / cost_us, "",
                      None)
        sections = by_section(simulation, rows)
        for name, cost_us in sections.items():
            yield Row(f"section {name}", cost_us, "us", "the whole step", cost_us / sections["step"], "", None)
        if not simulation.grid.state.converged:
            raise RuntimeError(f"no power flow at t = {simulation.now_us / 1e6} s: the figures mean nothing")
        if options.profile:
            _profile(simulation, rows)


def main() -> int:
    """The command line."""
    assert __doc__ is not None
    parser = harness.command_line(__doc__)
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--digest", action="store_true", help="with the digest and the journal in memory")
    parser.add_argument("--profile", action="store_true", help="and where it goes, by function (cProfile)")
    options = parser.parse_args()
    return harness.report(options, measure(options))


def _profile(simulation: Simulation, rows: Actions) -> None:
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    profiler.runcall(steps, simulation, rows)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    sys.exit(main())
