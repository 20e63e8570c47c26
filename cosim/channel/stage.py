"""A link's rules, compiled once into stages.

A stage is a run of rules that can be judged in one go when a message enters it.  Stages end at a `Forking` rule
(what follows is judged for every copy) and before an *ordered* rule that stands after a reordering one (a queue
behind a random delay must see messages as they reach it, so they are entered by an event).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np

from cosim.channel.rule import BLOCK, Drawn, Fate, Forking, Judged, Rule, Verdicts
from cosim.errors import PluginError

#: Verdict of a run of rules on a message of size_bytes at t_us.
Judge = Callable[[int, int], int]
Fork = Callable[[Any], Sequence[tuple[int, Any]] | None]
#: The most negative verdict that means something.
LAST_FATE = int(min(Fate))


@dataclass(slots=True)
class Stage:
    """Rules judged together; `stream` is set when all of them are drawn (the fast case)."""

    judge: Judge
    stream: Iterator[int] | None
    fork: Fork | None
    by_event: bool
    only: Judged | None = None
    """The rule whose `judge` this is, unasked for whether its fates exist: the link asks, of what it drops."""
    last_us: int = field(default=-1)
    """When the last message left, for FIFO."""


def compile_stages(rules: Sequence[Rule]) -> tuple[Stage, ...]:
    """At least one stage; raises PluginError for an object that is no rule."""
    stages: list[Stage] = []
    run: list[Drawn | Judged] = []
    by_event = reordered = False
    for rule in rules:
        if rule.ordered and reordered:
            if run:
                stages.append(_stage(run, None, by_event))
            run, by_event, reordered = [], True, False
        reordered = reordered or rule.reorders
        if isinstance(rule, Forking):
            stages.append(_stage(run, rule.fork, by_event))
            run, by_event = [], False
        elif isinstance(rule, Drawn | Judged):
            run.append(rule)
        else:
            raise PluginError(f"channel rule {type(rule).__name__}: expected a Drawn, Judged or Forking rule")
    if run or not stages:
        stages.append(_stage(run, None, by_event))
    return tuple(stages)


def _stage(run: Sequence[Drawn | Judged], fork: Fork | None, by_event: bool) -> Stage:
    if len(run) == 1 and isinstance(run[0], Judged):
        return Stage(run[0].judge, None, fork, by_event, run[0])
    steps: list[Judge] = []
    drawn: list[Drawn] = []
    for rule in run:
        if isinstance(rule, Drawn):
            drawn.append(rule)
            continue
        if drawn:
            steps.append(_next_of(_stream(tuple(drawn))))
            drawn = []
        steps.append(_known(rule))
    stream: Iterator[int] | None = None
    if drawn or not steps:
        tail = _stream(tuple(drawn)) if drawn else repeat(0)
        stream = None if steps else tail
        steps.append(_next_of(tail))
    return Stage(_in_turn(tuple(steps)), stream, fork, by_event)


def _stream(rules: tuple[Drawn, ...]) -> Iterator[int]:
    """Joint verdicts of neighbouring drawn rules, without end: delays add, the first drop wins."""
    while True:
        joint = _block(rules[0])
        for rule in rules[1:]:
            verdicts = _block(rule)
            joint = np.where(joint < 0, joint, np.where(verdicts < 0, verdicts, joint + verdicts))
        yield from joint.tolist()


def _block(rule: Drawn) -> Verdicts:
    """The next `BLOCK` verdicts; raises PluginError that names the rule where they are none."""
    verdicts = np.asarray(rule.draw(BLOCK))
    if verdicts.shape != (BLOCK,) or not np.issubdtype(verdicts.dtype, np.integer):
        raise PluginError(f"channel rule {rule_name(rule)}: `draw({BLOCK})` gave {verdicts.dtype} of shape "
                          f"{verdicts.shape}; expected whole numbers of shape ({BLOCK},)")
    if (least := int(verdicts.min())) < LAST_FATE:
        raise unknown_fate(rule, least)
    return verdicts


def unknown_fate(rule: Rule, verdict: int) -> PluginError:
    """What to raise when `rule` dropped a message with a fate that does not exist."""
    known = ", ".join(f"{fate.value} ({fate.name})" for fate in Fate if fate)
    return PluginError(f"channel rule {rule_name(rule)}: found verdict {verdict}; expected a delay in us (0 or more) "
                       f"or one of {known}")


def rule_name(rule: Rule) -> str:
    """The rule's kind, or its class where it has none."""
    return f"'{getattr(rule, 'kind', type(rule).__name__)}'"


def _known(rule: Judged) -> Judge:
    """The rule's `judge`, refusing fates that do not exist."""
    judge = rule.judge

    def checked(t_us: int, size_bytes: int) -> int:
        verdict = judge(t_us, size_bytes)
        if verdict < LAST_FATE:
            raise unknown_fate(rule, verdict)
        return verdict

    return checked


def _next_of(stream: Iterator[int]) -> Judge:
    return lambda _t_us, _size_bytes: next(stream)


def _in_turn(steps: tuple[Judge, ...]) -> Judge:
    if len(steps) == 1:
        return steps[0]

    def judge(t_us: int, size_bytes: int) -> int:
        delay_us = 0
        for step in steps:
            verdict = step(t_us + delay_us, size_bytes)
            if verdict < 0:
                return verdict
            delay_us += verdict
        return delay_us

    return judge
