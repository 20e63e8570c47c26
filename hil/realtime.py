"""What a process may ask of Linux to be on time: each asked for, none insisted on, every answer kept.

Theory of operation
-------------------
SCHED_FIFO lets the loop run before ordinary processes; mlockall keeps its pages in memory; an affinity keeps it on one
core; a timer slack of 1 ns stops the kernel from gathering wake-ups (50 µs by default); and freezing what was built
keeps the cycle collector from walking through a whole network in the middle of a step.  Most need privileges that a
laptop or a container does not give: then the run goes on without, and its record says so.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from dataclasses import dataclass

_PR_SET_TIMERSLACK = 29
_MCL_CURRENT, _MCL_FUTURE = 1, 2
#: In the middle of what is customary: above ordinary work, below the kernel's own threads (50).
PRIORITY = 40


@dataclass(frozen=True, slots=True)
class RealTime:
    """What to ask for.  `cpu` None: any core."""

    enabled: bool = False
    cpu: int | None = None


def ask_for(wanted: RealTime) -> dict[str, str]:
    """Ask, and say for each what came of it: ``ok``, ``denied: why``, or nothing was asked (not in the answer)."""
    verdicts: dict[str, str] = {}
    if wanted.cpu is not None:
        verdicts["affinity"] = _verdict(lambda: os.sched_setaffinity(0, {wanted.cpu or 0}))
    if wanted.enabled:
        verdicts["fifo"] = _verdict(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY)))
        verdicts["mlock"] = _verdict(_lock_memory)
        verdicts["timer_slack"] = _verdict(_no_slack)
    gc.collect()
    gc.freeze()
    verdicts["gc_freeze"] = "ok"
    return verdicts


def let_go() -> None:
    """After the run: what was frozen is collected again like everything else."""
    gc.unfreeze()


def _verdict(ask: Callable[[], object]) -> str:
    try:
        ask()
    except (OSError, AttributeError, ValueError) as error:
        return f"denied: {getattr(error, 'strerror', None) or error}"
    return "ok"


def _lock_memory() -> None:
    _libc_call("mlockall", _MCL_CURRENT | _MCL_FUTURE)


def _no_slack() -> None:
    _libc_call("prctl", _PR_SET_TIMERSLACK, 1, 0, 0, 0)


def _libc_call(name: str, *args: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
