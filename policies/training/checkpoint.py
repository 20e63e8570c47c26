"""Checkpoints: folders of safetensors and JSON, written whole or not at all, from which a training goes on bit for bit.

``checkpoints/iteration-000120/``: ``state.json`` (iteration, counts, configuration), ``algorithms.safetensors`` (all
that every group's algorithm is), ``slots.safetensors`` (where every environment stands), ``ahead.safetensors`` (rows
collected for the next update, where collection runs ahead).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load

from policies.durable import sync_names, write_through
from policies.training.algorithm import State, TrainingError, problems
from policies.training.collect import Fragment, episode_of
from policies.training.transitions import Transitions
from policies.training.worker import Plan, grouped, pack

FORMAT = 2
#: Largest file that is written and read (replay memories are in here).
MAX_BYTES = 16 << 30
FOLDER = "checkpoints"
ALGORITHMS, SLOTS, AHEAD = "algorithms.safetensors", "slots.safetensors", "ahead.safetensors"
_PREFIX = "iteration-"
_NAME = re.compile(rf"{_PREFIX}(\d+)", re.ASCII)


@dataclass(slots=True)
class Progressed:
    """How far a training is, and what it needs besides arrays to go on."""

    iteration: int = 0
    steps: int = 0
    decisions: int = 0
    episodes: int = 0
    since_best: int = 0
    """Iterations, or trials, without a better score."""
    best: list[float] | None = None
    """The best score: (whether costs keep their limits, mean score of episodes)."""
    returns: list[float] = field(default_factory=list)
    """Returns of the last episodes, mean over learners."""
    discounted: list[float] = field(default_factory=list)
    """The same, discounted to their beginnings."""
    wall_s: float = 0.0


_PROGRESSED = TypeAdapter(Progressed)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything at the boundary between two iterations."""

    progressed: Progressed
    config: Mapping[str, Any]
    algorithms: Mapping[str, State]
    slots: Mapping[int, State]
    ahead: Fragment | None = None
    scenario: Mapping[str, Any] = field(default_factory=dict)
    """Name and digest of the scenario's content; empty in checkpoints of before, and of no scenario."""


