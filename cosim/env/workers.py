"""Processes that each run some of many environments, and the memory they share with their owner.

Theory of operation
-------------------
The owner makes one block of shared memory with a record for each environment (`cosim.env.slots`) and starts processes
(spawned: nothing is inherited; what they need is text).  A call is a short message to every process; each works through
its environments and answers ``ok`` or why not.  An environment's results depend on its own seed and actions alone, and
lie in its own record: which process is faster does not matter.  A process that ends, fails or stays silent ends the
whole: everything is closed, and the owner hears which environments it had.  So does whoever interrupts a call.
"""

from __future__ import annotations

import json
import os
import signal
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np

from cosim.env.event import EnvOptions, EventEnv
from cosim.env.faces import Faces, begun
from cosim.env.slots import Records, Slot, slot_type
from cosim.errors import GridloopError, ScenarioError
from cosim.plugins import FAMILIES, Registry
from cosim.scenario.learning import Discount
from cosim.scenario.loader import LoadedScenario, load_text
from cosim.simulation.kept import Kept

MAX_ENVIRONMENTS, MAX_BLOCKS = 4096, 1000
#: How long a process may take to end before it is made to, s.
PATIENCE_S = 5.0
_OK, _CLOSE, _STEP = b"ok", b"close", b"step"


@dataclass(frozen=True, slots=True)
class Plan:
    """What every environment is: a scenario as text, who learns, options; `same_step` of `VectorOptions`."""

    text: str
    path: str
    base_dir: str
    overrides: tuple[str, ...]
    agents: tuple[str, ...] | None
    options: dict[str, Any]
    explain: bool
    same_step: bool

    @classmethod
    def of(cls, core: EventEnv, *, explain: bool, same_step: bool) -> Plan:
        """The plan that makes environments like `core`; raises GridloopError where another process could not."""
        loaded, options = core.loaded, core.options
        plan = cls(loaded.text, str(loaded.path), str(loaded.base_dir), loaded.overrides, core.patterns, {
            "record": None if options.record is None else str(options.record),
            "discount": None if options.discount is None else options.discount.model_dump(),
            "duration_s": options.duration_s, "offset_s": options.offset_s}, explain, same_step)
        plan._require_registry(loaded)
        return plan

    def _require_registry(self, loaded: LoadedScenario) -> None:
        """Plugins that were added to the scenario's registry by hand are in this process alone."""
        installed = Registry()
        added = [f"{family} '{kind}'" for family in FAMILIES
                 for kind in loaded.registry.kinds(family) if kind not in installed.kinds(family)]
        if not added or loaded.scenario.plugins:
            return
        try:
            self._loaded()
        except ScenarioError as error:
            raise GridloopError(f"vector_env: scenario '{loaded.scenario.name}' needs plugins that only this process "
                                f"knows ({', '.join(added)}): install them as entry points, or name their folder in "
                                f"`plugins` ({error.problems[0]})") from None

    def to_json(self) -> str:
        """As text."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """From `to_json`."""
        return cls(**json.loads(text))

    def core(self, place: int, kept: Kept) -> EventEnv:
        """Environment number `place`; what it records is below ``env-<place>``.  `kept` is the process's."""
        options = dict(self.options)
        if options["record"] is not None:
            options["record"] = Path(options["record"]) / f"env-{place:04d}"
        if options["discount"] is not None:
            options["discount"] = Discount(**options["discount"])
        return EventEnv(self._loaded(), self.agents, (), EnvOptions(**options), kept)

    def _loaded(self) -> LoadedScenario:
        # Whoever made the plan has loaded it, plugins of its own included.
        return load_text(self.text, path=Path(self.path), base_dir=Path(self.base_dir), overrides=self.overrides,
                         allow_plugins=True)


# -- in a process ------------------------------------------------------------------------------------------------------


class _Stepper:
    """One environment in a process."""

    def __init__(self, plan: Plan, place: int, record: Any, kept: Kept) -> None:
        self._core = plan.core(place, kept)
        self._slot = Slot(Faces(self._core, explain=plan.explain), record)
        self._same_step = plan.same_step

    def reset(self, seed: int | None = None) -> None:
        """The first decision of an episode."""
        self._slot.write(begun(self._core, seed))

    def step(self) -> None:
        """To the next decision, or into the next episode."""
        if self._core.last.ended:
            self.reset()
            return
        decision = self._core.step(self._slot.rows())
        self._slot.write(decision)
        if decision.ended and self._same_step:
            self._slot.renew()
            self.reset()
            self._slot.renewed()

    def close(self) -> None:
        """Finish its record."""
        self._core.close()


