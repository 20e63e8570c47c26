"""Time budgets by section."""

from __future__ import annotations

from cosim.stopwatch import Section, TimeBudget, WallStopwatch


class FakeStopwatch:
    """A stopwatch that moves when told to."""

    s = 0.0

    def now_s(self) -> float:
        """The time it was set to."""
        return self.s


def test_sections_get_their_own_time_and_add_up() -> None:
    """Nested work is charged once, to the inner section; the rest is other."""
    watch = FakeStopwatch()
    budget = TimeBudget(watch)
    watch.s = 1.0
    agents = budget.switch(Section.AGENTS)
    watch.s = 3.0
    before = budget.switch(Section.SOLVER)
    watch.s = 7.0
    budget.switch(before)
    watch.s = 8.0
    budget.switch(agents)
    watch.s = 8.5
    assert budget.seconds() == {"other": 1.5, "solver": 4.0, "agents": 3.0, "channels": 0.0, "recorder": 0.0}


def test_the_wall_does_not_go_back() -> None:
    """The machine's stopwatch never decreases."""
    readings = [WallStopwatch().now_s() for _ in range(100)]
    assert readings == sorted(readings)
