"""The figures of a shipped scenario that are kept in ``tests/golden/<scenario>.json``, and how two sets are compared.

A file holds ``until_s`` (how far the scenario is run: long days stop early, so that the whole suite stays short) and
``figures``: numbers by dotted name.  Digests are not kept: they compare within one machine only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any

from cosim.recorder import RunResult
from cosim.scenario import load_scenario, shipped_scenarios
from cosim.simulation.session import RunOptions, run_scenario

FOLDER = Path(__file__).parent
#: Nine significant digits; energies (and what they cost) are sums that may cancel, so they have a floor, in kWh.
RELATIVE, ENERGY_FLOOR_KWH = 1e-9, 1e-6
ENERGIES = ("_kwh", "cost", "device_kwh.")
#: How far scenarios of a whole day are run; the others run to their end.
UNTIL_S = {"cigre_mv_day": 43_200.0, "mv_oberrhein_winter": 32_400.0}

Figure = float | str


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run: status, digest and figures."""

    status: str
    digest: str
    figures: dict[str, Figure]


def names() -> tuple[str, ...]:
    """Every shipped scenario."""
    return tuple(shipped_scenarios())


def golden_file(name: str) -> Path:
    """Where a scenario's figures are kept."""
    return FOLDER / f"{name}.json"


def until_s(name: str) -> float:
    """How far a scenario is run here."""
    return UNTIL_S.get(name, load_scenario(name).scenario.duration_s)


def run(name: str, out: Path) -> Ran:
    """Run a shipped scenario into `out`."""
    summary = run_scenario(load_scenario(name), out, RunOptions(until_s=until_s(name)))
    manifest = RunResult.load(out).manifest
    figures = {**flat(summary.kpis), "solves": float(summary.solves), "t_us": float(manifest["t_us"]),
               **flat(manifest["rows"], "rows.")}
    return Ran(summary.status, summary.digest, figures)


def flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, Figure]:
    """Nested figures by dotted name."""
    found: dict[str, Figure] = {}
    for key, value in figures.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value if isinstance(value, str) else float(value)
    return found


def read(name: str) -> dict[str, Figure]:
    """The figures kept."""
    kept = json.loads(golden_file(name).read_text(encoding="utf-8"))
    assert kept["until_s"] == until_s(name), f"{name}: kept until {kept['until_s']} s; run tests/golden/update.py"
    figures: dict[str, Figure] = kept["figures"]
    return figures


def write(name: str, figures: Mapping[str, Figure]) -> None:
    """Keep figures: 12 digits, so that a new file differs from the old one only where the run does."""
    rounded = {key: value if isinstance(value, str) else float(f"{value:.12g}") for key, value in figures.items()}
    text = json.dumps({"until_s": until_s(name), "figures": rounded}, indent=1, ensure_ascii=False)
    golden_file(name).write_text(text + "\n", encoding="utf-8")


def differences(old: Mapping[str, Figure], new: Mapping[str, Figure]) -> list[str]:
    """One line for each figure that is not the same to nine digits, or that one side lacks."""
    lines = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if not same(before, after, ENERGY_FLOOR_KWH if is_energy(key) else 0.0):
            lines.append(f"{key}: {before} -> {after}")
    return lines


def is_energy(key: str) -> bool:
    """Whether a figure is an energy, or what it costs."""
    return key.startswith(ENERGIES) or key.endswith(ENERGIES)


def same(before: Figure | None, after: Figure | None, floor: float = 0.0) -> bool:
    """Whether two figures are the same to nine significant digits, or differ by less than `floor`."""
    if isinstance(before, float | int) and isinstance(after, float | int):
        return isclose(before, after, rel_tol=RELATIVE, abs_tol=floor)
    return before == after
