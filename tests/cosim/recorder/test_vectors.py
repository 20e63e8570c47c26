"""Commands of many values: the digest, the columns and the journal do not know how they were gathered."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cosim.commands import Command, CommandKind
from cosim.recorder import Keep, Recorder, RecordOptions
from cosim.recorder.recorder import _PACK_VALUES
from tests.cosim.recorder.fakes import ABOUT, FakeStopwatch, command, database

N = 145
IDS = tuple(i % 5 for i in range(N))


def vectors(n: int) -> list[Command]:
    """An action as it comes in and as it takes effect, a release of all, and now and then a single value."""
    rng, rows = np.random.default_rng(4), []
    for t_us in range(n):
        values = tuple(rng.normal(size=N).tolist())
        values = (math.nan, *values[1:]) if t_us % 7 == 0 else values
        rows += [command(t_us, IDS, values, external=True), command(t_us, IDS, values)]
        if t_us % 5 == 0:
            rows.append(command(t_us, IDS, (), external=True)._replace(kind=CommandKind.RELEASE))
            rows.append(command(t_us))
    return rows


def recorded(rows: list[Command], flush_every: int, keep: Keep = Keep.ALL) -> Recorder:
    """These commands, each an instant, flushed after every so many."""
    options = RecordOptions(flush_s=math.inf, flush_bytes=10**9, keep=keep)
    recorder = Recorder(None, database(), ABOUT, options, FakeStopwatch())
    for i, row in enumerate(rows):
        recorder.command(row)
        recorder.end_instant(i)
        if i % flush_every == flush_every - 1:
            recorder.flush()
    return recorder


@pytest.mark.parametrize("keep", Keep)
def test_one_by_one_and_packed_together_give_one_digest(keep: Keep) -> None:
    """Each command encoded alone, some together, and packs that fill up on the way."""
    rows = vectors(80)
    assert sum(len(row.ids) for row in rows) > 1.2 * _PACK_VALUES
    assert len({recorded(rows, every, keep).close("done") for every in (1, 3, 10**9)}) == 1


def test_columns_are_the_values_in_order() -> None:
    """A row a point; a release has none of its own: NaN."""
    rows = vectors(6)
    recorder = recorded(rows, 10**9)
    recorder.close("done")
    found = recorder.result().commands()
    names = database().names
    expected = [(names[i], v) for row in rows for i, v in zip(row.ids, row.values or (math.nan,) * N, strict=True)]
    assert found["point"].tolist() == [name for name, _ in expected]
    assert str(found["value"].tolist()) == str([value for _, value in expected])


def test_the_journal_has_one_row_a_request() -> None:
    """With the ids and values it came with, no values for a release."""
    rows = [row for row in vectors(6) if row.external]
    recorder = recorded(vectors(6), 4, Keep.JOURNAL)
    recorder.close("done")
    found = recorder.result().journal()
    assert [row.ids for row in found] == [row.ids for row in rows]
    assert str([row.values for row in found]) == str([row.values for row in rows])
    assert [(row.kind, row.status) for row in found] == [(row.kind, row.status) for row in rows]
