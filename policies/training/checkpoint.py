"""Checkpoints: folders of safetensors and JSON, written whole or not at all, from which a training goes on bit for bit.

``checkpoints/iteration-000120/``: ``state.json`` (iteration, counts, configuration), ``algorithms.safetensors`` (all
that every group's algorithm is), ``slots.safetensors`` (where every environment stands), ``ahead.safetensors`` (rows
collected for the next update, where collection runs ahead).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from policies.training.algorithm import State, TrainingError
from policies.training.collect import Fragment, episode_of
from policies.training.transitions import Transitions
from policies.training.worker import pack, unpack

FORMAT = 2
#: Largest file that is read (replay memories are in here).
MAX_BYTES = 16 << 30
FOLDER = "checkpoints"
_PREFIX = "iteration-"


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


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything at the boundary between two iterations."""

    progressed: Progressed
    config: Mapping[str, Any]
    algorithms: Mapping[str, State]
    slots: Mapping[int, State]
    ahead: Fragment | None = None


def write(out: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint of the training in `out`, drop all but the newest `keep`; its folder."""
    home = out / FOLDER
    final = home / f"{_PREFIX}{checkpoint.progressed.iteration:06d}"
    fresh = home / f".{final.name}.new"
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        _put(fresh / "algorithms.safetensors", _packed(checkpoint.algorithms))
        _put(fresh / "slots.safetensors", pack({slot: dict(state) for slot, state in checkpoint.slots.items()}))
        about: dict[str, Any] = {"format": FORMAT, "progressed": asdict(checkpoint.progressed),
                                 "config": dict(checkpoint.config), "ahead": None}
        if checkpoint.ahead is not None:
            rows = {group: part.columns for group, part in checkpoint.ahead.rows.items()}
            _put(fresh / "ahead.safetensors", _packed(rows))
            about["ahead"] = [asdict(episode) for episode in checkpoint.ahead.episodes]
        _put(fresh / "state.json", json.dumps(about, indent=1).encode())
        aside = home / f".{final.name}.old"
        if final.exists():
            final.rename(aside)
        fresh.rename(final)
        for old in (*written(out)[:-keep], aside):
            shutil.rmtree(old, ignore_errors=True)  # what cannot be removed now is in nobody's way
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)  # on a full disk half a checkpoint is only in the way
        raise TrainingError(f"{final}: cannot be written ({error.strerror})") from None
    return final


def written(out: Path) -> list[Path]:
    """Complete checkpoints of a training, oldest first."""
    return sorted(path for path in (out / FOLDER).glob(f"{_PREFIX}*") if path.is_dir())


def read(folder: Path) -> Checkpoint:
    """Read a checkpoint; TrainingError for one that is damaged or of another format."""
    try:
        about = json.loads(_get(folder / "state.json"))
        if about["format"] != FORMAT:
            raise TrainingError(f"{folder}: format {about['format']!r:.40}; this version reads format {FORMAT}")
        algorithms = _unpacked(_get(folder / "algorithms.safetensors"))
        slots = unpack(_get(folder / "slots.safetensors"))
        ahead = None if about["ahead"] is None else _ahead(folder, about["ahead"])
        return Checkpoint(Progressed(**about["progressed"]), about["config"], algorithms, slots, ahead)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise TrainingError(f"{folder}: not a checkpoint, or damaged ({type(error).__name__}: {error}); remove it to "
                            f"go on from the one before") from None


def _ahead(folder: Path, episodes: list[dict[str, Any]]) -> Fragment:
    rows = _unpacked(_get(folder / "ahead.safetensors"))
    return Fragment({group: Transitions(columns) for group, columns in rows.items()}, tuple(map(episode_of, episodes)))


def _packed(groups: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Arrays by group and name as one safetensors file; it wants them in one piece."""
    return save({f"{group}|{name}": np.asarray(array, order="C") for group, named in groups.items()
                 for name, array in named.items()})


def _unpacked(data: bytes) -> dict[str, State]:
    groups: dict[str, State] = {}
    for key, array in load(data).items():
        group, _, name = key.partition("|")
        groups.setdefault(group, {})[name] = array
    return groups


def _put(file: Path, data: bytes) -> None:
    """Written through to the disk: a renamed folder is a whole one."""
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _get(file: Path) -> bytes:
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{file.name}: larger than {MAX_BYTES} bytes")
    return file.read_bytes()
