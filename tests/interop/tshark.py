"""tshark as the judge of a capture: what it calls malformed, and which requests it finds no answer to."""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

#: Longest that tshark may take to read a capture.
READ_S = 60.0
_FIELDS = ("tcp.stream", "tcp.flags.syn", "tcp.flags.fin", "mbtcp.trans_id", "modbus.func_code",
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
    opened: dict[str, None] = field(default_factory=dict)
    """Streams whose beginning was captured; the same of their ends."""
    closed: dict[str, None] = field(default_factory=dict)


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
    stream, syn, fin, transactions, functions, exceptions, malformed, unclear, crc, info = line.split("|", 9)
    found.packets += 1
    # 1 or True, by tshark's version.
    if syn in ("1", "True"):
        found.opened[stream] = None
    if fin in ("1", "True"):
        found.closed[stream] = None
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


def check(found: Dissection, *, whole_only: bool = False) -> None:
    """Nothing malformed, and every query has its response; `whole_only`: in streams captured from end to end."""
    assert not found.bad, found.bad[:10]
    assert found.queries, "a capture without requests proves nothing"
    counted = [{key: n for key, n in side.items() if not whole_only or key[0] in found.opened.keys() & found.closed}
               for side in (found.queries, found.responses)]
    queries, responses = map(Counter, counted)
    assert queries == responses, (queries - responses, responses - queries)
