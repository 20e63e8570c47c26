"""``gridloop check``: every error and warning of a scenario at once."""

from __future__ import annotations

import argparse

from cosim.cli.arguments import add_scenario, load
from cosim.cli.engine import Engine
from cosim.cli.outcome import Exit, Outcome, problem_data
from cosim.errors import Problem, ScenarioError

NAME = "check"
SUMMARY = "report every error of a scenario at once, with file, line and what would be accepted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    add_scenario(parser)


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:
    """Load the scenario and resolve its references; warnings alone do not fail."""
    try:
        loaded = load(args, engine)
    except ScenarioError as error:
        return _outcome(error.problems, ())
    try:
        engine.check(loaded)
    except ScenarioError as error:
        return _outcome(loaded.place(error).problems, loaded.warnings)
    return _outcome((), loaded.warnings)


def _outcome(errors: tuple[Problem, ...], warnings: tuple[Problem, ...]) -> Outcome:
    lines = [str(problem) for problem in errors]
    lines += [f"{_place(problem)}warning: {problem.message}" for problem in warnings]
    lines.append(f"{_count(len(errors), 'error')}, {_count(len(warnings), 'warning')}")
    data = {"ok": not errors, "errors": problem_data(errors), "warnings": problem_data(warnings)}
    return Outcome(Exit.USAGE if errors else Exit.DONE, "\n".join(lines), data)


def _place(problem: Problem) -> str:
    return str(problem).removesuffix(problem.message)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
