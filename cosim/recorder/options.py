"""What a recorder is told of the run, and how much it is to keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from cosim.audit.log import Stamp, no_stamp
from cosim.points import Ids
from cosim.recorder.folder import Opener, open_new


class Keep(Enum):
    """How much of the rows stays after they were digested."""

    ALL = "all"
    JOURNAL = "journal"
    """Only the journal (and the digest): for learning, where a million steps are recorded for nobody."""


@dataclass(frozen=True, slots=True)
class RunAbout:
    """What is known of a run before it starts; goes into the manifest.

    `scenario` is the validated scenario as plain data and `scenario_text` its file; `versions` are of Python and
    packages; `overrides` are the ``--set`` values it was changed by; `external` are the agents decided outside.
    """

    name: str = ""
    scenario: Mapping[str, Any] = field(default_factory=dict)
    scenario_text: str = ""
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    duration_us: int = 0
    overrides: tuple[str, ...] = ()
    external: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What is recorded and how often it is flushed.

    `sample_ids` are the points sampled (None: all), `period_us` only goes into the manifest: the simulation calls
    `sample` when it is time.  A flush is due at the end of an instant with `flush_bytes` buffered or `flush_s` wall
    seconds since the last (a part of Parquet costs 13 us a column whatever its rows, so few large ones are cheap).
    `opener` opens files for writing (tests put a full disk in its place).  `keep_inputs` puts what the run read into
    the new folder; it is called before the manifest says that there is a run to resume, which needs them.  With `audit`
    the shield's decisions and what came from outside are also written to a log with a hash chain, `stamp` giving the
    wall time of each record.
    """

    sample_ids: Ids | None = None
    period_us: int = 0
    messages: bool = False
    keep: Keep = Keep.ALL
    flush_s: float = 2.0
    flush_bytes: int = 32_000_000
    opener: Opener = open_new
    keep_inputs: Callable[[Path], None] = lambda _: None
    audit: bool = False
    stamp: Stamp = no_stamp


def shortened(value: object) -> str:
    """A value for a message."""
    text = repr(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"{len(value)} entries"
    return text if len(text) <= 60 else f"{text[:60]}…"
