"""What a training says on its way: figures of each iteration, to a function, a CSV file and TensorBoard."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.training.algorithm import TrainingError
from policies.training.slot import Episode

logger = logging.getLogger(__name__)

METRICS = "metrics.csv"


@dataclass(frozen=True, slots=True)
class Progress:
    """One iteration, as it ended.

    `mean_return` over the last episodes, mean over learners (None: none has ended yet), `mean_discounted` likewise,
    discounted to their beginnings, and the `best` score so far; `reward_rate` per second of this fragment's decisions;
    `cost_rates` likewise by cost; `interventions` of the shield per episode hour (None: not known); `figures` of the
    algorithms as ``group/name``; `trial` the score of the trial after this iteration, where there was one; `violating`
    the share (0..1) of this fragment's episodes' time with any limit violated (None: not known).
    """

    iteration: int
    iterations: int
    steps: int
    decisions: int
    episodes: int
    mean_return: float | None
    mean_discounted: float | None
    best: float | None
    reward_rate: float
    cost_rates: Mapping[str, float]
    interventions: float | None
    collect_s: float
    update_s: float
    steps_per_s: float
    figures: Mapping[str, float]
    trial: float | None = None
    violating: float | None = None

    def row(self) -> dict[str, float | None]:
        """Flat, for tables."""
        plain: dict[str, float | None] = {
            "iteration": self.iteration, "steps": self.steps, "decisions": self.decisions, "episodes": self.episodes,
            "mean_return": self.mean_return, "mean_discounted": self.mean_discounted, "best": self.best,
            "trial": self.trial, "reward_rate": self.reward_rate, "violating": self.violating,
            "interventions_per_h": self.interventions, "collect_s": round(self.collect_s, 4),
            "update_s": round(self.update_s, 4), "steps_per_s": round(self.steps_per_s, 1)}
        return plain | {f"cost_rate/{name}": rate for name, rate in self.cost_rates.items()} | dict(self.figures)


OnProgress = Callable[[Progress], None]


def violating(episodes: Sequence[Episode]) -> float | None:
    """The share (0..1) of the time of these episodes with any limit violated; None where none of them knows."""
    known = [episode for episode in episodes if episode.violating_s >= 0]
    length_s = sum(episode.length_s for episode in known)
    return sum(episode.violating_s for episode in known) / length_s if length_s > 0 else None


class Table:
    """``metrics.csv``: a row an iteration.  A new figure adds a column; going on drops rows after the checkpoint."""

    def __init__(self, file: Path, iteration: int = 0) -> None:
        self._file = file
        self._columns: list[str] = []
        if not file.exists():
            return
        rows = [row for row in csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")))
                if _is_whole(row) and int(row["iteration"]) <= iteration]
        if rows:
            self._columns = list(rows[0])
            self._rewrite(rows)
        else:
            file.unlink()

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; TrainingError where it cannot be written."""
        try:
            self._append(row)
        except OSError as error:
            raise TrainingError(f"{self._file}: cannot be written ({error.strerror})") from None

    def _append(self, row: Mapping[str, Any]) -> None:
        new = [name for name in row if name not in self._columns]
        if new:
            rows = list(csv.DictReader(io.StringIO(self._file.read_text(encoding="utf-8")))) if self._columns else []
            self._columns += new
            self._rewrite(rows)
        with self._file.open("a", encoding="utf-8", newline="") as stream:
            csv.DictWriter(stream, self._columns, restval="").writerow(dict(row))

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        fresh = self._file.with_name(f".{self._file.name}.new")
        with fresh.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, self._columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(fresh, self._file)


def _is_whole(row: Mapping[str | None, Any]) -> bool:
    """Not one that a crash or a full disk cut off."""
    return None not in row and None not in row.values() and str(row["iteration"]).isdecimal()


class Board:
    """TensorBoard's event files; nothing where tensorboard is not installed."""

    def __init__(self, folder: Path, iteration: int = 0) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            logger.warning("tensorboard is not installed: no event files (pip install 'gridloop[rl]')")
            return
        self._writer = SummaryWriter(str(folder), purge_step=iteration + 1 if iteration else None)

    def add(self, progress: Progress) -> None:
        """All figures at this many steps."""
        if self._writer is None:
            return
        try:
            for name, value in progress.row().items():
                if value is not None and name not in ("iteration", "steps"):
                    self._writer.add_scalar(name if "/" in name else f"training/{name}", value, progress.iteration)
        except OSError as error:  # pictures are not worth a training
            logger.warning("TensorBoard's files cannot be written (%s): no more of them", error)
            self._writer = None

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
