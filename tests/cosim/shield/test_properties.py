"""What the shield promises, over random radial feeders, states and requests; pandapower is the judge of safety.

Each property is a function of numbers that build everything (see `feeders`), so that a failure names three numbers;
Hypothesis looks for them, derandomised, so that two runs of the tests are one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosim.points import Vector
from cosim.shield import Rung, ShieldDecision
from tests.cosim.shield.feeders import Bench, Feeder, Oracle, feeder

TOLERANCE = 1e-6
ATTEMPTS_MOST = 600
"""Power flows that one call may take: bounds the time of an answer whatever is asked."""
SEEDS = st.integers(0, 2**32 - 1)
FEEDERS = st.builds(feeder, SEEDS, st.integers(2, 20), st.integers(1, 8))


def examples(count: int) -> settings:
    """The profile of these tests: the same examples every time, no wall clock."""
    return settings(max_examples=count, derandomize=True, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))


# -- the properties --------------------------------------------------------------------------------------------------


def keeps_safe(what: Feeder, seed: int, rounds: int = 3) -> None:
    """No hard limit is passed that holding would not pass, none is passed further, and what is passed is flagged."""
    bench = Bench(what)
    oracle = Oracle(what, bench.fleet.injection_bus)
    rng = np.random.default_rng([seed, 1])
    for k in range(rounds):
        demand = float(rng.choice([0.0, 0.0, 500.0, -800.0]))
        bench.advance(demand, 0.3 * demand)
        held = bench.held()
        decision = bench.ask(bench.requests(seed + k))
        judge(oracle, what, held.dispatch if held.state.converged else None, decision)
        bench.apply(decision)


def judge(oracle: Oracle, what: Feeder, held: Any, decision: ShieldDecision) -> None:
    """pandapower's verdict on one decision."""
    state = decision.trial.state
    found = oracle.solve(decision.trial.dispatch) if state.converged else None
    if found is None:
        assert decision.infeasible, "no solution, and not flagged"
        return
    if not np.allclose(state.v_pu, found["voltage"], rtol=0, atol=1e-7, equal_nan=True):
        same = oracle.solve(decision.trial.dispatch, state)
        assert same is not None
        np.testing.assert_allclose(state.v_pu, same["voltage"], rtol=0, atol=1e-7)
        assert decision.infeasible, "another solution than from a flat start, and not flagged"
        return
    after = oracle.excess(found, what.shield)
    assert decision.infeasible or after.max(initial=0.0) <= TOLERANCE, f"unflagged violation of {after.max():.3g} pu"
    before = None if held is None else oracle.solve(held)
    if before is None or np.nanmin(before["voltage"]) < 0.8 or after.max(initial=0.0) <= TOLERANCE:
        return
    worse = after - oracle.excess(before, what.shield)
    assert worse.max() <= TOLERANCE, f"made worse than holding by {worse.max():.3g} pu"


def returns_what_is_safe(what: Feeder, seed: int) -> None:
    """A safe request comes back as the very object; what was applied is answered by itself, in the same state."""
    bench = Bench(what)
    bench.advance()
    first = bench.ask(bench.requests(seed))
    if first.infeasible or first.rung is Rung.EMERGENCY:
        return  # nothing safe was found, or an action is in force that only `settled` knows of
    again = bench.ask(first.applied)
    assert again.rung is Rung.REQUEST, f"{first.rung.name} was answered, and asked again {again.rung.name}"
    assert again.applied is first.applied
    assert again.distance_kva == 0.0
    assert not again.reason.any()
    assert not again.infeasible


def answers_anything(what: Feeder, values: list[float]) -> None:
    """For any numbers at all: an answer, within a bounded number of power flows, of a shape that can be applied."""
    bench = Bench(what)
    bench.advance()
    requested = np.resize(np.array(values), bench.fleet.n_output)
    with np.errstate(all="ignore"):
        decision = bench.ask(requested)
    assert bench.attempts <= ATTEMPTS_MOST
    assert decision.requested.tobytes() == requested.tobytes()
    assert decision.applied.shape == requested.shape
    assert math.isfinite(decision.distance_kva)
    assert decision.trial.state.converged or decision.infeasible
    bench.apply(decision)


def is_pure(what: Feeder, seed: int) -> None:
    """Asked twice, it answers the same, whatever it was asked between."""
    bench = Bench(what)
    bench.advance()
    request, other = bench.requests(seed), bench.requests(seed + 1)
    for one in (request, other):  # a topology's first solve factorises anew, which shows in the last bit
        bench.ask(one)
    first = bench.ask(request)
    bench.ask(other)
    second = bench.ask(request)
    assert first.applied.tobytes() == second.applied.tobytes()
    assert first.reason.tobytes() == second.reason.tobytes()
    assert (first.rung, first.infeasible, first.distance_kva) == (second.rung, second.infeasible, second.distance_kva)
    assert [str(breach) for breach in first.breaches] == [str(breach) for breach in second.breaches]


def leaves_unrelated_alone(what: Feeder, seed: int) -> None:
    """Where all broken limits are on some feeders of the slack, devices on its other feeders keep every bit.

    Unless a position had to be refused.
    """
    what = replace(what, shield={**{k: v for k, v in what.shield.items() if k not in ("exchange", "emergency")}})
    bench = Bench(what)
    bench.advance()
    request = bench.requests(seed)
    decision = bench.ask(request)
    if decision.rung is not Rung.PROJECTION or any(breach.limit.startswith("grid.") for breach in decision.breaches):
        return
    if refused_a_position(bench, request, decision):
        return  # which is not a matter of one feeder: what depended on it may follow
    broken = {_root_of(what, breach.limit) for breach in decision.breaches}
    limited = bench.followed(request)
    root = np.array([what.root_branch(int(bus)) for bus in bench.fleet.injection_bus])
    for slot, device in enumerate(_device_of_output(bench)):
        if root[device] >= 0 and root[device] not in broken:  # a breaker stands at no bus
            assert decision.applied[slot : slot + 1].tobytes() == limited[slot : slot + 1].tobytes(), (
                f"output {slot} on feeder {root[device]} moved for feeders {broken}")