def work(connection: Connection, memory: str, plan: str, places: Sequence[int]) -> None:
    """Body of a process that has the environments at `places`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner is told, and closes
    block = SharedMemory(memory)
    steppers: list[_Stepper] = []
    try:
        _answer(connection, partial(_open, Plan.from_json(plan), places, block, steppers))
        while (message := connection.recv_bytes()) != _CLOSE:
            _answer(connection, partial(_obey, message, places, steppers))
    except (EOFError, OSError):  # the owner is gone
        pass
    finally:
        for stepper in steppers:
            with suppress(GridloopError):
                stepper.close()


def _open(plan: Plan, places: Sequence[int], block: SharedMemory, steppers: list[_Stepper]) -> None:
    kept = Kept()
    kind = slot_type(Faces(plan.core(places[0], kept), explain=plan.explain))
    records: Records = np.ndarray((block.size // kind.itemsize,), kind, block.buf)
    steppers += [_Stepper(plan, place, records[place], kept) for place in places]


def _obey(message: bytes, places: Sequence[int], steppers: Sequence[_Stepper]) -> None:
    if message == _STEP:
        for stepper in steppers:
            stepper.step()
        return
    seeds = json.loads(message)["seeds"]
    for place, stepper in zip(places, steppers, strict=True):
        stepper.reset(seeds[place])


def _answer(connection: Connection, task: Any) -> None:
    try:
        task()
    except GridloopError as error:
        connection.send_bytes(str(error).encode())
    except Exception as error:  # whatever a plugin of the scenario raises: its owner is to hear of it
        connection.send_bytes(f"{type(error).__name__}: {error}".encode())
    else:
        connection.send_bytes(_OK)


# -- at the owner's ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    places: tuple[int, ...]


class Workers:
    """Processes with `n` environments between them; `records` (n,) are shared.

    Raises GridloopError when one cannot be started, fails, ends or does not answer within `timeout_s`; everything is
    closed then.
    """

    def __init__(self, plan: Plan, faces: Faces, n: int, processes: int | None, timeout_s: float) -> None:
        if not 1 <= n <= MAX_ENVIRONMENTS:
            raise GridloopError(f"vector_env: {n} environments; expected 1 to {MAX_ENVIRONMENTS}")
        if processes is not None and processes < 1:
            raise GridloopError(f"vector_env: {processes} processes; expected 1 or more, or None for one a core")
        count = min(n, processes or os.cpu_count() or 1)
        kind = slot_type(faces)
        self._timeout_s = timeout_s
        self._block = _block(max(n * kind.itemsize, 1))
        self.records: Records = np.ndarray((n,), kind, self._block.buf)
        self._workers: list[_Worker] = []
        self._finalizer = weakref.finalize(self, _shut, self._workers, self._block)
        try:
            for k in range(count):
                self._start(plan.to_json(), tuple(range(k, n, count)))
            self._hear()
        except BaseException:
            self.close()
            raise

    def _start(self, plan: str, places: tuple[int, ...]) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, self._block.name, plan, places), daemon=True,
                                  name=f"environments {', '.join(map(str, places))}")
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours, places))

    def reset(self, seeds: Sequence[int | None]) -> None:
        """Begin an episode everywhere; None: each environment's next."""
        self._call(json.dumps({"seeds": list(seeds)}).encode())

    def step(self) -> None:
        """Carry out the actions in `records`."""
        self._call(_STEP)

    def _call(self, message: bytes) -> None:
        if not self._finalizer.alive:
            raise GridloopError("vector_env is closed")
        try:
            with suppress(OSError):  # the one that is gone is named below
                for worker in self._workers:
                    worker.connection.send_bytes(message)
            self._hear()
        except BaseException:  # say Ctrl-C: an answer that nobody took would pass for the next call's
            self.close()
            raise

    def _hear(self) -> None:
        """Wait for every answer; who calls closes everything when it raises."""
        silent: dict[Any, _Worker] = {worker.connection: worker for worker in self._workers}
        wrong: list[str] = []
        while silent and not wrong:
            ready = wait([*silent, *(worker.process.sentinel for worker in silent.values())], self._timeout_s)
            if not ready:
                wrong = [f"{_called(worker)}: no answer within {self._timeout_s:g} s" for worker in silent.values()]
            for worker in [worker for worker in silent.values()
                           if worker.connection in ready or worker.process.sentinel in ready]:
                del silent[worker.connection]
                answer = _heard(worker)
                if answer:
                    wrong.append(answer)
        if wrong:
            raise GridloopError("; ".join(wrong))

    def close(self) -> None:
        """End the processes and remove the memory; once is enough."""
        if self._finalizer.alive:
            self.records = np.zeros(0, self.records.dtype)
            self._finalizer()


def _block(size: int) -> SharedMemory:
    """A new piece of shared memory, named after this process."""
    for k in range(MAX_BLOCKS):
        with suppress(FileExistsError):
            return SharedMemory(f"gridloop-{os.getpid()}-{k}", create=True, size=size)
    raise GridloopError(f"vector_env: this process has {MAX_BLOCKS} vectorised environments already; close some")


def _heard(worker: _Worker) -> str:
    """What is wrong with a worker that has answered, or ended; '' for nothing."""
    try:
        answer = worker.connection.recv_bytes()
    except (EOFError, OSError):
        worker.process.join(PATIENCE_S)
        return f"{_called(worker)}: its process ended with exit code {worker.process.exitcode}"
    return "" if answer == _OK else f"{_called(worker)}: {answer.decode()}"


def _called(worker: _Worker) -> str:
    several = "environments" if len(worker.places) > 1 else "environment"
    return f"vector_env {several} {', '.join(map(str, worker.places))}"


def _shut(workers: list[_Worker], block: SharedMemory) -> None:
    for worker in workers:
        with suppress(OSError):
            worker.connection.send_bytes(_CLOSE)
    for worker in workers:
        worker.process.join(PATIENCE_S)
        for end in (worker.process.terminate, worker.process.kill):
            if worker.process.is_alive():
                end()
                worker.process.join(PATIENCE_S)
        worker.connection.close()
        if not worker.process.is_alive():
            worker.process.close()
    with suppress(BufferError):  # somebody still holds a view: the mapping goes with it, the name goes now
        block.close()
    block.unlink()
