"""Recorded decisions on disk, in the layout that Minari (0.4.0 to 0.5) loads: one data set per group of agents.

A root folder holds ``<namespace>/<group>-v0/data/``; with ``MINARI_DATASETS_PATH`` set to the root,
``minari.load_dataset("<namespace>/<group>-v0")`` reads it.  In ``data``:

* ``metadata.json``: Minari's keys (spaces, counts, ``data_format`` arrow) and ours below ``gridloop``: `LearnerSpec`,
  names of costs, discount, scenario and shield settings;
* ``<episode>/part-0.arrow`` (an Arrow IPC file of one batch) and ``<episode>/metadata.json``: an episode is one agent's
  life in one episode of the scenario, its own decisions only.  Columns have T + 1 rows, the last of all but
  ``observations`` and ``infos`` being padding; ``infos`` (dt_s, cost, mask) go with the observation beside them, so
  ``infos.dt_s[t + 1]`` is the time that step t took and ``mask[t]`` what was open when it was decided.

Actions are stored as rows (numbers in [-1, 1], then an index a discrete part), as one integer where that is all.  HDF5
is not used: pyarrow is here already.  Nothing here needs torch or minari.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from cosim.encoding import LearnerSpec
from cosim.errors import FolderError, RecordError
from cosim.scenario.learning import Discount
from policies.training.algorithm import problems
from policies.training.transitions import Array, Transitions

FORMAT = 1
#: Discount factor a decision period where nobody says one, as in training.
GAMMA = 0.99
#: The oldest version whose loader reads this layout is what data sets say of themselves.
MINARI_VERSION = "0.5.0"
METADATA = "metadata.json"
#: Limits of what is read and written; Minari reads one batch an episode, and no batch is longer than this.
MAX_STEPS, MAX_EPISODES, MAX_METADATA_BYTES, MAX_EPISODE_BYTES = 131_071, 1_000_000, 16 * 2**20, 2 * 2**30

#: Most numbers of an observation or an action.
MAX_WIDTH = 100_000

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-]{0,63}")
_SPEC, _SPECS, _COSTS = TypeAdapter(LearnerSpec), TypeAdapter(tuple[LearnerSpec, ...]), TypeAdapter(tuple[str, ...])
_OWN = ("format", "group", "spec", "members", "cost_names")


class DatasetError(RecordError):
    """A data set that cannot be written, read or learned from."""


def place_of(root: Path, namespace: str, group: str) -> Path:
    """The folder of a new data set; FolderError where there is one already, DatasetError for bad names."""
    for what, name in (("namespace", namespace), ("group", group)):
        if not _NAME.fullmatch(name):
            raise DatasetError(f"data set: {what} {name!r:.40}; expected letters, digits, _ and -")
    folder = root / namespace / f"{group}-v0" / "data"
    if folder.exists():
        raise FolderError(f"{folder}: there is a data set already; choose another place")
    return folder


def require_places(root: Path, namespace: str, groups: Iterable[str]) -> None:
    """Raises as `place_of`, and DatasetError where nothing can be written: before the first episode is played."""
    try:
        for group in groups:
            folder = place_of(root, namespace, group).absolute()
            trial = next(parent for parent in folder.parents if parent.exists()) / f".{group}.new"
            trial.mkdir(exist_ok=True)
            trial.rmdir()
    except OSError as error:
        raise DatasetError(f"{root}: cannot be written ({error.strerror})") from None


@dataclass(frozen=True, slots=True)
class Episode:
    """One agent's own decisions: T steps.

    `observations` (T + 1, n) and `actions` (T, width) float32, `rewards`, `dt_s` (T,), `costs` (T, n_cost), `masks`
    (T + 1, n_alternative) bool or None.  `terminated`: the agent's life ended; else the time was up.
    """

    agent: int
    observations: Array
    actions: Array
    rewards: Array
    dt_s: Array
    costs: Array
    terminated: bool
    masks: Array | None = None
    seed: int = 0

    def __len__(self) -> int:
        return len(self.rewards)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Episodes of one group; `about` (scenario, shield, discount, how it was made) is plain data.

    `spec` is that of one agent, `members` those of the others.
    """

    group: str
    spec: LearnerSpec
    cost_names: tuple[str, ...]
    episodes: tuple[Episode, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[LearnerSpec, ...] = ()

    @property
    def steps(self) -> int:
        """Decisions in all episodes."""
        return sum(map(len, self.episodes))

    def transitions(self) -> Transitions:
        """All decisions as training data; an episode has its own slot."""
        parts = [_columns(slot, episode) for slot, episode in enumerate(self.episodes) if len(episode)]
        if not parts:
            raise DatasetError(f"data set of group {self.group}: no decisions in {len(self.episodes)} episodes")
        return Transitions({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

    def save(self, root: Path, namespace: str) -> Path:
        """Write below `root`; the folder.  FolderError where there is one already, DatasetError for bad names."""
        folder = place_of(root, namespace, self.group)
        try:
            folder.mkdir(parents=True)
            size = sum(_write(folder, i, episode, self.spec) for i, episode in enumerate(self.episodes))
            text = json.dumps(self._metadata(f"{namespace}/{self.group}-v0", size), indent=1) + "\n"
            if len(text) > MAX_METADATA_BYTES:
                raise DatasetError(f"{folder / METADATA}: would hold {len(text):,} bytes; expected at most "
                                   f"{MAX_METADATA_BYTES:,}, as no more is read again")
            (folder / METADATA).write_text(text, encoding="utf-8")
        except OSError as error:
            raise DatasetError(f"{folder}: cannot be written ({error.strerror})") from None
        return folder

    def _metadata(self, name: str, size: int) -> dict[str, Any]:
        n = self.spec.size
        clip = [float(self.spec.clip)] * n
        ours = {"format": FORMAT, "group": self.group, "spec": self.spec.to_dict(),
                "members": [spec.to_dict() for spec in self.members], "cost_names": list(self.cost_names), **self.about}
        return {"dataset_id": name, "minari_version": MINARI_VERSION, "data_format": "arrow", "jpeg_encoding": False,
                "total_episodes": len(self.episodes), "total_steps": self.steps, "dataset_size": round(size / 1e6, 1),
                "observation_space": json.dumps({"type": "Box", "dtype": "float32", "shape": [n],
                                                 "low": [-value for value in clip], "high": clip}),
                "action_space": json.dumps(action_space(self.spec)), "gridloop": ours}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read one data set (its ``data`` folder or the one above); DatasetError for anything else."""
        data = folder / "data" if (folder / "data").is_dir() else folder
        metadata = _metadata(data)
        ours = metadata["gridloop"]
        try:
            spec, members = _SPEC.validate_python(ours["spec"]), _SPECS.validate_python(ours["members"])
            n, costs, group = int(metadata["total_episodes"]), _COSTS.validate_python(ours["cost_names"]), ours["group"]
            Discount.model_validate(ours.get("discount") or {"gamma": GAMMA, "per_s": spec.period_s})
        except (ValidationError, KeyError, TypeError, ValueError, OverflowError) as error:
            what = problems(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error!s:.200}"
            raise DatasetError(f"{data / METADATA}: {what}") from None
        about = {key: value for key, value in ours.items() if key not in _OWN}
        _check_about(data / METADATA, (n, group), (spec, *members), about)
        episodes = tuple(_read(data / str(i), spec, len(costs)) for i in range(n))
        if len({episode.masks is None for episode in episodes}) > 1:
            raise DatasetError(f"{data}: some episodes have masks (infos.mask), some have none; expected all or none")
        return cls(group, spec, costs, episodes, about, members)


def load_all(path: Path) -> tuple[Dataset, ...]:
    """Every data set at or below a folder, by path; DatasetError when there is none."""
    found = sorted(path.glob(f"**/data/{METADATA}")) or sorted(path.glob(METADATA))
    if not found:
        raise DatasetError(f"{path}: no data set; expected a folder with <namespace>/<group>-v0/data/{METADATA}")
    return tuple(Dataset.load(file.parent) for file in found)


def action_space(spec: LearnerSpec) -> dict[str, Any]:
    """The space of stored actions as Minari writes it: Discrete, MultiDiscrete, or a Box of whole rows."""
    action = spec.action
    if action.kind == "discrete":
        return {"type": "Discrete", "dtype": "int64", "start": 0, "n": action.counts[0]}
    if action.kind == "multi_discrete":
        return {"type": "MultiDiscrete", "dtype": "int64", "nvec": list(action.counts), "start": [0] * action.width}
    n = len(action.continuous)
    return {"type": "Box", "dtype": "float32", "shape": [action.width], "low": [-1.0] * n + [0.0] * len(action.counts),
            "high": [1.0] * n + [count - 1.0 for count in action.counts]}


# -- writing ----------------------------------------------------------------------------------------------------------


def _write(folder: Path, number: int, episode: Episode, spec: LearnerSpec) -> int:
    """One episode; its bytes."""
    steps = len(episode)
    if steps > MAX_STEPS:
        raise DatasetError(f"{folder}: episode {number} has {steps:,} decisions; expected at most {MAX_STEPS:,}")
    flags = np.zeros((2, steps + 1), bool)
    flags[0 if episode.terminated else 1, steps - 1:steps] = True
    infos = {"dt_s": np.concatenate([[0.0], episode.dt_s])}
    if episode.costs.shape[1]:
        infos["cost"] = np.concatenate([np.zeros((1, episode.costs.shape[1])), episode.costs])
    if episode.masks is not None:
        infos["mask"] = episode.masks.astype(np.uint8)
    columns = {"episode_id": pa.array(np.full(steps + 1, number, np.int32)),
               "observations": _lists(episode.observations),
               "actions": _actions(_padded(episode.actions), spec), "rewards": pa.array(_padded(episode.rewards)),
               "terminations": pa.array(flags[0]), "truncations": pa.array(flags[1]),
               "infos": pa.StructArray.from_arrays([_lists(value) for value in infos.values()], names=list(infos))}
    batch = pa.RecordBatch.from_pydict(columns)
    place = folder / str(number)
    place.mkdir()
    with pa.ipc.new_file(str(place / "part-0.arrow"), batch.schema) as file:
        file.write_batch(batch)
    about = {"id": number, "total_steps": steps, "seed": episode.seed, "agent": episode.agent}
    (place / METADATA).write_text(json.dumps(about), encoding="utf-8")
    found = int((place / "part-0.arrow").stat().st_size)
    if found > MAX_EPISODE_BYTES:
        raise DatasetError(f"{place}: {found:,} bytes; expected at most {MAX_EPISODE_BYTES:,} an episode, as no more "
                           f"is read again; record shorter episodes")
    return found


def _padded(values: Array) -> Array:
    return np.concatenate([values, np.zeros((1, *values.shape[1:]), values.dtype)])


def _lists(values: Array) -> Any:
    """An Arrow array of numbers, or of lists of fixed length for (T, n)."""
    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _actions(rows: Array, spec: LearnerSpec) -> Any:
    kind = spec.action.kind
    if kind == "discrete":
        return pa.array(rows[:, 0].astype(np.int64))
    return _lists(rows.astype(np.int64 if kind == "multi_discrete" else np.float32))


# -- reading ----------------------------------------------------------------------------------------------------------


def _metadata(data: Path) -> dict[str, Any]:
    file = data / METADATA
    metadata = _json(file)
    if not isinstance(metadata, dict) or not isinstance(metadata.get("gridloop"), dict):
        raise DatasetError(f"{file}: not recorded by gridloop (no `gridloop` entry with the specification)")
    if metadata["gridloop"].get("format") != FORMAT:
        raise DatasetError(f"{file}: format {metadata['gridloop'].get('format')!r:.40}; this version reads {FORMAT}")
    return metadata


def _json(file: Path) -> Any:
    try:
        _check_bytes(file, MAX_METADATA_BYTES)
        return json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{file}: cannot be read as JSON ({error})") from None


def _no_number(found: str) -> NoReturn:
    raise ValueError(f"found {found}; expected a number")


def _check_bytes(file: Path, most: int) -> None:
    size = file.stat().st_size
    if size > most:
        raise DatasetError(f"{file}: {size:,} bytes; expected at most {most:,}")


def _check_about(file: Path, counted: tuple[int, Any], specs: tuple[LearnerSpec, ...],
                 about: Mapping[str, Any]) -> None:
    """What a bundle, which is written after learning, could not take is refused before it; `counted`: (n, group)."""
    n, group = counted
    wrong = ""
    if not 0 <= n <= MAX_EPISODES:
        wrong = f"total_episodes is {n}; expected at most {MAX_EPISODES:,}"
    elif not isinstance(group, str) or not _NAME.fullmatch(group):
        wrong = f"group is {group!r:.40}; expected letters, digits, _ and -"
    elif len({(spec.size, spec.action.continuous, spec.action.counts) for spec in specs}) > 1:
        wrong = "members see or do something else than `spec`; expected agents that share one network"
    elif not all(spec.action.is_normalised for spec in specs):
        wrong = "an action is not normalised; expected numbers in [-1, 1]"
    elif not 0 < specs[0].size <= MAX_WIDTH or not 0 < specs[0].action.width <= MAX_WIDTH:
        wrong = (f"{specs[0].size} numbers of observation and {specs[0].action.width} of action; expected 1 to "
                 f"{MAX_WIDTH:,} each")
    for key in ("scenario", "shield"):
        if not isinstance(about.get(key) or {}, dict):
            wrong = f"{key} is {about[key]!r:.40}; expected a mapping"
    if wrong:
        raise DatasetError(f"{file}: {wrong}")


def _read(place: Path, spec: LearnerSpec, n_cost: int) -> Episode:
    file = place / "part-0.arrow"
    about = _json(place / METADATA)
    try:
        _check_bytes(file, MAX_EPISODE_BYTES)
        with pa.ipc.open_file(str(file)) as reader:
            table = reader.read_all()
        infos = table["infos"].combine_chunks()
        found = {name: _array(table[name].combine_chunks()) for name in
                 ("observations", "actions", "rewards", "terminations")}
        found |= {name: _array(infos.field(name)) for name in ("dt_s", "cost", "mask") if name in infos.type.names}
        agent, seed = int(about["agent"]), int(about["seed"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, pa.ArrowException) as error:
        raise DatasetError(f"{file}: cannot be read ({type(error).__name__}: {error!s:.200})") from None
    steps = len(table) - 1
    if not 0 <= steps <= MAX_STEPS or not 0 <= agent < 2**31:
        raise DatasetError(f"{file}: {len(table):,} rows of agent {agent}; expected 1 to {MAX_STEPS + 1:,} rows")
    found.setdefault("cost", np.zeros((steps + 1, 0)))
    _check_arrays(file, found, spec, (steps, n_cost))
    actions = found["actions"].reshape(steps + 1, -1)[:-1].astype(np.float32)
    mask = found["mask"].astype(bool) if "mask" in found else None
    return Episode(agent, found["observations"].astype(np.float32, copy=False), actions, found["rewards"][:-1],
                   found["dt_s"][1:], found["cost"][1:], bool(found["terminations"][:-1].any()), mask, seed)


def _check_arrays(file: Path, found: Mapping[str, Array], spec: LearnerSpec, counts: tuple[int, int]) -> None:
    """Every column is there, as long and wide as it should be, of finite numbers; `counts`: steps, costs."""
    steps, n_cost = counts
    action = spec.action
    shapes = {"observations": (steps + 1, spec.size), "rewards": (steps + 1,), "terminations": (steps + 1,),
              "actions": (steps + 1,) if action.kind == "discrete" else (steps + 1, action.width),
              "dt_s": (steps + 1,), "cost": (steps + 1, n_cost)}
    if "mask" in found:
        shapes["mask"] = (steps + 1, sum(action.counts))
    for name, shape in shapes.items():
        if name not in found or found[name].shape != shape:
            what = found[name].shape if name in found else "none"
            raise DatasetError(f"{file}: {name} of shape {what}; expected {shape} by the specification")
        if found[name].dtype.kind not in "biuf" or not np.isfinite(found[name]).all():
            raise DatasetError(f"{file}: {name} ({found[name].dtype}) holds something else than finite numbers")
    if (found["dt_s"] < 0).any():
        raise DatasetError(f"{file}: dt_s of {found['dt_s'].min():g}; expected seconds, not below 0")
    rows = found["actions"].reshape(steps + 1, -1)[:-1]
    for column, n in zip(rows[:, len(action.continuous):].T, action.counts, strict=True):
        if ((column < 0) | (column >= n) | (column % 1 != 0)).any():
            raise DatasetError(f"{file}: an action has an alternative that is none of 0 to {n - 1}")


def _array(column: Any) -> NDArray[Any]:
    """Numbers (T,) or, from lists, (T, n)."""
    if pa.types.is_fixed_size_list(column.type):
        values: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(column), column.type.list_size)
    plain: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return plain


def _columns(slot: int, episode: Episode) -> dict[str, Array]:
    steps = len(episode)
    last = np.zeros(steps, bool)
    last[-1] = True
    columns: dict[str, Array] = {
        "obs": episode.observations[:-1], "action": episode.actions, "logp": np.zeros(steps, np.float32),
        "reward": episode.rewards.astype(float), "cost": episode.costs, "dt_s": episode.dt_s,
        "next_obs": episode.observations[1:], "terminated": last & episode.terminated,
        "truncated": last & (not episode.terminated), "agent": np.full(steps, episode.agent, np.int32),
        "slot": np.full(steps, slot, np.int32), "order": np.arange(steps)}
    if episode.masks is not None:
        columns |= {"mask": episode.masks[:-1], "next_mask": episode.masks[1:]}
    return columns
