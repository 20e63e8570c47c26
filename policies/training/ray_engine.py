"""Collection on a Ray cluster: remote actors in place of worker processes, otherwise the same.

Optional (`collection.engine: ray`; needs ``pip install ray``).  Scenario files must be at the same place on every node.
Rows come back as safetensors bytes; rows, episodes and saved slots are those of the other collectors, bit for bit, on
the same type of machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from policies.training.algorithm import State, TrainingError
from policies.training.collect import ONE_THREAD, Fragment, Weights, WorkerLostError, episode_of, merged
from policies.training.slot import Rows
from policies.training.transitions import Transitions, empty
from policies.training.worker import Plan, make_slots, pack, unpack


class SlotHost:
    """Some slots, wherever Ray puts them.  Everything in and out is bytes or text."""

    def __init__(self, plan: str, slots: Sequence[int]) -> None:
        self._plan = Plan.from_json(plan)
        self._slots = make_slots(self._plan, slots)
        self._out = {name: Rows(empty(shape, self._plan.instants * self._plan.members[name]))
                     for name, shape in self._plan.shapes.items()}

    def collect(self, fragment: int, weights: bytes) -> tuple[bytes, str]:
        """Rows as ``slot|group|column``, and the episodes that ended as JSON."""
        named: dict[str, dict[str, Any]] = {}
        for key, array in load(weights).items():
            group, _, name = key.partition("|")
            named.setdefault(group, {})[name] = array
        actors = self._plan.make_actors(named)
        rows: dict[str, Any] = {}
        episodes: list[dict[str, Any]] = []
        for number, slot in self._slots.items():
            episodes += [asdict(e) for e in slot.run(fragment, self._plan.instants, actors, self._out)]
            rows |= {f"{number}|{group}|{name}": column for group, room in self._out.items()
                     for name, column in room.taken().columns.items()}
        return save(rows), json.dumps(episodes)

    def snapshot(self) -> bytes:
        """Where its slots stand."""
        return pack({number: slot.snapshot() for number, slot in self._slots.items()})

    def restore(self, data: bytes) -> int:
        """Put its slots where they stood; how many."""
        states = unpack(data)
        for number, slot in self._slots.items():
            slot.restore(states[number])
        return len(self._slots)


class RayCollector:
    """Slot k in remote actor k mod n (`policies.training.collect.Collector`)."""

    def __init__(self, plan: Plan, workers: int, timeout_s: float = 600.0) -> None:
        try:
            self._ray: Any = import_module("ray")
        except ImportError:
            raise TrainingError("collection.engine: ray is not installed (pip install ray); expected it, or engine: "
                                "process") from None
        self._plan, self._timeout_s = plan, timeout_s
        self._owns = not self._ray.is_initialized()
        if self._owns:
            self._ray.init(log_to_driver=False, include_dashboard=False)
        n = min(workers, plan.slots)
        self._slots = [tuple(range(k, plan.slots, n)) for k in range(n)]
        remote = self._ray.remote(SlotHost).options(num_cpus=1, runtime_env={"env_vars": ONE_THREAD})
        self._hosts = [remote.remote(plan.to_json(), slots) for slots in self._slots]
        self._futures: list[Any] = []

    def load(self, weights: Weights) -> None:
        """Hosts act with these from the next round on."""
        arrays = {f"{group}|{name}": np.asarray(array, order="C") for group, named in weights.items()
                  for name, array in named.items()}
        self._weights = self._ray.put(save(arrays))

    def begin(self, fragment: int) -> None:
        """Hosts start to act."""
        self._futures = [host.collect.remote(fragment, self._weights) for host in self._hosts]

    def finish(self) -> Fragment:
        """Wait for the hosts and take their rows."""
        columns: dict[int, dict[str, dict[str, Any]]] = {}
        episodes = []
        for data, ended in self._got(self._futures):
            episodes += [episode_of(episode) for episode in json.loads(ended)]
            for key, array in load(data).items():
                slot, group, name = key.split("|", 2)
                columns.setdefault(int(slot), {}).setdefault(group, {})[name] = array
        episodes.sort(key=lambda episode: (episode.slot, episode.number))
        parts = [{group: Transitions(columns[slot][group]) for group in self._plan.shapes}
                 for slot in range(self._plan.slots)]
        return merged(parts, episodes)

    def snapshot(self) -> dict[int, State]:
        """Where every slot stands."""
        found = {slot: state for data in self._got([host.snapshot.remote() for host in self._hosts])
                 for slot, state in unpack(data).items()}
        return {slot: found[slot] for slot in range(self._plan.slots)}

    def restore(self, states: Mapping[int, State]) -> None:
        """Put every slot where it stood."""
        self._got([host.restore.remote(pack({slot: states[slot] for slot in slots}))
                   for host, slots in zip(self._hosts, self._slots, strict=True)])

    def close(self) -> None:
        """Let the hosts go, and Ray where it was started here."""
        for host in self._hosts:
            self._ray.kill(host)
        self._hosts = []
        if self._owns and self._ray.is_initialized():
            self._ray.shutdown()

    def _got(self, futures: Sequence[Any]) -> list[Any]:
        try:
            found: list[Any] = self._ray.get(list(futures), timeout=self._timeout_s)
        except self._ray.exceptions.RayError as error:
            raise WorkerLostError(f"a host on Ray was lost, failed, or said nothing for {self._timeout_s:g} s: "
                                  f"{type(error).__name__}: {str(error)[-1000:]}") from None
        return found
