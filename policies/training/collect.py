"""Collection of decisions: in this process, or in worker processes that each own some slots.

Both give the same rows, bit for bit, whatever the number of workers and the order in which they finish: a slot's
rows depend on its number alone, and rows are put together in the order of slots.  A worker acts only when asked, and
is asked only when its last rows were taken over: it waits for the learner, and nothing piles up.  One that dies,
fails or says nothing for too long ends the training with `WorkerLostError`; the last checkpoint stays, and going on
from it gives what would have come without the loss.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol

from policies.training.algorithm import State, TrainingError
from policies.training.shared import Block, put_weights, rows_layout, rows_of, weight_layout
from policies.training.slot import Episode, Rows
from policies.training.transitions import Transitions, empty, joined
from policies.training.worker import Plan, make_slots, pack, run_worker, unpack

Weights = Mapping[str, Mapping[str, Any]]

#: One thread each: more would fight over the cores, and sums in another order are other sums.
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
#: Workers' last words that an error quotes.
_TAIL = 1_000


class WorkerLostError(TrainingError):
    """A worker process died, failed or hung."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one round of collection gave: rows by group, and the episodes that ended, both in the order of slots."""

    rows: dict[str, Transitions]
    episodes: tuple[Episode, ...]


class Collector(Protocol):
    """A round is `begin`, then `finish`; between them the learner may do something else.

    `load` weights (by group and name) before the first round and between rounds; `snapshot` and `restore` slots
    between rounds.
    """

    def load(self, weights: Weights) -> None: ...
    def begin(self, fragment: int) -> None: ...
    def finish(self) -> Fragment: ...
    def snapshot(self) -> dict[int, State]: ...
    def restore(self, states: Mapping[int, State]) -> None: ...
    def close(self) -> None: ...


class LocalCollector:
    """Slots in this process, one after the other."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._slots = make_slots(plan, range(plan.slots))
        room = {name: plan.instants * n for name, n in plan.members.items()}
        self._out = {name: Rows(empty(shape, room[name])) for name, shape in plan.shapes.items()}
        self._fragment = -1

    def load(self, weights: Weights) -> None:
        """Act with these from the next round on."""
        self._actors = self._plan.make_actors(
            {group: {name: values.copy() for name, values in named.items()} for group, named in weights.items()})

    def begin(self, fragment: int) -> None:
        """Nothing happens before `finish`."""
        self._fragment = fragment

    def finish(self) -> Fragment:
        """Act in every slot."""
        parts: list[dict[str, Transitions]] = []
        episodes: list[Episode] = []
        for slot in self._slots.values():
            episodes += slot.run(self._fragment, self._plan.instants, self._actors, self._out)
            parts.append({name: rows.taken() for name, rows in self._out.items()})
        return merged(parts, episodes)

    def snapshot(self) -> dict[int, State]:
        """Where every slot stands."""
        return {n: slot.snapshot() for n, slot in self._slots.items()}

    def restore(self, states: Mapping[int, State]) -> None:
        """Put every slot where it stood."""
        for n, slot in self._slots.items():
            slot.restore(states[n])

    def close(self) -> None:
        """End the episodes."""
        for slot in self._slots.values():
            slot.env.close()


def merged(parts: Sequence[Mapping[str, Transitions]], episodes: Sequence[Episode]) -> Fragment:
    """Rows by group of all slots, in their order."""
    return Fragment({name: joined([part[name] for part in parts]) for name in parts[0]}, tuple(episodes))


@dataclass(slots=True)
class _Process:
    """One worker, from the learner's side."""

    number: int
    slots: tuple[int, ...]
    process: SpawnProcess
    connection: Connection
    rows: Block
    log: Path | None

    def lost(self, why: str) -> WorkerLostError:
        """The error for this worker, with its last words."""
        text = f"worker {self.number} (slots {', '.join(map(str, self.slots))}) {why}"
        if self.log is not None:
            with suppress(OSError):
                words = self.log.read_text(encoding="utf-8", errors="replace")[-_TAIL:].strip()
                text += f"; its log is {self.log}" + (f", and ends:\n{words}" if words else " (empty)")
        return WorkerLostError(text)

    def ended(self) -> str:
        """How the process ended."""
        self.process.join(10.0)  # its connection closes before it is gone
        code = self.process.exitcode
        return f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"


