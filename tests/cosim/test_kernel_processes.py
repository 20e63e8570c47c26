"""The kernel: spawned processes, and errors that name who failed and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cosim.errors import KernelError, ProcessError
from cosim.kernel import Kernel, Phase
from tests.cosim.traces import Trace

# -- processes and errors ---------------------------------------------------------------------------------------------


def test_a_spawned_generator_waits_in_drive() -> None:
    """Delays are whole microseconds from now, and an event passes its value on."""
    trace = Trace()
    kernel = trace.kernel
    door = kernel.event()

    def visitor() -> Any:
        trace.note("waits")
        what = yield door
        trace.note(what)

    def opener() -> Any:
        yield kernel.delay(5)
        trace.note("opens")
        door.succeed("in")

    kernel.spawn(visitor(), "visitor")
    kernel.spawn(opener(), "opener")
    trace.at(5, "solve", Phase.SOLVE)
    kernel.advance_to(10)
    assert trace.lines == ["0 DRIVE waits", "5 DRIVE opens", "5 DRIVE in", "5 SOLVE solve"]


def failing(_: Any = None) -> None:
    """Fail."""
    raise ValueError("boom")


def spawned(kernel: Kernel) -> None:
    """A generator that fails at 3 us."""

    def run() -> Any:
        yield kernel.delay(3)
        failing()

    kernel.spawn(run(), "pump-7")


class Named:
    """An owner with a name."""

    name = "pump-7"

    def fail(self, _: Any) -> None:
        """Fail."""
        raise ValueError("boom")


WAYS: dict[str, Callable[[Kernel], Any]] = {
    "spawn": spawned,
    "at": lambda kernel: kernel.at(3, Named().fail),
    "argument": lambda kernel: kernel.at(3, failing, Named()),
    "late phase": lambda kernel: kernel.at(3, Named().fail, phase=Phase.PUBLISH),
    "timer": lambda kernel: kernel.timer(3, Named().fail),
    "wheel": lambda kernel: kernel.every(10, Named().fail, offset_us=3),
    "jitter": lambda kernel: kernel.every(10, Named().fail, offset_us=2, jitter=lambda: 1),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_error_names_the_process_and_its_time(way: str) -> None:
    """However it was scheduled: name, simulation time, and the cause chained."""
    kernel = Kernel()
    WAYS[way](kernel)
    with pytest.raises(ProcessError) as caught:
        kernel.advance_to(10)
    assert str(caught.value) == "pump-7 failed at t = 0.000003 s: ValueError: boom"
    chain, error = [], caught.value
    while error is not None:
        chain.append(type(error))
        error = error.__cause__
    assert ValueError in chain


def test_an_error_without_an_owner_names_the_function() -> None:
    """A plain function is named by itself."""
    kernel = Kernel()
    kernel.at(1, failing)
    with pytest.raises(ProcessError, match=r"^failing failed at"):
        kernel.advance_to(10)


def test_a_process_error_passes_through_unwrapped() -> None:
    """The innermost process is the one named."""
    kernel = Kernel()

    def outer(_: Any) -> None:
        raise ProcessError("inner", 1, "x")

    kernel.at(1, outer)
    with pytest.raises(ProcessError, match=r"^inner failed"):
        kernel.advance_to(10)


def test_processes_cannot_begin_or_wake_after_drive() -> None:
    """A spawn or wake-up outside DRIVE is an error, not a DRIVE after SOLVE."""
    kernel = Kernel()
    kernel.advance_to(1)
    with pytest.raises(KernelError, match="it is already phase END"):
        kernel.spawn(iter(()), "pump")
    door = kernel.event()
    kernel.at(5, lambda _: door.succeed(), phase=Phase.PUBLISH)
    with pytest.raises(KernelError, match="woken at t = 5 us in phase PUBLISH"):
        kernel.advance_to(9)


def test_a_delay_of_half_a_microsecond_is_refused() -> None:
    """Time stays an integer."""
    with pytest.raises(TypeError):
        Kernel().delay(0.5)
