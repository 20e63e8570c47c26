"""What `gridloop modbus` prints: tables for people, rows for machines."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from gateways.modbus.bank import Table
from gateways.pointlist.address import SHORT, Place, place_of
from hil.scada.person import Row, Written
from hil.scada.probe import UnitFound, model_name

COLUMNS = ("tag", "unit", "address", "value", "units", "quality", "raw", "trouble")
_IDENTIFICATION = {0: "vendor", 1: "product code", 2: "revision", 3: "vendor URL", 4: "product name", 5: "model name",
                   6: "application name"}


def poll_table(rows: list[Row]) -> str:
    """One line a value."""
    cells = [("tag", "address", "value", "units", "quality", "raw")]
    cells += [(row.tag, str(row.place), row.shown, row.units, row.quality, row.trouble or row.raw.hex(" "))
              for row in rows]
    if all(row.tag == str(row.place) for row in rows):
        cells = [line[1:] for line in cells]  # type: ignore[misc]  # of one length
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    value = cells[0].index("value")
    return "\n".join("  ".join(cell.rjust(width) if i == value else cell.ljust(width)
                               for i, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
                     for line in cells)


def poll_csv(rows: list[Row], *, with_header: bool) -> str:
    """The same as CSV, without the last line's end."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if with_header:
        writer.writerow(COLUMNS)
    writer.writerows([row.tag, row.unit, f"{SHORT[row.place.table]} {row.place.address}",
                      "" if row.trouble or row.shown == "—" else row.shown, row.units, row.quality, row.raw.hex(),
                      row.trouble] for row in rows)
    return out.getvalue().rstrip("\n")


def row_data(row: Row) -> dict[str, Any]:
    """One value as plain data."""
    return {"tag": row.tag, "unit": row.unit, "table": SHORT[row.place.table], "address": row.place.address,
            "place": str(row.place), "value": None if math.isnan(row.value) else row.value, "shown": row.shown,
            "units": row.units, "quality": row.quality, "raw": row.raw.hex(), "trouble": row.trouble}


def written_text(done: list[Written]) -> str:
    """One paragraph a write."""
    return "\n".join(f"{_titled(w)}, unit {w.entry.unit}\n"
                     f"  before    {w.before}\n"
                     f"  sent      {w.asked:g} {w.entry.units}".rstrip() + f"  [{w.sent.hex(' ')}]\n"
                     f"  answer    {w.answer}  [{w.received.hex(' ')}]\n"
                     f"  now       {w.after}" for w in done)


def _titled(w: Written) -> str:
    place = str(place_of(w.entry))
    return place if w.entry.tag == place else f"{w.entry.tag}, {place}"


def written_data(w: Written) -> dict[str, Any]:
    """One write as plain data."""
    return {"tag": w.entry.tag, "place": str(place_of(w.entry)), "unit": w.entry.unit, "asked": w.asked,
            "before": w.before, "sent": w.sent.hex(), "received": w.received.hex(), "answer": w.answer,
            "taken": w.is_taken, "after": w.after}


def found_text(found: list[UnitFound]) -> str:
    """What a scan found, by unit."""
    return "\n".join(line for unit in found for line in _unit_lines(unit)) or "no unit answers"


def _unit_lines(unit: UnitFound) -> list[str]:
    lines = [f"unit {unit.unit}"]
    lines += [f"  {_IDENTIFICATION.get(key, f'object {key}'):<13} {value}"
              for key, value in sorted(unit.identification.items())]
    for table, tried in unit.tables.items():
        notes = [tried.note] if tried.note else []
        notes += [f"{tried.bad} with exception 04"] if tried.bad else []
        note = f"  ({'; '.join(notes)})" if notes else ""
        lines.append(f"  {SHORT[table]:<13} {', '.join(_span(table, *r) for r in tried.ranges) or 'nothing'}{note}")
    if unit.sunspec_base is not None:
        lines.append(f"  SunSpec       marker at {unit.sunspec_base}, {len(unit.models)} models")
        lines += [f"    model {model:<6} at {at:<6} {length:>4} registers  {model_name(model)}".rstrip()
                  for model, at, length in unit.models]
    return lines


def _span(table: Table, first: int, last: int) -> str:
    if first == last:
        return str(Place(table, first))
    return f"{first} to {last} ({last - first + 1}; first is {Place(table, first)})"


def found_data(unit: UnitFound) -> dict[str, Any]:
    """One unit as plain data."""
    return {"unit": unit.unit, "identification": {str(k): v for k, v in sorted(unit.identification.items())},
            "tables": {SHORT[table]: {"ranges": [list(r) for r in tried.ranges], "exception_04": tried.bad,
                                      "note": tried.note} for table, tried in unit.tables.items()},
            "sunspec": None if unit.sunspec_base is None else {
                "base": unit.sunspec_base, "models": [{"model": m, "address": at, "length": length}
                                                      for m, at, length in unit.models]}}