class ProcessCollector:
    """Slots in worker processes (started anew, not forked), slot k in worker k mod n.

    `timeout_s` is the longest that all workers together may be silent; `logs` a folder for what they say.
    """

    def __init__(self, plan: Plan, workers: int, timeout_s: float = 600.0, logs: Path | None = None) -> None:
        self._plan, self._timeout_s, self._version = plan, timeout_s, 0
        self._weights = Block(weight_layout(plan.weights))
        self._workers: list[_Process] = []
        try:
            with _single_threaded():
                for number in range(min(workers, plan.slots)):
                    self._workers.append(self._start(number, tuple(range(number, plan.slots, workers)), logs))
            self._answers()
        except BaseException:
            self.close()
            raise

    def _start(self, number: int, slots: tuple[int, ...], logs: Path | None) -> _Process:
        context = get_context("spawn")
        plan = self._plan
        rows = Block(rows_layout(slots, plan.shapes, plan.instants, plan.members))
        log = None
        if logs is not None:
            logs.mkdir(parents=True, exist_ok=True)
            log = logs / f"worker-{number}.log"
        mine, theirs = context.Pipe()
        process = context.Process(target=run_worker, name=f"gridloop-worker-{number}", daemon=True, args=(
            theirs, plan.to_json(), slots, (self._weights.name, rows.name), str(log or "")))
        process.start()
        theirs.close()
        return _Process(number, slots, process, mine, rows, log)

    # -- rounds ----------------------------------------------------------------------------------------------------

    def load(self, weights: Weights) -> None:
        """Workers act with these from the next round on; only between rounds."""
        self._version += 1
        put_weights(self._weights.arrays, weights, self._version)

    def begin(self, fragment: int) -> None:
        """Workers start to act."""
        self._tell({"do": "collect", "fragment": fragment})

    def finish(self) -> Fragment:
        """Wait for the workers and take their rows."""
        answers = self._answers()
        parts: dict[int, dict[str, Transitions]] = {}
        for worker in self._workers:
            for slot in worker.slots:
                rooms = rows_of(worker.rows.arrays, slot, self._plan.shapes)
                parts[slot] = {name: rows.taken() for name, rows in rooms.items()}
        episodes = [episode_of(data) for answer in answers for data in json.loads(answer)["episodes"]]
        episodes.sort(key=lambda episode: (episode.slot, episode.number))
        return merged([parts[slot] for slot in range(self._plan.slots)], episodes)

    def snapshot(self) -> dict[int, State]:
        """Where every slot stands."""
        self._tell({"do": "snapshot"})
        states = {slot: state for data in self._answers() for slot, state in unpack(data).items()}
        return {slot: states[slot] for slot in range(self._plan.slots)}

    def restore(self, states: Mapping[int, State]) -> None:
        """Put every slot where it stood."""
        self._tell({"do": "restore"})
        for worker in self._workers:
            self._send(worker, pack({slot: states[slot] for slot in worker.slots}))
        self._answers()

    def close(self) -> None:
        """Stop the workers, the patient way first, and give the memory back."""
        for worker in self._workers:
            with suppress(OSError):
                worker.connection.send_bytes(b'{"do": "stop"}')
        for worker in self._workers:
            worker.process.join(5.0 if worker.process.is_alive() else 0.0)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()
            worker.rows.close()
        self._workers.clear()
        self._weights.close()

    # -- messages --------------------------------------------------------------------------------------------------

    def _tell(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message).encode()
        for worker in self._workers:
            self._send(worker, data)

    @staticmethod
    def _send(worker: _Process, data: bytes) -> None:
        try:
            worker.connection.send_bytes(data)
        except OSError:
            raise worker.lost(worker.ended()) from None

    def _answers(self) -> list[bytes]:
        """One answer of every worker, in their order."""
        found: dict[int, bytes] = {}
        while waiting := [worker for worker in self._workers if worker.number not in found]:
            # A connection is ready, too, when its other end is gone.
            ready = wait([worker.connection for worker in waiting], self._timeout_s)
            if not ready:
                raise waiting[0].lost(f"said nothing for {self._timeout_s:g} s (timeout_s)")
            for worker in waiting:
                if worker.connection in ready:
                    found[worker.number] = self._answer(worker)
        return [found[worker.number] for worker in self._workers]

    @staticmethod
    def _answer(worker: _Process) -> bytes:
        try:
            data = worker.connection.recv_bytes()
        except (EOFError, OSError):
            raise worker.lost(worker.ended()) from None
        if data.startswith(b'{"error"'):
            raise worker.lost(f"failed: {json.loads(data)['error']}")
        return data


def episode_of(data: Mapping[str, Any]) -> Episode:
    """From its plain data."""
    return Episode(**{**data, "returns": tuple(data["returns"]), "discounted": tuple(data["discounted"]),
                      "costs": tuple(map(tuple, data["costs"]))})


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Processes started within have one thread for linear algebra."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
