"""Column names of a profile file: the time column, units from suffixes, choice with did-you-mean."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from cosim.datasets.findings import Findings

TIME_COLUMNS = ("t_s", "time")

UNIT_SUFFIXES = (
    # Longest first: the first suffix that fits wins.
    "eur_mwh",
    "eur_kwh",
    "eur_kw",
    "w_m2",
    "kw_m2",
    "loading",
    "degc",
    "kvarh",
    "mvar",
    "kvar",
    "kva",
    "mva",
    "kwh",
    "mwh",
    "deg",
    "pct",
    "m_s",
    "kw",
    "mw",
    "pu",
    "hz",
    "kv",
    "w",
    "v",
    "a",
    "c",
    "s",
    "h",
)
"""Units a column name may end in, as written after the last underscore(s): ``pv_south_p_kw`` is in ``kw``."""


def unit_of(column: str) -> str:
    """The unit in which a column is given, from the end of its name; "" where the name states none."""
    for suffix in UNIT_SUFFIXES:
        if column == suffix or column.endswith("_" + suffix):
            return suffix
    return ""


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A sentence with near names, or else with the known ones (at most 12), for the end of a message."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(other) for other in near) + "?"
    more = f" and {len(known) - 12} more" if len(known) > 12 else ""
    return "known: " + (", ".join(repr(other) for other in known[:12]) or "none") + more


def choose_columns(names: Sequence[str], wanted: Sequence[str] | None, findings: Findings, line: int) -> list[str]:
    """The value columns to read, in the order asked for (all, in file order, where ``wanted`` is None).

    ``names`` is the whole header, the time column first.  Problems go to ``findings``; the result is usable
    only where none was added.
    """
    if not names or names[0] not in TIME_COLUMNS:
        found = repr(names[0]) if names else "nothing"
        findings.add(
            "profile-header",
            f"the first column is {found}, expected 't_s' (seconds from the start, "
            "numbers) or 'time' (ISO 8601 time stamps)",
            line,
            1,
        )
    for index, name in enumerate(names):
        if not name:
            findings.add(
                "profile-header",
                f"column {index + 1} has no name; name it or remove the separator at the end of the line",
                line,
                index + 1,
            )
        elif name in names[:index]:
            findings.add("profile-header", f"column {name!r} appears twice; names must differ", line, index + 1)
    present = list(names[1:])
    if not present:
        findings.add(
            "profile-header",
            "there is no value column after the time column; expected at least one such as 'load_p_kw'",
            line,
            1,
        )
    for name in wanted or ():
        if name not in present:
            findings.add("profile-columns", f"there is no column {name!r}; {did_you_mean(name, present)}", line, 1)
    return present if wanted is None else list(dict.fromkeys(wanted))