def write(out: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint of the training in `out`, drop all but the newest `keep`; its folder."""
    home = out / FOLDER
    final = _place(out, checkpoint.progressed.iteration)
    fresh = home / f".{final.name}.new"
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        _fill(fresh, final, checkpoint)
        aside = home / f".{final.name}.old"
        if final.exists():
            final.rename(aside)
        fresh.rename(final)
        sync_names(home)
        for old in (*written(out)[:-keep], aside):
            shutil.rmtree(old, ignore_errors=True)  # what cannot be removed now is in nobody's way
    except (OSError, TrainingError) as error:
        shutil.rmtree(fresh, ignore_errors=True)  # on a full disk half a checkpoint is only in the way
        if isinstance(error, TrainingError):
            raise
        raise TrainingError(f"{final}: cannot be written ({error.strerror})") from None
    return final


def _place(out: Path, iteration: int) -> Path:
    return out / FOLDER / f"{_PREFIX}{iteration:06d}"


def _fill(fresh: Path, final: Path, checkpoint: Checkpoint) -> None:
    """All of a checkpoint into a new folder; TrainingError for a part that could not be read again."""
    about: dict[str, Any] = {"format": FORMAT, "progressed": asdict(checkpoint.progressed),
                             "config": dict(checkpoint.config), "scenario": dict(checkpoint.scenario), "ahead": None,
                             "arrays": {}}
    parts: dict[str, Mapping[Any, Mapping[str, Any]]] = {ALGORITHMS: checkpoint.algorithms, SLOTS: checkpoint.slots}
    if checkpoint.ahead is not None:
        parts[AHEAD] = {group: part.columns for group, part in checkpoint.ahead.rows.items()}
        about["ahead"] = [asdict(episode) for episode in checkpoint.ahead.episodes]
    for name, arrays in parts.items():
        data = pack(arrays)
        if len(data) > MAX_BYTES:
            raise TrainingError(f"{final}: {name} would hold {len(data):,} bytes; expected at most {MAX_BYTES:,}, as "
                                f"no more is read again; a smaller options.capacity, shorter episodes or a smaller "
                                f"fragment would do")
        about["arrays"][name] = sum(map(len, arrays.values()))
        write_through(fresh / name, data)
    write_through(fresh / "state.json", json.dumps(about, indent=1).encode())


def written(out: Path) -> list[Path]:
    """Complete checkpoints of a training, oldest first."""
    found = [(int(match[1]), path) for path in (out / FOLDER).glob(f"{_PREFIX}*")
             if (match := _NAME.fullmatch(path.name)) and path.is_dir()]
    return [path for _, path in sorted(found)]


def read(folder: Path) -> Checkpoint:
    """Read a checkpoint; TrainingError for one that is damaged or of another format."""
    try:
        about = json.loads(_get(folder / "state.json"))
        if about["format"] != FORMAT:
            raise TrainingError(f"{folder}: format {about['format']!r:.40}; this version reads format {FORMAT}")
        if not isinstance(about["config"], dict):
            raise ValueError(f"config is {about['config']!r:.40}; expected a mapping")
        scenario = about.get("scenario", {})  # checkpoints of before do not say
        if not isinstance(scenario, dict) or not isinstance(scenario.get("digest", ""), str):
            raise ValueError(f"scenario is {scenario!r:.60}; expected a mapping with a digest")
        progressed = _PROGRESSED.validate_python(about["progressed"])
        if min(progressed.iteration, progressed.steps, progressed.episodes) < 0:
            raise ValueError(f"progressed is {about['progressed']!r:.60}; expected counts")
        algorithms = grouped(_arrays(folder, ALGORITHMS, about))
        slots = {int(slot): state for slot, state in grouped(_arrays(folder, SLOTS, about)).items()}
        ahead = None if about["ahead"] is None else _ahead(folder, about)
        return Checkpoint(progressed, about["config"], algorithms, slots, ahead, scenario)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        what = problems(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
        raise TrainingError(f"{folder}: not a checkpoint, or damaged ({what}); {_instead(folder)}") from None


def _instead(folder: Path) -> str:
    """What to do where a checkpoint is of no use."""
    before = [path for path in written(folder.parent.parent) if _iteration(path) < _iteration(folder)]
    if not before:
        return "there is no other one before it: begin a new training"
    return f"remove it to go on from the one before, {before[-1].name}"


def _iteration(folder: Path) -> int:
    match = _NAME.fullmatch(folder.name)
    return int(match[1]) if match else -1


def refuse_other_rows(out: Path, found: Checkpoint, plan: Plan) -> None:
    """TrainingError where the slots of a checkpoint in `out`, or the rows collected ahead, are not of this plan."""
    wrong = "" if sorted(found.slots) == list(range(plan.slots)) else f"slots {', '.join(map(str, found.slots))}"
    ahead = {} if found.ahead is None else found.ahead.rows
    for group, shape in plan.shapes.items() if ahead and not wrong else ():
        rows = ahead[group].columns if group in ahead else {}
        columns = {name: (array.shape[1:], array.dtype) for name, array in rows.items()}
        if columns != {name: (row, np.dtype(dtype)) for name, (row, dtype) in shape.columns().items()}:
            wrong = f"rows ahead of group {group} with columns {', '.join(columns) or 'none'}"
    if wrong:
        at = found.progressed.iteration
        raise TrainingError(f"the checkpoint of iteration {at} has {wrong:.200}; expected those of {plan.slots} slots "
                            f"and these learners: it is damaged, or the scenario has changed; "
                            f"{_instead(_place(out, at))}")


def _ahead(folder: Path, about: Mapping[str, Any]) -> Fragment:
    rows, episodes = grouped(_arrays(folder, AHEAD, about)), about["ahead"]
    return Fragment({group: Transitions(columns) for group, columns in rows.items()}, tuple(map(episode_of, episodes)))


def _arrays(folder: Path, name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays of a part by group and name; all that were written."""
    found = load(_get(folder / name))
    wanted = about.get("arrays", {}).get(name, len(found))  # checkpoints of before do not say
    if len(found) != wanted:
        raise ValueError(f"{name} holds {len(found)} arrays; expected {wanted}")
    return found


def _get(file: Path) -> bytes:
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{file.name}: larger than {MAX_BYTES} bytes")
    return file.read_bytes()
