"""Pieces of HTML and numbers for people.  Whatever comes from a scenario passes through `text`, here or in a caller."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite
from typing import Any

MISSING = "—"
MINUS, TIMES, TO = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
#: Longer strings are cut in tables and axes; the manifest holds them whole.
MAX_TEXT = 120


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing: `finding` says what it shows (it is the title), `caption` how to read it.

    `figure` is {"data": […], "layout": {…}} of plotly.js; `height` is in pixels.  Finding and caption are HTML.
    """

    finding: str
    figure: dict[str, Any]
    caption: str = ""
    height: int = 320


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: `parts` are charts and HTML, in order."""

    anchor: str
    title: str
    parts: tuple[Chart | str, ...]


def text(value: object, most: int = MAX_TEXT) -> str:
    """Any value as HTML text, also safe between quotes; cut where it is longer than `most`."""
    words = str(value)
    return escape(words if len(words) <= most else f"{words[:most - 1]}…", quote=True)


def label(value: object, most: int = 40) -> str:
    """Any value as a label of a plot: plotly.js reads tags and templates there, and knows no &quot;."""
    words = str(value)
    return escape(words if len(words) <= most else f"{words[:most - 1]}…", quote=False).replace("%{", "%&#123;")


def number(value: object, digits: int = 3) -> str:
    """`digits` significant digits, whole numbers from 1,000 on, no exponents; a dash for what is no number."""
    if not isinstance(value, int | float) or not isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-6:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    whole = len(str(int(size))) if size >= 1 else 0
    leading = 0 if size >= 1 else len(f"{size:.12f}".split(".")[1]) - len(f"{size:.12f}".split(".")[1].lstrip("0"))
    places = max(0, digits - whole + leading)
    words = f"{value:,.{places}f}"
    words = words.rstrip("0").rstrip(".") if "." in words else words
    return words.replace("-", MINUS)


def count(value: int) -> str:
    """A whole number with thousands apart."""
    return f"{value:,}"


def pu(value: object) -> str:
    """A voltage: four decimals, as meters give it."""
    return f"{value:.4f}" if isinstance(value, int | float) and isfinite(value) else MISSING


def energy(kwh: object) -> str:
    """An energy with the unit that keeps it short."""
    if not isinstance(kwh, int | float) or not isfinite(kwh):
        return MISSING
    for size, unit in ((1e7, "GWh"), (1e4, "MWh")):
        if abs(kwh) >= size:
            return f"{number(kwh / (1e6 if unit == 'GWh' else 1e3))} {unit}"
    return f"{number(kwh)} kWh"


def bus(name: str, word: str = "bus") -> str:
    """``bus 18``, not yet escaped; ``Bus_7`` stays as it is."""
    return name if name.lower().startswith("bus") else f"{word} {name}"


def plural(n: int, one: str, many: str = "") -> str:
    """``1 bus``, ``2 buses``."""
    return f"{count(n)} {one if n == 1 else many or f'{one}s'}"


def note(words: str, kind: str = "note") -> str:
    """A paragraph (HTML) that says what is not there, or a warning."""
    return f'<p class="{kind}">{words}</p>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = (), caption: str = "") -> str:
    """A table; cells are HTML; columns in `numeric` are set right."""
    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(f'<{tag}{" class=num" if i in numeric else ""}>{cell}</{tag}>' for i, cell in enumerate(cells))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    title = f"<caption>{caption}</caption>" if caption else ""
    return (f'<div class="scroll"><table>{title}<thead><tr>{line(head, "th")}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")


def folded(summary: str, content: str) -> str:
    """Content that opens on a click."""
    return f"<details><summary>{summary}</summary>{content}</details>"
