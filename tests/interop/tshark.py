"""tshark as the judge of a capture: what it calls malformed, and which requests it finds no answer to."""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

#: Longest that tshark may take to read a capture.
READ_S = 60.0
_FIELDS = ("frame.number", "tcp.stream", "tcp.srcport", "mbtcp.trans_id", "modbus.func_code", "modbus.request_frame",
           "modbus.exception_code", "_ws.malformed", "mbtcp.cannot_classify", "mbrtu.crc16.incorrect", "_ws.col.Info")


@dataclass(slots=True)
class Dissection:
    """What tshark made of a capture."""

    packets: int = 0
    bad: list[str] = field(default_factory=list)
    """Frames that are malformed, have a wrong CRC or cannot be told from each other."""
    queries: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By stream and transaction (0 on lines); the same of answers."""
    responses: Counter[tuple[str, str]] = field(default_factory=Counter)
    exceptions: Counter[str] = field(default_factory=Counter)
    functions: Counter[str] = field(default_factory=Counter)


def dissect(capture: Path, *options: str) -> Dissection:
    """Read a capture; `options` tell tshark which ports are Modbus."""
    fields = [word for name in _FIELDS for word in ("-e", name)]
    done = subprocess.run(["tshark", "-n", "-r", str(capture), *options, "-T", "fields", "-E", "separator=|",
                           "-E", "occurrence=a", "-E", "aggregator=,", *fields], capture_output=True, text=True,
                          timeout=READ_S, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr
    found = Dissection()
    for line in done.stdout.splitlines():
        _add(found, line)
    return found


def _add(found: Dissection, line: str) -> None:
    _, stream, _, transactions, functions, _, exceptions, malformed, unclear, crc, info = line.split("|", 10)
    found.packets += 1
    if malformed or unclear or crc or "Malformed" in info:
        found.bad.append(line)
    for code in filter(None, exceptions.split(",")):
        found.exceptions[code] += 1
    for code in filter(None, functions.split(",")):
        found.functions[code] += 1
    if not functions:
        return
    side = found.queries if info.lstrip().startswith("Query") else found.responses
    for transaction in transactions.split(",") if transactions else ["0"] * len(functions.split(",")):
        side[stream, transaction] += 1


def check(found: Dissection) -> None:
    """Nothing malformed, and every query has its response."""
    assert not found.bad, found.bad[:10]
    assert found.queries, "a capture without requests proves nothing"
    assert found.queries == found.responses, (found.queries - found.responses, found.responses - found.queries)
