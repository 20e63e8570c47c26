"""From the scenario's ``shield:`` section to a shield: names become rows, slots and indices; what is wrong is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from cosim.channel import Channel
from cosim.commands import Authority
from cosim.errors import GridloopError, Problem, ScenarioError
from cosim.grid import Grid, Network, loops
from cosim.plugins import Role, StorageGroup
from cosim.points import Ids, PointDatabase, Vector
from cosim.scenario.schema import Scenario
from cosim.scenario.shield import (
    MAX_CONTINGENCIES,
    Interlock,
    Limit,
    LoadingLimit,
    ShieldMode,
    VoltageLimit,
)
from cosim.shield import CapabilityShield, NetworkShield, Shield, ShieldReason
from cosim.shield.assess import Case
from cosim.shield.backup import Droop, loop_gain
from cosim.shield.capability import Capability
from cosim.shield.controls import Controls
from cosim.shield.emergency import Action, Emergency
from cosim.shield.energy import Barrier, EnergyBarrier, power_row
from cosim.shield.limits import NOBODY_OVERRIDES, SLACK, Bounds, Carriers, Limits, Watched, after_loss
from cosim.shield.positions import Positions
from cosim.shield.repair import Means
from cosim.shield.staleness import Ramps
from cosim.shield.switching import Lock, Rules, Switching
from cosim.shield.thermal import Heating
from cosim.simulation.fleet import Fleet
from cosim.simulation.remote import RemoteOptions
from cosim.simulation.trial import Trials
from cosim.state import Directions

#: What counts as one when violations of different kinds are added up.
V_SCALE_PU, LOADING_SCALE, POWER_SCALE = 0.01, 0.1, 0.01
#: The backup's reach where the scenario leaves it open, and the loop gain it is then given at most.
FULL_PU, GAIN_WANTED = 0.05, 0.8
_POWERS = (Role.P_KW, Role.Q_KVAR, Role.P_CAP_KW)


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What the shield is built in."""

    network: Network
    fleet: Fleet
    grid: Grid
    points: PointDatabase


def make_shield(scenario: Scenario, around: Surroundings) -> Shield:
    """The scenario's shield; ScenarioError with every name that does not exist."""
    if scenario.shield.mode is ShieldMode.OFF:
        fleet = around.fleet
        return CapabilityShield(fleet.groups, fleet.output_slices, fleet.n_output)
    return _Builder(scenario, around).build()


def remote_options(scenario: Scenario, around: Surroundings, channels: Mapping[str, Channel]) -> RemoteOptions:
    """What a shield in the control centre needs besides; ScenarioError with every name that does not exist."""
    spec = scenario.shield.telemetry
    assert spec is not None, "asked where there is telemetry"
    problems = []
    if spec.channel not in channels:
        problems.append(Problem(f"unknown channel '{spec.channel}'; known: {', '.join(channels) or 'none'}",
                                "shield.telemetry.channel"))
    names, count = around.fleet.names, len(around.fleet.injection_bus)
    ramps = np.zeros((2, count))
    for i, ramp in enumerate(spec.ramps):
        for j, pattern in enumerate(ramp.devices):
            found = [k for k, name in enumerate(names) if fnmatchcase(name, pattern)]
            if not found and pattern != "*":
                problems.append(Problem(f"no device matches '{pattern}'", f"shield.telemetry.ramps.{i}.devices.{j}"))
            ramps[0, found], ramps[1, found] = ramp.kw_per_s, ramp.kvar_per_s
    if problems:
        raise ScenarioError(tuple(problems))
    return RemoteOptions(channels[spec.channel], round(spec.period_s * 1e6), round(spec.hold_age_s * 1e6),
                         round(spec.lost_age_s * 1e6), round(scenario.step_s * 1e6), Ramps(*ramps),
                         scenario.shield.mode is ShieldMode.ENFORCE)


