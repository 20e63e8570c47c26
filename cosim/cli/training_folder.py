"""Which folder a training writes into, and what happens to one that is there already."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from cosim.cli.outcome import UsageError
from cosim.cli.result_folder import put_aside, refuse_foreign

#: What a training leaves first; any of these makes a folder one.
_MARKS = (".training.lock", "metrics.csv", "checkpoints", "bundle", "start", "tensorboard", "seed-*")

_BUNDLE = ("bundle.json", "weights.safetensors", "actor.*.onnx", ".actor.*.onnx.new")
#: All that commands write into a training, as patterns of relative names: what it learned, its bundles (and what a
#: killed process left of them), those of them that were exported in their place.
_TRAINING = (".training.lock", "metrics.csv", ".metrics.csv.new", "tensorboard/events.out.tfevents.*",
             "workers/worker-[0-9]*.log",
             *(f"checkpoints/{folder}/{name}" for folder in ("iteration-[0-9]*", ".iteration-[0-9]*.new",
                                                             ".iteration-[0-9]*.old")
               for name in ("state.json", "algorithms.safetensors", "slots.safetensors", "ahead.safetensors")),
             *(f"{place}/{name}" for bundle in ("bundle", "best", "start")
               for place in (bundle, f".{bundle}.new", f".{bundle}.old") for name in _BUNDLE))
_OWN = (*_TRAINING, *(f"seed-[0-9]*/{pattern}" for pattern in _TRAINING))


def check_free_training(folder: Path, *, force: bool) -> None:
    """Raises UsageError unless a training may be written into `folder`."""
    try:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is a file; expected a folder")
        if not folder.exists() or not any(folder.iterdir()):
            return
    except OSError as error:  # a name too long, a folder that may not be read
        raise UsageError(f"{str(folder)[:200]}: cannot be used: {error.strerror or error}") from None
    if not is_training(folder):
        raise UsageError(f"{folder}: holds files that are no training; name another folder")
    if not force:
        kept = [*folder.glob("checkpoints/iteration-*"), *sorted(folder.glob("seed-*/checkpoints/iteration-*"))]
        raise UsageError(f"{folder}: holds a training already; name another folder, or --force to replace it"
                         + (f", or --resume {kept[-1].parents[1]} to go on with it" if kept else
                            " (it has no checkpoint to go on from)"))
    refuse_foreign(folder, _OWN)
    _refuse_running(folder)


def _refuse_running(folder: Path) -> None:
    """UsageError where a process is training into the folder, or that of one of its seeds, now."""
    from policies.durable import at_work

    for place in (folder, *sorted(folder.glob("seed-*"))):
        if at_work(place):
            raise UsageError(f"{place}: another process is training into this folder; stop it first")


def replacing_training(folder: Path, *, force: bool) -> AbstractContextManager[None]:
    """With `force` put a training aside while a new one begins; it comes back when nothing new was written."""
    # Without, what is there by now was begun since it was looked at: its lock says so.
    return put_aside(folder, is_training, has_begun) if force else nullcontext()


def has_begun(folder: Path) -> bool:
    """Whether anything that a training learned is in `folder` (or in that of one of its seeds)."""
    return any(next(folder.glob(pattern), None) is not None for pattern in
               ("metrics.csv", "checkpoints/*", "bundle/bundle.json", "seed-*/metrics.csv", "seed-*/checkpoints/*"))


def is_training(folder: Path) -> bool:
    """Whether a training was begun in `folder`."""
    return any(next(folder.glob(mark), None) is not None for mark in _MARKS)
