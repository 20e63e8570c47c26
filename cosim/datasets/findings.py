"""Collects what is wrong with one profile file, so that a user mends everything in one go."""

from __future__ import annotations

from dataclasses import dataclass

from cosim.errors import Problem, ProfileError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a profile file may cost: larger ones are refused, never read in part."""

    max_bytes: int = 512 * 1024 * 1024
    max_cells: int = 50_000_000
    max_problems: int = 20


class Findings:
    """The problems of one file in the order found, at most ``limit`` of them."""

    __slots__ = ("_limit", "_problems", "_truncated", "source")

    def __init__(self, source: str, limit: int) -> None:
        self.source = source
        self._limit = limit
        self._problems: list[Problem] = []
        self._truncated = False

    @property
    def full(self) -> bool:
        """True when nothing more is kept: a reader may stop."""
        return self._truncated

    def any_of(self, *rules: str) -> bool:
        """Whether a problem under one of these rules was found."""
        return any(problem.rule in rules for problem in self._problems)

    def add(self, rule: str, message: str, line: int = 0, column: int = 0) -> None:
        """Note one problem; ``line`` counts from 1 (0: the file as a whole), ``column`` is the field number."""
        if len(self._problems) >= self._limit:
            self._truncated = True
            return
        self._problems.append(Problem(message, file=self.source, line=line, column=column, rule=rule))

    def problems(self) -> tuple[Problem, ...]:
        """Everything found, in file order within each kind; a last entry says when some were left out."""
        found = sorted(self._problems, key=lambda problem: problem.line)
        if self._truncated:
            text = f"more than {self._limit} problems: only the first {self._limit} found are shown, mend these first"
            found.append(Problem(text, file=self.source, rule="profile-many"))
        return tuple(found)

    def raise_if_any(self) -> None:
        """Raise `ProfileError` with all that was found; nothing found, nothing happens."""
        if self._problems:
            raise ProfileError(self.problems())
