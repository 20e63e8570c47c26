"""Writing a command's output file: whole or not at all, and never over something by accident."""

from __future__ import annotations

import os
from pathlib import Path

from cosim.cli.outcome import UsageError


def refuse_other(path: Path, begin: str) -> None:
    """UsageError where `path` is a file that does not begin with `begin`: something else than we write there."""
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            found = file.read(len(begin.encode()))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if found.lower() not in (b"", begin.encode().lower()):
        raise UsageError(f"{path} exists already and is something else; choose another name")


def require_place(path: Path, *, force: bool) -> None:
    """UsageError where `write_new` would refuse or fail to write: for who has long work to do before."""
    beside = _beside(path)
    folder = beside.parent
    try:
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; expected the name of a file")
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: is no ordinary file; choose another name")
        _refuse_existing(path, force=force)
        if not folder.is_dir():
            raise UsageError(f"{path}: there is no folder {folder}")
        beside.touch()
        beside.unlink()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None


def write_new(path: Path, text: str, *, force: bool) -> None:
    """Write `text`; raises UsageError when the file exists (without `force`) or cannot be written."""
    _refuse_existing(path, force=force)
    beside = _beside(path)
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path.resolve())  # a link goes on to be one
    except (OSError, ValueError) as error:
        beside.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None


def _refuse_existing(path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        raise UsageError(f"{path} exists already; choose another name, or --force to replace it")


def _beside(path: Path) -> Path:
    """Where it is written before it takes its place."""
    target = path.resolve()
    return target.with_name(f".{target.name}.{os.getpid()}")
