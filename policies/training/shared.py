"""Shared memory between the learner and its workers: weights one way, rows of decisions the other.

Nothing is pickled: both sides know the layout beforehand and see plain arrays.  A block is written by one side while
the other waits, as the messages between them say (`policies.training.collect`), so there are no locks.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from math import prod
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.training.algorithm import TrainingError
from policies.training.slot import Rows
from policies.training.transitions import Array, Shape

#: Largest block, and where Linux keeps them.
MAX_BYTES = 4 << 30
_HOME = Path("/dev/shm")  # noqa: S108 - the kernel's place of shared memory, only asked how much room it has
_ALIGNED = 64

#: Name, shape and dtype of every array of a block, in order.
Layout = tuple[tuple[str, tuple[int, ...], str], ...]


class Block:
    """Named arrays in one piece of shared memory.  The side that creates it also removes it (`close`)."""

    def __init__(self, layout: Layout, name: str | None = None) -> None:
        sizes = [_round(prod(shape) * np.dtype(dtype).itemsize) for _, shape, dtype in layout]
        total = max(sum(sizes), _ALIGNED)
        self._owns = name is None
        if name is None:
            _check_room(total)
        self._memory = SharedMemory(name, create=self._owns, size=total if self._owns else 0)
        self.name = self._memory.name
        self.arrays: dict[str, Array] = {}
        start = 0
        for (key, shape, dtype), size in zip(layout, sizes, strict=True):
            self.arrays[key] = np.ndarray(shape, dtype, self._memory.buf, start)
            start += size

    def close(self) -> None:
        """Let go of it; the owner removes it.  Its arrays must not be used any more."""
        self.arrays.clear()
        with suppress(BufferError):  # somebody still holds an array: the mapping goes with the process, the name now
            self._memory.close()
        if self._owns:
            self._owns = False
            self._memory.unlink()


def _round(n: int) -> int:
    return -(-n // _ALIGNED) * _ALIGNED


def _check_room(total: int) -> None:
    free = shutil.disk_usage(_HOME).free if _HOME.is_dir() else MAX_BYTES
    if total > min(MAX_BYTES, free):
        raise TrainingError(f"collection: rows of a fragment need {total >> 20} MiB of shared memory; found "
                            f"{free >> 20} MiB free in {_HOME}; expected at most {MAX_BYTES >> 20} MiB; use fewer "
                            f"instants (fragment) or more workers, or 0 workers")


def weight_layout(shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> Layout:
    """Weights of all groups: ``group:name``, and their version."""
    arrays = tuple((f"{group}:{name}", tuple(shape), "f4") for group, named in shapes.items()
                   for name, shape in named.items())
    return (("version", (1,), "i8"), *arrays)


def rows_layout(slots: Iterable[int], shapes: Mapping[str, Shape], instants: int,
                members: Mapping[str, int]) -> Layout:
    """Rows of some slots: ``slot:group:column`` with room for a decision a member and instant, ``slot:group:n``."""
    found: list[tuple[str, tuple[int, ...], str]] = []
    for slot in slots:
        for group, shape in shapes.items():
            found.append((f"{slot}:{group}:n", (1,), "i8"))
            found += [(f"{slot}:{group}:{name}", (instants * members[group], *row), dtype)
                      for name, (row, dtype) in shape.columns().items()]
    return tuple(found)


def rows_of(arrays: Mapping[str, Array], slot: int, shapes: Mapping[str, Shape]) -> dict[str, Rows]:
    """The rooms of one slot by group, in a block of `rows_layout`."""
    return {group: Rows({name: arrays[f"{slot}:{group}:{name}"] for name in shape.columns()},
                        arrays[f"{slot}:{group}:n"]) for group, shape in shapes.items()}


def put_weights(arrays: Mapping[str, Array], weights: Mapping[str, Mapping[str, NDArray[np.float32]]],
                version: int) -> None:
    """Write weights by group and name into a block of `weight_layout`."""
    for group, named in weights.items():
        for name, values in named.items():
            arrays[f"{group}:{name}"][...] = values
    arrays["version"][0] = version


def get_weights(arrays: Mapping[str, Array], groups: Sequence[str]) -> tuple[dict[str, dict[str, Any]], int]:
    """Copies of weights by group and name, and their version."""
    found: dict[str, dict[str, Any]] = {group: {} for group in groups}
    for key, values in arrays.items():
        group, _, name = key.rpartition(":")
        if group:
            found[group][name] = values.copy()
    return found, int(arrays["version"][0])
