"""Logs to try things on."""

from __future__ import annotations

from pathlib import Path

from cosim.audit import AuditLog, Seal

HEADER: dict[str, str | int] = {"name": "trial", "seed": 3}


def fill(log: AuditLog, count: int = 6, first: int = 0) -> None:
    """The records `first` .. `count` - 1 of a run that is always the same."""
    for number in range(first, count):
        log.append(number * 1000, "decision" if number % 3 else "command", f"pv{number}", "asked \"40\" kW → 30 kW",
                   asked_kw=40.0 + number, applied_kw=float("nan") if number == 2 else 30.0)


def written(path: Path, count: int = 6) -> Seal:
    """A closed log."""
    log = AuditLog(path, HEADER, lambda: "2026-01-02T03:04:05Z")
    fill(log, count)
    return log.close()
