"""The outcome of an evaluation: every episode, and per controller and channel quality what they come to."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from policies.evaluate.episode import Episode
from policies.evaluate.statistics import Summary, difference, summary
from policies.evaluate.yardstick import Yardstick


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of an episode: what people call it, its unit, and which way is better."""

    words: str
    unit: str
    higher_is_better: bool


#: Figures by name, in the order of tables.  Costs and terms of the scenario come behind, ``cost.<name>``.
FIGURES: dict[str, Figure] = {
    "return": Figure("return", "", True),
    "discounted_return": Figure("discounted return", "", True),
    "in_band": Figure("time with every voltage in its band", "1", True),
    "violating": Figure("time with any limit violated", "1", False),
    "violation_bus_minutes": Figure("voltage violations", "bus-minutes", False),
    "overload_minutes": Figure("overloads", "branch-minutes", False),
    "losses_kwh": Figure("losses", "kWh", False),
    "cost": Figure("cost of energy", "", False),
    "import_kwh": Figure("import", "kWh", False),
    "export_kwh": Figure("export", "kWh", True),
    "unserved_kwh": Figure("not served", "kWh", False),
    "dead_minutes": Figure("without a solution", "min", False),
    "v_min_pu": Figure("lowest voltage", "pu", True),
    "v_max_pu": Figure("highest voltage", "pu", False),
    "interventions": Figure("shield interventions", "", False),
    "shield_minutes": Figure("shield active", "min", False),
    "infeasible_minutes": Figure("shield infeasible", "min", False),
    "length_s": Figure("length", "s", True),
    "decisions": Figure("decisions", "", True),
}


def figure(name: str) -> Figure:
    """Of a figure's name; a cost is better when it is smaller."""
    return FIGURES.get(name) or Figure(name.removeprefix("cost."), "", not name.startswith("cost."))


@dataclass(frozen=True, slots=True)
class Cell:
    """One controller at one quality: a summary of every figure, terms and costs, and times to decide, ms."""

    controller: str
    quality: str
    figures: Mapping[str, Summary]
    terms: Mapping[str, Summary]
    against: Mapping[str, Summary]
    """Paired differences from the first controller at the same quality, figure by figure; {} for that one."""
    latency_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Episodes in the order of qualities, controllers, seeds; `complete` unless it was stopped."""

    scenario: str
    controllers: tuple[str, ...]
    qualities: tuple[str, ...]
    seeds: tuple[int, ...]
    episodes: tuple[Episode, ...]
    yardsticks: tuple[Yardstick, ...] = ()
    complete: bool = True

    def of(self, controller: str, quality: str) -> list[Episode]:
        """Episodes of one controller at one quality."""
        return [e for e in self.episodes if (e.controller, e.quality) == (controller, quality)]

    def cells(self) -> list[Cell]:
        """Every controller at every quality that has an episode."""
        return [self._cell(controller, quality) for quality in self.qualities for controller in self.controllers
                if self.of(controller, quality)]

    def _cell(self, controller: str, quality: str) -> Cell:
        mine = self.of(controller, quality)
        figures = {name: summary([_value(e, name) for e in mine], higher_is_better=figure(name).higher_is_better)
                   for name in _names(mine)}
        terms = {name: summary([e.terms.get(name, 0.0) for e in mine])
                 for name in dict.fromkeys(name for e in mine for name in e.terms)}
        return Cell(controller, quality, figures, terms, self._against(mine, controller, quality), _latency(mine))

    def _against(self, mine: Sequence[Episode], controller: str, quality: str) -> dict[str, Summary]:
        reference = self.controllers[0]
        theirs = {e.seed: e for e in self.of(reference, quality)}
        pairs = [(e, theirs[e.seed]) for e in mine if e.seed in theirs]
        if controller == reference or not pairs:
            return {}
        return {name: difference([_value(a, name) for a, _ in pairs], [_value(b, name) for _, b in pairs],
                                 higher_is_better=figure(name).higher_is_better) for name in _names(mine)}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; NaN stays for the writer to deal with."""
        return {"scenario": self.scenario, "controllers": list(self.controllers), "channels": list(self.qualities),
                "seeds": list(self.seeds), "complete": self.complete, "confidence": 0.95,
                "cells": [asdict(cell) for cell in self.cells()],
                "yardsticks": [yardstick.model_dump() for yardstick in self.yardsticks],
                "episodes": [_plain(episode) for episode in self.episodes]}

    def to_csv(self) -> str:
        """A row an episode, a column a figure, cost and term."""
        names = _names(self.episodes)
        terms = list(dict.fromkeys(name for e in self.episodes for name in e.terms))
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["controller", "channel", "seed", *names, *(f"term.{name}" for name in terms), "latency_ms"])
        for e in self.episodes:
            values = [*(_value(e, name) for name in names), *(e.terms.get(name, 0.0) for name in terms)]
            late = f"{np.median(e.latency_ms):.4f}" if e.latency_ms else ""
            writer.writerow([e.controller, e.quality, e.seed, *(repr(v) if isfinite(v) else "" for v in values), late])
        return out.getvalue()


def _names(episodes: Sequence[Episode]) -> list[str]:
    """Figures that the episodes have, in order, costs behind."""
    known = [name for name in FIGURES if any(name in e.figures for e in episodes)]
    return known + list(dict.fromkeys(f"cost.{name}" for e in episodes for name in e.costs))


def _value(episode: Episode, name: str) -> float:
    if name.startswith("cost."):
        return episode.costs.get(name.removeprefix("cost."), float("nan"))
    return episode.figures.get(name, float("nan"))


def _latency(episodes: Sequence[Episode]) -> dict[str, float]:
    times = np.array([ms for e in episodes for ms in e.latency_ms])
    if not len(times):
        return {}
    return {"median": float(np.median(times)), "p99": float(np.quantile(times, 0.99)), "max": float(times.max())}


def _plain(episode: Episode) -> dict[str, Any]:
    return {name: getattr(episode, name) for name in
            ("controller", "quality", "seed", "figures", "agents", "terms", "costs")}
