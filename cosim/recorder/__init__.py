"""The record of a run: what is written while it runs, and what is read of it afterwards."""

from cosim.recorder.compare import Divergence, compare
from cosim.recorder.options import Keep, RecordOptions, RunAbout
from cosim.recorder.recorder import Recorder
from cosim.recorder.result import RunResult
from cosim.recorder.silent import SilentRecorder
from cosim.recorder.tables import FORMAT, DecisionRow, MessageRow

__all__ = ["FORMAT", "DecisionRow", "Divergence", "Keep", "MessageRow", "RecordOptions", "Recorder", "RunAbout",
           "RunResult", "SilentRecorder", "compare"]
