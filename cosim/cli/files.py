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


def write_new(path: Path, text: str, *, force: bool) -> None:
    """Write `text`; raises UsageError when the file exists (without `force`) or cannot be written."""
    if path.exists() and not force:
        raise UsageError(f"{path} exists already; choose another name, or --force to replace it")
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except (OSError, ValueError) as error:
        beside.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
