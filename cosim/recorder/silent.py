"""A recorder that writes nothing down: for learning, where a million steps are recorded for nobody."""

from __future__ import annotations

import numpy as np

from cosim.commands import Command
from cosim.points import PointDatabase, Vector
from cosim.recorder.options import Keep, RecordOptions
from cosim.recorder.recorder import Recorder
from cosim.recorder.tables import DecisionRow, MessageRow


class SilentRecorder(Recorder):
    """Takes every row and keeps none; its digest is that of no rows."""

    def __init__(self, points: PointDatabase) -> None:
        # Without samples there is no block of them to allocate at every reset.
        super().__init__(None, points, options=RecordOptions(sample_ids=np.zeros(0, np.int64), keep=Keep.JOURNAL))

    def sample(self, t_us: int, values: Vector) -> None:
        """Nothing."""

    def event(self, t_us: int, kind: str, subject: str, detail: str = "", value: float = 0.0) -> None:
        """Nothing."""

    def command(self, command: Command) -> None:
        """Nothing."""

    def decision(self, row: DecisionRow) -> None:
        """Nothing."""

    def message(self, row: MessageRow) -> None:
        """Nothing."""

    def end_instant(self, t_us: int) -> None:
        """Nothing."""
