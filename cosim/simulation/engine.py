"""One run of one scenario: drive, solve, publish.

Theory of operation
-------------------
Whatever changes the grid asks for a SOLVE at its instant: the scan, a disturbance, a device's timer, and (where the
scenario says ``commands: {timing: on_arrival}``) a command.  A SOLVE happens once an instant however many asked.  It
drains the inbox, moves the devices to now, puts what is in force to the shield, and commits the power flow that the
shield verified.  PUBLISH then writes every point at once, hands it to the recorder, and REPORT sends telemetry.

`Simulation._solve` is the only caller of the shield's `filter`, of the devices' `apply` (through `Fleet`) and of
`Grid.commit`; a test reads the syntax tree to prove it.  Nothing here knows of wall clocks, sockets or torch.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cosim.agents import Agent
from cosim.commands import NEVER_US, Command, CommandInbox, CommandStatus
from cosim.errors import GridloopError
from cosim.grid import Grid
from cosim.kernel import Kernel, Phase
from cosim.objective import KpiAccumulator, KpiSummary
from cosim.plugins import TermView
from cosim.points import PointDatabase, Vector
from cosim.recorder import Recorder
from cosim.scenario.schema import CommandTiming
from cosim.shield import Asked, Shield, ShieldDecision
from cosim.simulation.crew import Crew
from cosim.simulation.decisions import DecisionLog
from cosim.simulation.fleet import Fleet
from cosim.simulation.orders import ShieldOrders
from cosim.simulation.outages import Outages
from cosim.simulation.parts import Parts
from cosim.simulation.publisher import Publisher
from cosim.simulation.trial import AHEAD, Attempts, SolvedTrial, Trials
from cosim.state import Response
from cosim.stopwatch import Section, TimeBudget

#: Containers made before the cycle collector looks, while a run advances.  A message is three tuples, which die by
#: reference count: Python's 700 has the collector look at every step of a hundred agents, for nothing (7 % of a run).
_COLLECT_AFTER = 100_000


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Let the cycle collector look seldom; as before afterwards."""
    usual = gc.get_threshold()
    gc.set_threshold(max(usual[0], _COLLECT_AFTER), *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


class Simulation:
    """A built run.  Made by `cosim.simulation.build`; synchronous and deterministic: same scenario and seed, same run.

    `points` is what may be read, `inbox` where changes are asked for; nothing else of it is for the outside.
    """

    def __init__(self, parts: Parts) -> None:
        self.scenario = parts.scenario
        self.kernel: Kernel = parts.kernel
        self.points: PointDatabase = parts.points
        self.inbox: CommandInbox = parts.inbox
        self.grid: Grid = parts.grid
        self.recorder: Recorder = parts.recorder
        self.crew: Crew = parts.crew
        self.budget: TimeBudget = parts.budget
        self.channels = parts.channels
        self.site = parts.site
        self.watchers: list[Callable[[TermView], None]] = []
        """Told after every publish: the meters of rewards and costs."""
        self.solves = 0
        """SOLVEs so far (grid steps)."""
        self.end_us = round(parts.scenario.duration_s * 1e6)
        self._fleet: Fleet = parts.fleet
        self._outages: Outages = parts.outages
        self._shield: Shield = parts.shield
        self._orders: ShieldOrders = parts.orders
        self._publisher: Publisher = parts.publisher
        self._trials: Trials = parts.trials
        self._kpis: KpiAccumulator = parts.kpis
        self._log = DecisionLog(parts.recorder, parts.inbox.point_ids, points=parts.points.points,
                                source=parts.inbox.source_in_force)
        self._step_us = round(parts.scenario.step_s * 1e6)
        self._on_arrival = parts.scenario.commands.timing is CommandTiming.ON_ARRIVAL
        self._solve_at = self._solved_at = -1
        self._held_since_us = 0
        self._own_us = NEVER_US
        self._skipped_to_us = -1
        self._due: dict[str, None] = {}
        self._together_us = round(parts.scenario.learning.together_s * 1e6)
        self._was_converged = True
        self._was_settled = True
        self._start(parts)

    def _start(self, parts: Parts) -> None:
        """Solve and publish once, so that whoever wakes first sees a grid; then arm the scan and the recorder."""
        period_s = self.scenario.record.period_s
        self._sample_us = self._step_us if period_s is None else round(period_s * 1e6)
        self._next_sample_us = 0 if len(parts.sample_ids) else NEVER_US
        self._settle(self._filtered(0), 0)
        self._publisher.publish(0)
        self.kernel.every(self._step_us, self._scan)

    # -- time ------------------------------------------------------------------------------------------------------

    @property
    def now_us(self) -> int:
        """Time of the last instant processed."""
        return self.kernel.now_us

    def advance_to(self, t_us: int) -> None:
        """Process every instant up to and including `t_us`.  Not for a run with agents decided outside."""
        self._due = {}
        self.inbox.deciding = False
        before = self.budget.switch(Section.CHANNELS)
        with seldom_collected():
            arrived = self.kernel.advance_to(t_us)
        self.budget.switch(before)
        if not arrived:
            self.inbox.deciding = True
            raise GridloopError(f"agents {', '.join(self._due)} wait for a decision at t = {self.now_us / 1e6} s: use "
                                f"advance_to_decision and commit")

    def advance_instant(self) -> int | None:
        """Process the next instant whole and return its time.  Not for a run with agents decided outside."""
        t_us = self.kernel.next_us()
        if t_us is not None:
            self.advance_to(t_us)
        return t_us

    def advance_to_decision(self, limit_us: int | None = None) -> tuple[str, ...]:
        """Run to the next instant at which agents decided outside are due, and name them; () at the limit.

        The instant stands between DRIVE and SOLVE; `commit` the actions, then call again.
        """
        self._due = {}
        self.inbox.deciding = False
        stopped = self.kernel.advance_to_decision(self.end_us if limit_us is None else limit_us)
        self.inbox.deciding = stopped is not None
        return tuple(self._due)

    def commit(self, actions: Mapping[str, Sequence[float] | Vector]) -> None:
        """Actions (n_actuated,) of agents that are due; they are journalled, and travel as the agent's do.

        Raises GridloopError, and takes on nothing, when one is not due or has another number of values.
        """
        if not self.inbox.deciding:
            raise GridloopError("commit: no decision is due; call advance_to_decision first")
        for name, values in actions.items():
            if name not in self._due:
                raise GridloopError(f"commit: agent '{name}' is not due; due: {', '.join(self._due) or 'nobody'}")
            expected = len(self.crew.agents[name].commanded)
            if len(values) != expected:
                raise GridloopError(f"commit: agent '{name}' at t = {self.now_us / 1e6} s: {len(values)} values; "
                                    f"expected {expected} (one for each point in `actuate`)")
        agents = self.crew.agents
        self.inbox.submit_actions((name, agents[name].commanded, values) for name, values in actions.items())

    def act(self, command: Command) -> None:
        """An outside action enters: it leaves the agent as its own would."""
        # In a replay nobody stopped at the decision; DRIVE of this instant is closed all the same.
        self.kernel.enter_phase(Phase.DECIDE)
        agent = self.crew.agents[command.source]
        agent.decided_us = self.kernel.now_us  # it may have woken before, and waited for others (`together_s`)
        agent.issue(command.values)

    def decide_later(self, agent: Agent) -> None:
        """An agent decided outside is due: stop between DRIVE and SOLVE, here or where its group of others is due."""
        now_us = self.kernel.now_us
        at_us = now_us if not self._together_us else -(-now_us // self._together_us) * self._together_us
        if at_us > now_us:
            self.kernel.at(at_us, self._decide_now, agent)
        else:
            self._decide_now(agent)

    def _decide_now(self, agent: Agent) -> None:
        if not self._due:
            self.kernel.stop_for_decision()
        self._due[agent.name] = None

    def stop_soon(self) -> None:
        """Have `advance_to_decision` return before its limit, with nobody due: at the end of this instant."""
        self.kernel.at(self.kernel.now_us + 1, self._stop_now)

    def _stop_now(self, _: Any) -> None:
        self.kernel.stop_for_decision()

    # -- DRIVE -----------------------------------------------------------------------------------------------------

    def _scan(self, now_us: int) -> None:
        if now_us > self._skipped_to_us:
            self.request_solve(now_us)

    def skip_scans(self, until_us: int) -> None:
        """Drop the scans up to and including `until_us` (a served run that fell behind); agents go on."""
        self._skipped_to_us = until_us

    def request_solve(self, t_us: int) -> None:
        """Ask for a SOLVE at `t_us`; however many ask, there is one."""
        if t_us == self._solve_at:
            return
        if t_us == self.kernel.now_us:
            self._solve_at = t_us
        self.kernel.at(t_us, self._solve, None, Phase.SOLVE)

    def on_command(self, t_us: int) -> None:
        """A command has entered under ``commands: on_arrival``: solve within its quantum."""
        quantum_us = round(self.scenario.commands.quantum_s * 1e6)
        self.request_solve(t_us if not quantum_us else -(-t_us // quantum_us) * quantum_us)

    # -- SOLVE -----------------------------------------------------------------------------------------------------

    def _solve(self, _: Any) -> None:
        t_us = self.kernel.now_us
        if t_us == self._solved_at:
            return
        self._solved_at = t_us
        self.kernel.enter_phase(Phase.SOLVE)
        before = self.budget.switch(Section.SOLVER)
        self._settle(self._filtered(t_us), t_us)
        self.budget.switch(before)
        self.kernel.at(t_us, self._publish, None, Phase.PUBLISH)

    def _filtered(self, t_us: int) -> ShieldDecision:
        """Drain, move the devices to now, and let the shield decide and verify."""
        in_force = self.inbox.drain(t_us)
        self._fleet.advance(t_us)
        n = self._fleet.n_output
        stop, reset = self._orders.read(in_force.values)
        asked = Asked(in_force.values[:n], in_force.authority[:n], t_us, stop, reset)
        return self._shield.filter(asked, Attempts(self._attempt, self._moving, self._respond))

    def _attempt(self, setpoints: Vector, lost: int) -> SolvedTrial:
        """A solved candidate, after the loss of a branch (-1: none); changes neither devices nor committed state."""
        base = self.grid.dispatch
        positions = self._fleet.positions(setpoints, self._trials.positions)
        if lost == AHEAD:
            positions = self._fleet.heading(setpoints, positions)
        topology = self._trials.lost(self._outages.over(positions), lost)
        return self._trials.solve(setpoints, topology, positions, base, self._fleet.apply)

    def _moving(self, setpoints: Vector) -> bool:
        """Whether some order would still be under way."""
        if not self._fleet.delays:
            return False
        positions = self._fleet.positions(setpoints, self._trials.positions)
        return self._fleet.heading(setpoints, positions) is not positions

    def _respond(self, setpoints: Vector, trial: SolvedTrial) -> Response | None:
        """How the devices answer to voltage around a candidate."""
        return self._trials.response(setpoints, trial, self._fleet.apply)

    def _settle(self, decision: ShieldDecision, t_us: int) -> None:
        """Commit what was verified: the grid, the devices, the figures, the record."""
        trial = decision.trial
        assert isinstance(trial, SolvedTrial)
        self._hold_until(t_us)
        self.grid.commit(trial.state, trial.dispatch)
        self._trials.positions = trial.positions
        injections = self._fleet.solved(trial.injections, trial.state, trial.dispatch.topology)
        self._shield.settled(decision, t_us)  # before the devices: it counts what is about to move
        self._fleet.settle(decision.standing, injections, trial.state.v_pu, t_us)
        self._publisher.settled(decision, trial)
        self.solves += 1
        self._log.write(decision, t_us)
        self._tell(trial, t_us)
        self._arm_own(t_us)

    def _tell(self, trial: SolvedTrial, t_us: int) -> None:
        """Events when the power flow, or the fixed point inside it, stops or resumes converging."""
        state = trial.state
        if state.converged != self._was_converged:
            self._was_converged = state.converged
            self.recorder.event(t_us, "grid.converged" if state.converged else "grid.diverged", "grid", state.diagnosis)
        if trial.settled != self._was_settled:
            self._was_settled = trial.settled
            words = "" if trial.settled else (f"residual {trial.residual:.3g} pu after {trial.iterations} power flows; "
                                              f"expected at most 1e-8")
            self.recorder.event(t_us, "grid.settled" if trial.settled else "grid.unsettled", "devices", words)

    def _arm_own(self, t_us: int) -> None:
        """Devices' own timers, and commands that expire between scans under on_arrival."""
        own_us = self._fleet.next_us()
        if self._on_arrival and self.inbox.next_expiry_us < NEVER_US:
            own_us = min(self.inbox.next_expiry_us, NEVER_US if own_us is None else own_us)
        if own_us is not None and own_us > t_us and own_us != self._own_us:
            self._own_us = own_us
            self.request_solve(own_us)

    # -- PUBLISH ---------------------------------------------------------------------------------------------------

    def _publish(self, _: Any) -> None:
        t_us = self.kernel.now_us
        self.kernel.enter_phase(Phase.PUBLISH)
        self._publisher.publish(t_us)
        before = self.budget.switch(Section.RECORDER)
        if t_us >= self._next_sample_us:
            self.recorder.sample(t_us, self.points.published)
            self._next_sample_us = (t_us // self._sample_us + 1) * self._sample_us
        self.recorder.end_instant(t_us)
        self.budget.switch(before)
        if self.watchers:
            view = self.view()
            for watch in self.watchers:
                watch(view)

    def view(self) -> TermView:
        """What terms of rewards and costs look at: the last publish as it is."""
        return TermView(self.kernel.now_us, self._publisher.truth, self.inbox.in_force.values)

    # -- results ---------------------------------------------------------------------------------------------------

    def kpis(self) -> KpiSummary:
        """Key figures up to now (what has held since the last SOLVE included)."""
        self._hold_until(self.now_us)
        return self._kpis.summary()

    def outside_s(self) -> tuple[float, float]:
        """`KpiAccumulator.outside_s` up to now: voltages, and any limit."""
        self._hold_until(self.now_us)
        return self._kpis.outside_s()

    def shield_figures(self) -> dict[str, Any]:
        """What the shield did up to now, counted (`DecisionLog.figures`)."""
        return self._log.figures(self.now_us)

    def _hold_until(self, t_us: int) -> None:
        """Charge the committed state with the time it has held."""
        if t_us > self._held_since_us:
            held_s = (t_us - self._held_since_us) / 1e6
            self._kpis.hold(self.grid.state, self._fleet.device_p_kw, held_s)
            self._held_since_us = t_us

    def submit(self, point: str, value: float, source: str, **options: Any) -> CommandStatus:
        """`CommandInbox.submit`: ask for a change by name."""
        return self.inbox.submit(point, value, source, **options)
