"""How much is measured of the gateways: in full, as the figures ask for, and in a few minutes."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.harness import Row


@dataclass(frozen=True, slots=True)
class Effort:
    """Windows and pauses are wall seconds."""

    pairs: int = 7
    window_s: float = 3.0
    latency_window_s: float = 10.0
    bursts: int = 100_000
    crowd_s: float = 300.0
    frames: int = 1_000_000
    pacing_s: float = 1_800.0
    replays: int = 50
    replay_s: float = 4.0

    @classmethod
    def quick(cls) -> Effort:
        """All of it in about four minutes."""
        return cls(pairs=3, window_s=1.0, latency_window_s=3.0, bursts=2_000, crowd_s=20.0, frames=20_000,
                   pacing_s=20.0, replays=3, replay_s=3.0)


def reached(name: str, value: float, unit: str, against: str, reach: str, *, ok: bool,
            ratio: float | None = None) -> Row:
    """A row with a figure to reach."""
    return Row(name, value, unit, against, ratio, reach, ok)


def told(name: str, value: float, unit: str, against: str = "", ratio: float | None = None) -> Row:
    """A row for information."""
    return Row(name, value, unit, against, ratio, "", None)
