"""A process that records the toy run slowly enough to be killed: ``toy.py FOLDER INSTANTS [resume]``."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas  # noqa: F401, ICN001 (pyarrow loads it at the first flush: not while the clock of the test runs)

from cosim.recorder import Recorder, RecordOptions
from tests.cosim.recorder.fakes import ABOUT, database, instant


def main(folder: str, instants: str, *how: str) -> None:
    """Record, flushing every few milliseconds, and say when it has begun and what the digest is."""
    options = RecordOptions(messages=True, flush_s=0.004)
    make = Recorder.resume if "resume" in how else Recorder
    recorder = make(Path(folder), database(), ABOUT, options)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    for i in range(int(instants)):
        instant(recorder, i)
    sys.stdout.write(recorder.close("done") + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
