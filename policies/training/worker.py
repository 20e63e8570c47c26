"""A worker process: owns some slots, acts in them with NumPy copies of the actors, and answers the collector's
messages.

Messages are JSON (`{"do": "collect", …}`), arrays go through shared memory or as safetensors bytes: nothing is
unpickled but multiprocessing's own start-up.  A worker waits between messages, so it never runs ahead of the
learner; it ends when the other side does.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from cosim.simulation.kept import Kept
from policies.numpy_actor import NumpyActor
from policies.training.algorithm import State
from policies.training.shared import Block, get_weights, rows_layout, rows_of, weight_layout
from policies.training.slot import Slot, SlotSetting
from policies.training.transitions import Shape

#: What makes a scenario an environment.
SCENARIO_ENV = "policies.training.scenario_env:scenario_env"


@dataclass(frozen=True, slots=True)
class EnvRecipe:
    """How to make an environment in another process: a function by name (``module:function``) and plain arguments."""

    target: str = SCENARIO_ENV
    arguments: Mapping[str, Any] | None = None

    def make(self, kept: Kept | None = None) -> Any:
        """The environment; `kept` is what those of scenarios in one process share, other ones have no use for it."""
        module, _, name = self.target.partition(":")
        build: Callable[..., Any] = getattr(import_module(module), name)
        shared = {"kept": kept} if self.target == SCENARIO_ENV else {}
        return build(**(self.arguments or {}), **shared)


@dataclass(frozen=True, slots=True)
class Plan:
    """What collection is: the environment, its slots and fragments, and the shape of rows and actors by group."""

    recipe: EnvRecipe
    seed: int
    slots: int
    instants: int
    shapes: Mapping[str, Shape]
    members: Mapping[str, int]
    actors: Mapping[str, Mapping[str, Any]]
    """Descriptions of the actors."""
    weights: Mapping[str, Mapping[str, tuple[int, ...]]]
    """Shapes of their arrays."""

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """From `to_json`."""
        data = json.loads(text)
        shapes = {name: Shape(**shape) for name, shape in data["shapes"].items()}
        return cls(**{**data, "recipe": EnvRecipe(**data["recipe"]), "shapes": shapes})

    def make_actors(self, weights: Mapping[str, Mapping[str, Any]]) -> dict[str, NumpyActor]:
        """The actors with these weights."""
        return {name: NumpyActor(description, weights[name]) for name, description in self.actors.items()}


def make_slots(plan: Plan, numbers: Sequence[int]) -> dict[int, Slot]:
    """The slots of these numbers, each with an environment of its own, at its first decision.

    They share what does not change: a network and profiles are read, and lie in memory, once a process.
    """
    kept = Kept()
    return {n: Slot(plan.recipe.make(kept), SlotSetting(n, plan.seed, plan.shapes)) for n in numbers}


def pack(groups: Mapping[Any, Mapping[str, Any]]) -> bytes:
    """Arrays by slot (or group) and name as one safetensors file; it wants each in one piece."""
    return save_arrays({f"{group}|{name}": np.asarray(array, order="C") for group, named in groups.items()
                        for name, array in named.items()})


def grouped(arrays: Mapping[str, Any]) -> dict[str, State]:
    """Arrays of such a file by group and name."""
    groups: dict[str, State] = {}
    for key, array in arrays.items():
        group, _, name = key.partition("|")
        groups.setdefault(group, {})[name] = array
    return groups


def unpack(data: bytes) -> dict[int, State]:
    """Saved slots from `pack`."""
    return {int(slot): state for slot, state in grouped(load_arrays(data)).items()}


class _Worker:
    """The slots of one process and the messages about them."""

    def __init__(self, plan: Plan, numbers: Sequence[int], blocks: tuple[str, str]) -> None:
        self._plan = plan
        self._weights = Block(weight_layout(plan.weights), blocks[0])
        self._rows = Block(rows_layout(numbers, plan.shapes, plan.instants, plan.members), blocks[1])
        self._slots = make_slots(plan, numbers)
        self._out = {n: rows_of(self._rows.arrays, n, plan.shapes) for n in numbers}
        self._version = -1
        self._actors: dict[str, NumpyActor] = {}

    def answer(self, message: Mapping[str, Any], connection: Connection) -> None:
        match message["do"]:
            case "collect":
                connection.send_bytes(_json({"episodes": self._collect(int(message["fragment"]))}))
            case "snapshot":
                states = {n: slot.snapshot() for n, slot in self._slots.items()}
                connection.send_bytes(pack(states))
            case "restore":
                states = unpack(connection.recv_bytes())
                for n, slot in self._slots.items():
                    slot.restore(states[n])
                connection.send_bytes(_json({"restored": len(self._slots)}))

    def _collect(self, fragment: int) -> list[dict[str, Any]]:
        version = int(self._weights.arrays["version"][0])
        if version != self._version:
            weights, self._version = get_weights(self._weights.arrays, tuple(self._plan.actors))
            self._actors = self._plan.make_actors(weights)
        return [asdict(episode) for n, slot in self._slots.items()
                for episode in slot.run(fragment, self._plan.instants, self._actors, self._out[n])]


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data).encode()


def run_worker(connection: Connection, plan: str, slots: Sequence[int], blocks: tuple[str, str], log: str) -> None:
    """The process's main function: make the slots, say so, answer until told to stop or until nobody listens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the learner decides what it means
    _write_to(log)
    try:
        worker = _Worker(Plan.from_json(plan), slots, blocks)
        connection.send_bytes(_json({"ready": list(slots)}))
        while (message := json.loads(connection.recv_bytes()))["do"] != "stop":
            worker.answer(message, connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the learner is gone
    except Exception as error:  # everything is told to the learner, which stops the training with it
        traceback.print_exc()
        sys.stderr.flush()
        with suppress(OSError):
            connection.send_bytes(_json({"error": f"{type(error).__name__}: {error}"}))


def _write_to(log: str) -> None:
    """What the process says goes to a file, the trace of a crash in native code too."""
    if log:
        descriptor = os.open(Path(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
    faulthandler.enable()
