"""The benchmark's exchange, its peers and the harness's arithmetic, on small runs."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bare_loop, exchange, harness, helics_peer, mosaik_peer
from benchmarks.harness import Comparison, Reach, Row

Run = Callable[[int, int, int], exchange.Result]


def _rate(*values: float) -> harness.Rate:
    """A side that returns `values` in turn, for ever."""
    endless = itertools.cycle(values)
    return lambda: next(endless)


def _missing() -> float:
    raise exchange.PeerMissingError("nosuchpeer")


def _not_built() -> float:
    raise harness.NotBuiltError("not built yet: here")


def test_bare_loop_repeats_with_its_seed() -> None:
    """Two runs of one seed end in the same state; another seed ends elsewhere."""
    first, again, other = (bare_loop.run(80, 40, seed) for seed in (3, 3, 4))
    assert dataclasses.replace(first, wall_s=0.0) == dataclasses.replace(again, wall_s=0.0)
    assert first.final_checksum != other.final_checksum


def test_bare_loop_closes_the_loop() -> None:
    """The setpoints that arrive are in the power flow: the loads' reactive power is base less the setpoints."""
    loop = bare_loop.BareLoop(150, seed=1)
    base_mvar = np.array([load.target_q_mvar for load in loop.grid.get_loads()])
    loop.env.process(loop.grid_process())
    for agent in range(150):
        loop.env.process(loop.agent_process(agent))
    loop.env.run(until=30)
    loop.apply_arrived()
    injected_mvar = np.bincount(loop.load_of, weights=loop.setpoint_kvar, minlength=99) * 1e-3
    in_force_mvar = [load.target_q_mvar for load in loop.grid.get_loads()]
    np.testing.assert_allclose(in_force_mvar, base_mvar - injected_mvar, atol=1e-9)
    assert np.count_nonzero(injected_mvar) > 90


@pytest.mark.parametrize(
    "run", [bare_loop.run, helics_peer.run, mosaik_peer.run], ids=["bare loop", "HELICS", "mosaik"]
)
def test_every_peer_does_the_exchange(run: Run) -> None:
    """Steps, messages sent and delivered and setpoints moved are those of the exchange."""
    try:
        result = run(5, 60, 2)
    except exchange.PeerMissingError as missing:
        pytest.skip(f"peer missing: {missing}")
    assert exchange.complaints(result, 5, 60) == []
    assert result.messages_delivered < result.messages_sent


@pytest.mark.parametrize(("peer", "layout"), [(helics_peer, "federate_per_agent"), (mosaik_peer, "shared")])
def test_layouts_of_a_peer_do_the_same(peer: object, layout: str) -> None:
    """A peer's layouts differ in cost only: the same draws give the same state at the end."""
    try:
        default = peer.run(5, 30, 2)  # type: ignore[attr-defined]
    except exchange.PeerMissingError as missing:
        pytest.skip(f"peer missing: {missing}")
    other = peer.run(5, 30, 2, layout)  # type: ignore[attr-defined]
    assert other.final_checksum == default.final_checksum


def test_complaints_name_what_is_wrong() -> None:
    """Wrong step, message and delivery counts and idle setpoints are each reported."""
    good = exchange.Result(100, 2_000, 1_980, 1.0, "", 10)
    assert exchange.complaints(good, 10, 100) == []
    wrongs: list[dict[str, int]] = [
        {"grid_steps": 99},
        {"messages_sent": 1_999},
        {"messages_delivered": 1_940},
        {"messages_delivered": 2_020},
        {"moved_agents": 1},
    ]
    for wrong in wrongs:
        assert len(exchange.complaints(dataclasses.replace(good, **wrong), 10, 100)) == 1, wrong  # type: ignore[arg-type]


def test_compare_takes_the_median_of_pair_ratios() -> None:
    """The ratio is the median over neighbours, which a drift of the machine's speed leaves alone."""
    warm_up = 1.0
    ours, theirs = _rate(warm_up, 10.0, 40.0, 5.0), _rate(warm_up, 20.0, 80.0, 50.0)
    pairing = harness.compare(ours, theirs, pairs=3)
    assert (pairing.ours, pairing.theirs, pairing.ratio) == (10.0, 50.0, 0.5)


def test_compare_interleaves_the_sides() -> None:
    """The sides run A B A B, so that both see the machine in the same state."""
    order: list[str] = []

    def side(name: str) -> harness.Rate:
        return lambda: order.append(name) or 1.0  # type: ignore[func-returns-value]

    harness.compare(side("A"), side("B"), pairs=2)
    assert order == ["A", "B"] * 3


@pytest.mark.parametrize(
    ("reach", "ok"),
    [(Reach(True, 0.5), True), (Reach(True, 0.51), False), (Reach(False, 0.5), True), (Reach(False, 0.4), False)],
)
def test_row_says_whether_the_figure_is_reached(reach: Reach, ok: bool) -> None:
    """`ok` follows the ratio, the bound and its direction; the bound itself counts as reached."""
    row = Comparison("n", "1/s", "peer", _rate(1.0), _rate(2.0), reach).row(pairs=3)
    assert (row.value, row.ratio, row.ok) == (1.0, 0.5, ok)


def test_row_without_a_reach_has_no_verdict() -> None:
    """A figure that is only reported is neither reached nor missed."""
    row = Comparison("n", "1/s", "peer", _rate(1.0), _rate(2.0)).row(pairs=1)
    assert (row.ratio, row.reach, row.ok) == (0.5, "", None)


def test_missing_peer_is_named_and_ours_still_measured() -> None:
    """A peer that is not installed leaves our value in the row and says which is missing."""
    row = Comparison("n", "1/s", "peer", _rate(3.0), _missing, Reach(True, 1.0)).row(pairs=2)
    assert (row.value, row.ratio, row.ok) == (3.0, None, None)
    assert "peer missing: nosuchpeer" in row.against


def test_unbuilt_side_is_missing_and_the_peer_still_measured() -> None:
    """Our side not being built yet gives a row without a value, with the peer's figure."""
    row = Comparison("n", "1/s", "peer", _not_built, _rate(1234.0), Reach(True, 1.0)).row(pairs=2)
    assert (row.value, row.ok) == (None, None)
    assert row.against == "peer (1,234; not built yet: here)"


def test_row_names_both_sides_when_both_are_missing() -> None:
    """With neither side there the row still says which peer is missing."""
    row = Comparison("n", "1/s", "peer", _not_built, _missing).row(pairs=2)
    assert row.against == "peer (peer missing: nosuchpeer; not built yet: here)"


def test_crash_of_a_side_is_not_hidden() -> None:
    """Only a missing side is a row; any other error ends the script."""

    def broken() -> float:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        Comparison("n", "1/s", "peer", broken, _rate(1.0)).row(pairs=1)


def test_command_line_writes_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` writes a list of rows with the issue's keys; missed figures still exit with 0."""
    seen: list[bool] = []

    def measure(quick: bool) -> Iterator[Row]:
        seen.append(quick)
        yield Row("slow thing", 1.0, "1/s", "peer (2)", 0.5, ">= 1", False)

    file = tmp_path / "rows.json"
    assert harness.main("A test.", measure, ["--quick", "--json", str(file)]) == 0
    assert seen == [True]
    (row,) = json.loads(file.read_text(encoding="utf-8"))
    assert list(row) == ["name", "value", "unit", "against", "ratio", "reach", "ok"]
    assert "slow thing" in capsys.readouterr().out