class _Builder:
    def __init__(self, scenario: Scenario, around: Surroundings) -> None:
        self.scenario, self.spec, self.around = scenario, scenario.shield, around
        self.network, self.fleet = around.network, around.fleet
        self.groups, self.slices = around.fleet.groups, around.fleet.output_slices
        self.problems: list[Problem] = []
        n_line = len(self.network.line_names)
        self.branches = tuple([f"line.{name}" for name in self.network.line_names]
                              + [f"trafo.{name}" for name in self.network.branch_names[n_line:]])
        self.output_names = [f"{name}.{setpoint.suffix}" for group in self.groups for setpoint in group.setpoints
                             for name in group.names]
        self.roles = [setpoint.role for group in self.groups for setpoint in group.setpoints for _ in group.names]

    def build(self) -> NetworkShield:
        """Everything, or every problem."""
        spec, fleet = self.spec, self.fleet
        capability = Capability(self.groups, self.slices, fleet.n_output)
        controls = Controls(self.groups, self.slices, self._weights())
        limits, rows, tau_s = self._limits()
        cases = [Case(limits), *self._contingencies()]
        droop = self._droop(controls) if spec.backup.kind == "volt_var" else None
        means = Means(controls, capability, Switching(self.groups, self.slices, self._rules()),
                      Positions(self.groups, self.slices, capability), self._emergency(),
                      droop,
                      fleet.injection_bus[: fleet.n_device] if fleet.n_device else np.empty(0, np.int64))
        barrier = self._barrier()
        if self.problems:
            raise ScenarioError(tuple(self.problems))
        heating = Heating(limits, rows, tau_s, self.scenario.step_s) if rows.size else None
        return NetworkShield(means, cases, barrier, enforce=spec.mode is ShieldMode.ENFORCE, heating=heating)

    def _droop(self, controls: Controls) -> Droop:
        """The backup's droop, stable in this grid: its loop gain is looked at before anything runs."""
        spec, fleet, grid = self.spec.backup, self.fleet, self.around.grid
        droop = Droop(spec.deadband_pu, spec.full_pu or max(FULL_PU, spec.deadband_pu + 0.01), spec.smoothing)
        devices, reach_kvar = controls.reactive()
        one, none = np.ones(devices.size), np.zeros(devices.size)
        found = grid.state.sensitivity(Directions(devices, none, one, np.full(devices.size, -1), none, none))
        if found is None:
            return droop
        gain = loop_gain(droop, reach_kvar, found.v_pu(fleet.injection_bus[devices]))
        stable = spec.deadband_pu + (droop.full_pu - spec.deadband_pu) * gain / GAIN_WANTED
        if gain >= 1.0 and spec.full_pu is not None:
            self.problems.append(Problem(
                f"the backup's loop is unstable: slope times dV/dQ has a spectral radius of {gain:.2f}, expected below "
                f"1; full_pu of {stable:.3g} or more makes it so, or leave it out", "shield.backup.full_pu"))
        return replace(droop, full_pu=max(droop.full_pu, stable)) if spec.full_pu is None else droop

    # -- limits --------------------------------------------------------------------------------------------------------

    def _limits(self) -> tuple[Limits, Ids, Vector]:
        """The limits of the grid as it stands, and which rows heat with what time constant."""
        spec, defaults = self.spec, self.scenario.limits
        voltage = spec.voltage if spec.voltage is not None else (
            VoltageLimit(v_min_pu=defaults.v_min_pu, v_max_pu=defaults.v_max_pu),)
        loading = spec.loading if spec.loading is not None else (LoadingLimit(loading_max=defaults.loading_max),)
        buses, volts = self._voltages(voltage)
        self._fits(voltage)
        branches, loads, tau_s = self._loadings(loading)
        at, exchanged = self._exchanges()
        carriers, reserved = self._reserves()
        limits = Limits(Watched(buses, branches, at, carriers), [volts, loads, exchanged, reserved])
        heats = np.flatnonzero(~np.isnan(tau_s))
        return limits, limits.loading_rows.start + heats, tau_s[heats]

    def _fits(self, bands: Sequence[VoltageLimit]) -> None:
        """Between the margins of every band something must be left to move to."""
        margin_pu, after = self.spec.margin_pu, self.spec.n_minus_1
        each = [(band.v_min_pu, band.v_max_pu) for band in (*bands, *(() if after is None else (after,)))]
        low, high = min(each, key=lambda band: band[1] - band[0], default=(-np.inf, np.inf))
        if 2 * margin_pu >= high - low:
            self.problems.append(Problem(
                f"found {margin_pu:g}: nothing is left of the band {low:g} to {high:g}; expected less than half its "
                f"width, {(high - low) / 2:.3g}", "shield.margin_pu"))

    def _voltages(self, limits: Sequence[VoltageLimit]) -> tuple[Ids, Bounds]:
        names, zones = self.network.bus_names, self.network.buses.zone
        of: dict[int, VoltageLimit] = {}
        for i, limit in enumerate(limits):
            for j, pattern in enumerate(limit.buses):
                known = [f"zone:{zone}" for zone in zones] if pattern.startswith("zone:") else names
                for bus in self._matching(pattern, known, "bus", f"shield.voltage.{i}.buses.{j}"):
                    of[bus] = limit
        buses = sorted(of)
        found = [of[bus] for bus in buses]
        return np.array(buses, np.int64), Bounds(
            tuple(f"bus.{names[bus]}.v_pu" for bus in buses), ShieldReason.VOLTAGE, "pu",
            _floats(limit.v_min_pu for limit in found), _floats(limit.v_max_pu for limit in found),
            np.full(len(found), self.spec.margin_pu), *_kinds(found), V_SCALE_PU)

    def _loadings(self, limits: Sequence[LoadingLimit]) -> tuple[Ids, Bounds, Vector]:
        rated = ~np.isnan(self.network.branches.rating_from_kva)
        rated &= np.isfinite(self.network.branches.rating_from_kva)
        of: dict[int, LoadingLimit] = {}
        for i, limit in enumerate(limits):
            for j, pattern in enumerate(limit.branches):
                path = f"shield.loading.{i}.branches.{j}"
                for branch in self._matching(pattern, self.branches, "branch", path):
                    if rated[branch]:
                        of[branch] = limit
                    elif pattern == self.branches[branch]:
                        self.problems.append(Problem(f"{pattern} has no rating; give it one in grid.ratings_ka", path))
        branches = sorted(of)
        found = [of[branch] for branch in branches]
        tau_s = _floats(np.nan if limit.thermal_tau_s is None else limit.thermal_tau_s for limit in found)
        return np.array(branches, np.int64), Bounds(
            tuple(f"{self.branches[branch]}.loading" for branch in branches), ShieldReason.LOADING, "pu",
            np.full(len(found), -np.inf), _floats(limit.loading_max for limit in found),
            np.full(len(found), self.spec.margin_loading), *_kinds(found), LOADING_SCALE), tau_s

    def _exchanges(self) -> tuple[tuple[tuple[int, bool], ...], Bounds]:
        at: list[tuple[int, bool]] = []
        names, low, high, sources = [], [], [], []
        for i, limit in enumerate(self.spec.exchange):
            place = [SLACK] if limit.at == "slack" else self._matching(
                limit.at, self.branches, "branch", f"shield.exchange.{i}.at")
            for branch in place:
                name = "grid.slack" if branch == SLACK else self.branches[branch]
                for reactive, (least, most) in enumerate(((limit.p_min_kw, limit.p_max_kw),
                                                          (limit.q_min_kvar, limit.q_max_kvar))):
                    if least is not None or most is not None:
                        at.append((branch, bool(reactive)))
                        suffix = ("q_kvar" if reactive else "p_kw")
                        names.append(f"{name}_{suffix}" if branch == SLACK else f"{name}.{suffix}")
                        low.append(-np.inf if least is None else least)
                        high.append(np.inf if most is None else most)
                        sources.append(limit)
        base_kva = self.network.base_mva * 1e3
        units = tuple("kvar" if reactive else "kW" for _, reactive in at)
        return tuple(at), Bounds(tuple(names), ShieldReason.EXCHANGE, units, _floats(low), _floats(high),
                                 np.full(len(names), self.spec.margin_loading * base_kva * 1e-2), *_kinds(sources),
                                 POWER_SCALE * base_kva)

    def _reserves(self) -> tuple[tuple[Carriers, ...], Bounds]:
        gen = [int(at) for group in self.groups for at in group.placement.gen]
        stops = [any(setpoint.role is Role.POSITION for setpoint in group.setpoints)
                 for group in self.groups for _ in group.names]
        carriers = []
        for i, limit in enumerate(self.spec.reserve):
            found: dict[int, None] = {}
            for j, pattern in enumerate(limit.devices):
                found.update(dict.fromkeys(self._devices(pattern, f"shield.reserve.{i}.devices.{j}")))
            devices = sorted(found)
            carriers.append(Carriers(np.array(devices, np.int64), np.array([gen[k] for k in devices], np.int64),
                                     np.array([stops[k] for k in devices], np.bool_)))
        base_kva = self.network.base_mva * 1e3
        limits = self.spec.reserve
        return tuple(carriers), Bounds(
            tuple(f"reserve.{i}.up_kw" for i in range(len(limits))), ShieldReason.RESERVE, "kW",
            _floats(limit.up_kw for limit in limits), np.full(len(limits), np.inf),
            np.full(len(limits), self.spec.margin_loading * base_kva * 1e-2), *_kinds(limits), POWER_SCALE * base_kva)

    def _contingencies(self) -> list[Case]:
        spec = self.spec.n_minus_1
        if spec is None:
            return []
        found: dict[int, str] = {}
        for j, pattern in enumerate(spec.branches):
            path = f"shield.n_minus_1.branches.{j}"
            found.update(dict.fromkeys(self._matching(pattern, self.branches, "branch", path), path))
        if len(found) > MAX_CONTINGENCIES:
            self.problems.append(Problem(f"{len(found)} branches; expected at most {MAX_CONTINGENCIES}: every one "
                                         f"costs a power flow in every SOLVE", "shield.n_minus_1.branches"))
            return []
        if spec.hard:
            for branch, path in found.items():
                self._supplies(branch, path)
        band = VoltageLimit(v_min_pu=spec.v_min_pu, v_max_pu=spec.v_max_pu, hard=spec.hard)
        buses, volts = self._voltages([band])
        branches, loads, _ = self._loadings([LoadingLimit(loading_max=spec.loading_max, hard=spec.hard)])
        limits = Limits(Watched(buses, branches), [volts, loads])
        return [Case(after_loss(limits, self.branches[branch]), branch) for branch in found]

    def _supplies(self, branch: int, path: str) -> None:
        """Told of: a loss that leaves buses dead, where there are no voltages for a hard limit to hold."""
        grid = self.around.grid
        lost = Trials(grid, voltage_dependent=False).lost(grid.dispatch.topology, branch)
        after = grid.trial(replace(grid.dispatch, topology=lost))
        dead = int((np.isnan(after.v_pu) & ~np.isnan(grid.state.v_pu)).sum())
        if after.converged and dead:
            self.problems.append(Problem(
                f"the loss of {self.branches[branch]} islands {dead} {'bus' if dead == 1 else 'buses'}; nothing "
                f"watches them: leave it out of n_minus_1 or make it soft", path))

    # -- the rest ------------------------------------------------------------------------------------------------------

    def _weights(self) -> Vector:
        weights = np.ones((2, self.fleet.n_device))
        for i, weight in enumerate(self.spec.weights):
            for j, pattern in enumerate(weight.devices):
                devices = self._devices(pattern, f"shield.weights.{i}.devices.{j}")
                weights[0, devices], weights[1, devices] = weight.p, weight.q
        return weights

    def _rules(self) -> Rules:
        spec = self.spec.switching
        locks = [lock for i, interlock in enumerate(spec.interlocks)
                 for lock in self._locks(interlock, f"shield.switching.interlocks.{i}")]
        values = self.around.points
        return Rules(tuple(locks), spec.max_operations_per_hour, spec.allow_loops, spec.allow_islands,
                     lambda point: float(values.values[point]), lambda topology: loops(self.network, topology),
                     lambda point: values.names[point])

    def _locks(self, interlock: Interlock, path: str) -> list[Lock]:
        try:
            needs = int(self.around.points.ids_of([interlock.needs])[0])
        except GridloopError as error:
            self.problems.append(Problem(str(error), f"{path}.needs"))
            return []
        self.around.points.require(np.array([needs]))
        slots = self._matching(interlock.command, self.output_names, "output point", f"{path}.command")
        low = -np.inf if interlock.at_least is None else interlock.at_least
        high = np.inf if interlock.at_most is None else interlock.at_most
        value = np.nan if interlock.value is None else interlock.value
        wrong = [self.output_names[slot] for slot in slots if self.roles[slot] is not Role.POSITION]
        if wrong:
            self.problems.append(Problem(f"{wrong[0]} is no position; interlocks guard breakers, taps, steps, starting "
                                         f"and stopping", f"{path}.command"))
        return [Lock(slot, value, needs, low, high) for slot in slots]

    def _emergency(self) -> Emergency:
        spec = self.spec.emergency
        shed: list[tuple[int, Action]] = []
        for i, block in enumerate(spec.shed):
            slots = [slot for j, pattern in enumerate(block.devices)
                     for slot in self._slots(pattern, (Role.SCALE,), f"shield.emergency.shed.{i}.devices.{j}")]
            shed.append((block.priority, Action(f"shed {', '.join(block.devices)}", np.array(sorted(set(slots))))))
        actions = [action for _, action in sorted(shed, key=lambda entry: entry[0])]
        for j, pattern in enumerate(spec.trip):
            slots = self._halting(self._slots(pattern, _POWERS, f"shield.emergency.trip.{j}"))
            actions.append(Action(f"trip {pattern}", np.array(slots, np.int64)))
        powers = self._halting([slot for slot, role in enumerate(self.roles) if role in _POWERS])
        return Emergency(tuple(actions), round(spec.recovery_s * 1e6), np.array(powers, np.int64))

    def _halting(self, powers: Sequence[int]) -> list[int]:
        """`powers` and what stops the same devices: a unit with a least power is at zero only when it does not run."""
        names = {self.output_names[slot].rpartition(".")[0] for slot in powers}
        binary = [setpoint.binary for group in self.groups for setpoint in group.setpoints for _ in group.names]
        return sorted([*powers, *(slot for slot, role in enumerate(self.roles) if role is Role.POSITION
                                  and binary[slot] and self.output_names[slot].rpartition(".")[0] in names)])

    def _barrier(self) -> EnergyBarrier:
        barriers = []
        stores: list[str] = []
        for group, part in zip(self.groups, self.slices, strict=True):
            row = power_row(group, part)
            if isinstance(group, StorageGroup) and row is not None:
                stores += group.names
                found = self._reserve_of(group, row)
                barriers += [] if found is None else [found]
        for i, spec in enumerate(self.spec.energy):
            for j, pattern in enumerate(spec.devices):
                path = f"shield.energy.{i}.devices.{j}"
                if self._devices(pattern, path) and not any(fnmatchcase(name, pattern) for name in stores):
                    self.problems.append(Problem(
                        f"no device that '{pattern}' matches stores energy; those that do: "
                        f"{', '.join(stores[:6]) or 'none'}", path))
        return EnergyBarrier(barriers)

    def _reserve_of(self, group: StorageGroup, row: slice) -> Barrier | None:
        n = len(group.names)
        rows = np.full((5, n), np.nan)
        rows[2:] = [[1.0], [0.0], [0.0]]
        for spec in self.spec.energy:
            hours = spec.look_ahead_s / 3600
            for i, name in enumerate(group.names):
                if any(fnmatchcase(name, pattern) for pattern in spec.devices):
                    rows[:, i] = (spec.soc_min, spec.soc_max, spec.gamma, spec.charge_reserve_kw * hours,
                                  spec.discharge_reserve_kw * hours)
        if np.isnan(rows[0]).all():
            return None
        soc_min, soc_max, gamma, charge_kwh, discharge_kwh = rows
        return Barrier(group, row, soc_min, soc_max, gamma, charge_kwh, discharge_kwh, self.scenario.step_s / 3600)

    # -- names ---------------------------------------------------------------------------------------------------------

    def _devices(self, pattern: str, path: str) -> list[int]:
        return self._matching(pattern, self.fleet.names, "device", path)

    def _slots(self, pattern: str, roles: Sequence[Role], path: str) -> list[int]:
        """Outputs of those roles of the devices that match."""
        names = [self.fleet.names[device] for device in self._devices(pattern, path)]
        slots = [slot for slot, (name, role) in enumerate(zip(self.output_names, self.roles, strict=True))
                 if role in roles and name.rpartition(".")[0] in names]
        if names and not slots:
            self.problems.append(Problem(f"'{pattern}' has no setpoint of that kind "
                                         f"({', '.join(role.value for role in roles)})", path))
        return slots

    def _matching(self, pattern: str, known: Sequence[str], what: str, path: str) -> list[int]:
        found = [i for i, name in enumerate(known) if fnmatchcase(name, pattern)]
        if not found and not (pattern == "*" and not known):
            known = list(dict.fromkeys(known))
            shown = ", ".join(known[:6]) + (", …" if len(known) > 6 else "")
            self.problems.append(Problem(f"no {what} matches '{pattern}'; there are: {shown or 'none'}", path))
        return found


def _floats(values: Iterable[float]) -> Vector:
    return np.array(list(values), np.float64)


def _kinds(limits: Sequence[Limit]) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
    """Whether each is hard, and from which authority it may be overridden."""
    override = [NOBODY_OVERRIDES if limit.override == "nobody" else Authority[limit.override.upper()]
                for limit in limits]
    return np.array([limit.hard for limit in limits], np.bool_), np.array(override, np.int8)
