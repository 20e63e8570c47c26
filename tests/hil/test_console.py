"""`hil.console`: what may be typed into a running server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from hil.console import MAX_LINE, Console, Typing
from hil.gate import CommandGate
from hil.pacer import Pacer
from hil.timing import Timing
from tests.hil.fakes import FakeClock


@dataclass
class Switch:
    """Of a gate, the console needs the switch."""

    read_only: bool = False


class Bench:
    """A console and what it acts upon."""

    def __init__(self) -> None:
        self.clock, self.switch = FakeClock(), Switch()
        self.pacer = Pacer(self.clock)
        self.timing = Timing([("scan", 100_000, 0)])
        self.calls: list[str] = []
        self.console = Console(self.pacer, cast("CommandGate", self.switch), self.timing, lambda: "as it is",
                               lambda: self.calls.append("changed"), lambda: self.calls.append("quit"))
        self.pacer.resume()


def test_pause_rate_and_resume() -> None:
    """Simulation time obeys, and the driver is told to look again each time."""
    bench = Bench()
    bench.clock.forward(2.0)
    assert "paused at t = 2.000 s" in bench.console.obey("pause")
    bench.clock.forward(5.0)
    bench.console.obey(" RATE 10 ")
    bench.console.obey("resume")
    bench.clock.forward(1.0)
    assert bench.pacer.now_us() == 12_000_000
    assert bench.calls == ["changed"] * 3


def test_read_only_and_reset() -> None:
    """The switch of the gate, and the latched flag."""
    bench = Bench()
    bench.timing.overruns.missed(1, 1.0)
    bench.console.obey("read-only on")
    bench.console.obey("reset")
    assert bench.switch.read_only
    assert not bench.timing.overruns.latched
    assert bench.timing.overruns.count == 1


@pytest.mark.parametrize("line", ["rate", "rate fast", "rate 1e9", "rate nan", "read-only maybe", "stop",
                                  "x" * 100_000])
def test_what_it_does_not_know_it_says(line: str) -> None:
    """A wrong line changes nothing, and the answer says what would be taken."""
    bench = Bench()
    answer = bench.console.obey(line)
    assert "expected" in answer or "commands:" in answer
    assert len(answer) < 1000
    assert bench.calls == []
    assert bench.pacer.rate == 1.0


def test_status_quit_and_nothing() -> None:
    """The rest of the words."""
    bench = Bench()
    assert bench.console.obey("status") == "as it is"
    assert bench.console.obey("") == ""
    bench.console.obey("quit")
    assert bench.calls == ["quit"]


def test_lines_come_whole_however_they_are_cut() -> None:
    """Half a command is not obeyed; the end completes the last; an endless line is bounded."""
    typing = Typing()
    assert typing.lines(b"pau") == []
    assert typing.lines(b"se\nrate 2") == ["pause"]
    assert typing.lines(b"0") == []
    assert typing.lines(b"") == ["rate 20"]
    for _ in range(100):
        assert typing.lines(b"x" * 4096) == []
    assert len(typing.lines(b"\n")[0]) <= 2 * MAX_LINE
