"""Names of grid elements: the network's own where they are usable, else the index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def element_names(own: Iterable[object], index: Sequence[object]) -> tuple[str, ...]:
    """Own names with blanks as "_" where all are non-empty and unique, else the index as text (one rule a table)."""
    names = tuple("_".join(str(name).split()) for name in own)
    blank = {"", "None", "nan", "NaN", "<NA>"}
    if len(names) == len(index) and len(set(names)) == len(names) and not blank.intersection(names):
        return names
    return tuple(str(label) for label in index)


def numbered(names: Iterable[str]) -> tuple[str, ...]:
    """The names with "_2", "_3" … added to the second, third … of the same name."""
    seen: dict[str, int] = {}
    unique: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return tuple(unique)