def loosening_never_costs(what: Feeder, seed: int) -> None:
    """With every limit looser, the distance to the same request in the same state is no larger.

    So it is where the distance that is told is what is minimised: all limits hard, no weights, no voltage set points.
    """
    hard = {key: [{**entry, "hard": True} for entry in what.shield[key]] for key in ("voltage", "loading")}
    bench = Bench(replace(what, shield={"mode": "enforce", **hard}, gen_bus=(), gen_p_mw=(), devices=tuple(
        device for device in what.devices if not str(device["name"]).startswith("regulator"))))
    bench.advance()
    request = bench.requests(seed)
    tight = bench.ask(request)
    if tight.rung is not Rung.PROJECTION or refused_a_position(bench, request, tight):
        return  # only a feasible answer with the same positions bounds the distance of a looser one
    limits = bench.shield._cases[0].limits
    high, low = limits.high.copy(), limits.low.copy()
    limits.high[:] += 0.3 * limits.scale
    limits.low[:] -= 0.3 * limits.scale
    loose = bench.ask(request)
    limits.high[:], limits.low[:] = high, low
    assert loose.distance_kva <= 1.02 * tight.distance_kva + 0.5, (
        f"{tight.distance_kva:.6g} kVA with tight limits, {loose.distance_kva:.6g} ({loose.rung.name}) with loose ones")


def observing_changes_nothing(what: Feeder, seed: int) -> None:
    """In `observe` what is applied is what devices can follow, and `advised` is what `enforce` would apply."""
    bench = Bench(what)
    bench.advance()
    request = bench.requests(seed)
    bench.ask(request)  # a topology's first solve factorises anew, which shows in the last bit
    enforced = bench.ask(request)
    bench.shield._enforce = False
    observed = bench.ask(request)
    advised = observed.applied if observed.advised is None else observed.advised
    assert advised.tobytes() == enforced.applied.tobytes()
    assert observed.rung is enforced.rung
    if not bench.shield.means.emergency.standing.taken:
        assert observed.applied.tobytes() == bench.followed(request).tobytes()


def refused_a_position(bench: Bench, request: Vector, decision: ShieldDecision) -> bool:
    """Whether a breaker, a step or a start stands other than it was asked to."""
    positions = bench.shield.means.switching.slots
    return decision.applied[positions].tobytes() != bench.followed(request)[positions].tobytes()


def _root_of(what: Feeder, limit: str) -> int:
    """Feeder of the slack on which a limit is: ``bus.5.v_pu`` or ``line.2-3.loading``."""
    kind, name = limit.split(".")[:2]
    return what.root_branch(int(name) - 1 if kind == "bus" else int(name.split("-")[1]) - 1)


def _device_of_output(bench: Bench) -> list[int]:
    """Device of every output."""
    out: list[int] = []
    first = 0
    for group in bench.fleet.groups:
        n = len(group.names)
        out += [first + i for _ in group.setpoints for i in range(n)]
        first += n
    return out


# -- as tests --------------------------------------------------------------------------------------------------------

GARBAGE = st.lists(st.one_of(st.floats(), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1e308,
                                                           -1e308, 1.0, 1e4, -1e4])), min_size=1, max_size=24)


@examples(30)
@given(FEEDERS, SEEDS)
def test_safe(what: Feeder, seed: int) -> None:
    """pandapower finds no unflagged violation, and none made worse, over three scans of changing demand."""
    keeps_safe(what, seed)


@examples(150)
@given(FEEDERS, SEEDS)
def test_minimal_and_idempotent(what: Feeder, seed: int) -> None:
    """What the shield has answered comes back untouched when it is asked for."""
    returns_what_is_safe(what, seed)


@examples(80)
@given(FEEDERS, GARBAGE)
def test_total(what: Feeder, values: list[float]) -> None:
    """Whatever is asked, there is an answer in a bounded number of power flows."""
    answers_anything(what, values)


@examples(40)
@given(FEEDERS, SEEDS)
def test_pure(what: Feeder, seed: int) -> None:
    """Filtering has no effect."""
    is_pure(what, seed)


@examples(200)
@given(FEEDERS, SEEDS)
def test_local(what: Feeder, seed: int) -> None:
    """Devices that do not touch a broken limit are not moved."""
    leaves_unrelated_alone(what, seed)


@examples(150)
@given(FEEDERS, SEEDS)
def test_monotone(what: Feeder, seed: int) -> None:
    """Looser limits never cost more."""
    loosening_never_costs(what, seed)


@examples(40)
@given(FEEDERS, SEEDS)
def test_observe(what: Feeder, seed: int) -> None:
    """Observing says what enforcing would do, and does nothing."""
    observing_changes_nothing(what, seed)


def test_the_feeders_are_worth_asking() -> None:
    """Safe requests, projected ones, fallbacks and hopeless states all occur: the properties above are not empty."""
    seen: dict[Rung, int] = {}
    for seed in range(60):
        bench = Bench(feeder(seed, 4 + seed % 15, 1 + seed % 6))
        bench.advance()
        rung = bench.ask(bench.requests(seed)).rung
        seen[rung] = seen.get(rung, 0) + 1
    assert seen[Rung.REQUEST] > 5
    assert seen[Rung.PROJECTION] > 10
    assert seen[Rung.LEAST_HARM] > 2
