"""Short cuts of the device groups give, to the bit, what the long way gives."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.devices.base import COUNTED_AT_ONCE, Group, counted
from cosim.devices.battery import Battery
from cosim.devices.generator import Generator
from cosim.devices.pq_store import PQStore

from .fake_site import NAN, SECOND, FakeSite
from .kinds import KINDS

VALUES = st.sampled_from([NAN, NAN, 0.0, 1.0, 0.5, -0.2, 3.0, 8.999, 20.0, 55.0, -55.0, 1.02, 700.0])


def groups(kind: str, part: slice) -> tuple[Any, Any]:
    """The same group, of some of the kind's devices, with and without short cuts."""
    cls, configs = KINDS[kind][0], KINDS[kind][1][part]
    long: Any = type(f"Long{cls.__name__}", (cls,), {
        "_fits": Group._fits, "_keeps_running": lambda self, setpoints: False,
        "_within_circle": lambda self, p, q: False})
    return cls.build(configs, FakeSite(1.0)), long.build(configs, FakeSite(1.0))


@pytest.mark.parametrize(("kind", "part"), [
    ("battery", slice(None)), ("battery", slice(0, 1)), ("generator", slice(None)), ("generator", slice(0, 2)),
    ("generator", slice(1, 2))])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_run_by_the_short_way_equals_the_long_way(kind: str, part: slice, data: st.DataObject) -> None:
    """Limits, injections and measurements of every step, whether the counters are read or left."""
    quick, slow = groups(kind, part)
    n_setpoint, v_pu = len(quick.setpoints), np.ones(quick.n)
    for step in range(4):
        wanted = np.array([[data.draw(VALUES) for _ in range(quick.n)] for _ in range(n_setpoint)])
        if data.draw(st.booleans()):
            wanted[0 if kind == "generator" else 1] = NAN
        if data.draw(st.integers(0, 5)) == 0:
            v_pu = v_pu * NAN
        seen = []
        for group in (quick, slow):
            group.advance(step * SECOND)
            possible, reason = group.limit(wanted.copy())
            injection = group.apply(possible, v_pu)
            group.settle(possible, injection, v_pu, step * SECOND)
            out = np.zeros((len(group.measurements), group.n))
            if step % 2:
                group.measure(out)
            seen.append([a.tobytes() for a in (possible, reason, injection.p_kw, injection.q_kvar, out)])
        assert seen[0] == seen[1]


@pytest.mark.parametrize("cls", [Battery, PQStore, Generator])
def test_counters_do_not_depend_on_when_they_are_read(cls: type[Any]) -> None:
    """Every step, never before the end, or after more steps than are gathered."""
    _, configs = KINDS[cls.kind]
    ends = []
    for every in (1, 3, 10**9):
        group = cls.build(configs, FakeSite(1.0))
        rng = np.random.default_rng(5)
        out = np.zeros((len(group.measurements), group.n))
        for step in range(COUNTED_AT_ONCE + 40):
            group.advance(step * SECOND)
            wanted = np.full((len(group.setpoints), group.n), NAN)
            wanted[1 if cls is Generator else 0] = rng.uniform(-5, 9, group.n)
            possible, _ = group.limit(wanted)
            group.settle(possible, group.apply(possible, np.ones(group.n)), np.ones(group.n), step * SECOND)
            if step % every == every - 1:
                group.measure(out)
        group.measure(out)
        ends.append(out.tobytes())
    assert ends[0] == ends[1] == ends[2]
    assert np.abs(out[3]).sum() > 0


@pytest.mark.parametrize("kind", ["battery", "pq_store", "generator"])
def test_every_row_alone_is_that_of_all(kind: str) -> None:
    """Whatever row is measured, its numbers are those that `measure` writes; the others are left alone."""
    cls, configs = KINDS[kind]
    group: Any = cls.build(configs, FakeSite(1.0))
    rng = np.random.default_rng(3)
    for step in range(5):
        group.advance(step * SECOND)
        possible, _ = group.limit(rng.uniform(0.5, 4, (len(group.setpoints), group.n)))
        group.settle(possible, group.apply(possible, np.ones(group.n)), np.ones(group.n), step * SECOND)
    whole = np.empty((len(group.measurements), group.n))
    group.measure(whole)
    for row in range(len(whole)):
        out = np.full_like(whole, 77.0)
        group.measure_rows(out, (row,))
        assert out[row].tobytes() == whole[row].tobytes()
        assert (np.delete(out, row, axis=0) == 77.0).all()


@given(st.integers(0, 9), st.integers(0, 3))
def test_counting_together_is_counting_one_by_one(n_row: int, n: int) -> None:
    """The order of the additions is kept, so every bit is."""
    terms = np.random.default_rng(n_row).normal(size=(n_row, n)) * 10.0 ** np.arange(n_row)[:, None]
    total = np.full(n, 0.1)
    for row in terms:
        total = total + row
    assert counted(np.full(n, 0.1), terms).tobytes() == total.tobytes()


def test_a_kind_that_restricts_or_measures_otherwise_has_no_short_cut() -> None:
    """What it inherits speaks for its parent, not for it."""

    class Shy(Battery):
        kind: ClassVar[str] = "shy"

        def _restrict(self, possible: Any, reason: Any) -> None:
            possible[:] = 0.0
            reason[:] = 1

        def measure(self, out: Any) -> None:
            super().measure(out)
            out[0] = 42.0

    _, configs = KINDS["battery"]
    group = Shy.build(configs, FakeSite(1.0))
    group.advance(0)
    possible, reason = group.limit(np.zeros((2, group.n)))
    assert not possible.any()
    assert reason.all()
    out = np.zeros((7, group.n))
    group.measure_rows(out, (0,))
    assert (out[0] == 42.0).all()
