"""A trainer that learns nothing, for tests of the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies.training.progress import Progress


@dataclass(frozen=True, slots=True)
class Trained:
    """What a fake training gives."""

    bundle: Path
    iterations: int = 2
    steps: int = 128
    best: float | None = -1.5
    reason: str = "done"


@dataclass
class FakeTrainer:
    """Notes what it was asked to train; leaves a row of metrics unless it fails before."""

    reason: str = "done"
    error: Exception | None = None
    asked: list[tuple[Any, Path, bool]] = field(default_factory=list)

    def train(self, config: Any, out: Path, on_progress: Any, resume: bool) -> Trained:
        """A training without learning."""
        self.asked.append((config, out, resume))
        if self.error is not None:
            raise self.error
        out.mkdir(parents=True, exist_ok=True)
        (out / "metrics.csv").write_text("iteration\n1\n")
        for k in range(1, 21):
            on_progress(Progress(iteration=k, iterations=20, steps=128 * k, decisions=128 * k, episodes=k,
                                 mean_return=-1.5 * k, mean_discounted=-k, best=-1.0, reward_rate=0.0,
                                 cost_rates={"volts": 0.25}, interventions=3.0, collect_s=0.1, update_s=0.1,
                                 steps_per_s=640.0, figures={}))
        return Trained(out / "bundle", best=-float(config.seed), reason=self.reason)
