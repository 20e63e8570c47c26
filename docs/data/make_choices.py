"""Writes what `scenarios/reconfigure_33.yaml` has too much of to write by hand: breakers, timetable, choices.

    python docs/data/make_choices.py breakers | timetable | choices

Every branch of case33bw that lies on a loop belongs to one of five groups; a choice opens one branch of a group and
closes the others of it.  A group is made of chains: branches one after another without a junction between them.  Two
open branches in one chain would leave what lies between them without supply, so no chain is in two groups.  With
these groups every combination of one open branch a group is a tree (`benchmarks.yardsticks.reconfigure` tries all
14,784), and the branches of the best configuration (7, 9, 14, 32, 37) are in five different ones.
"""

from __future__ import annotations

import sys

#: Branch numbers as in Baran and Wu: 33 to 37 are the tie lines.
GROUPS: dict[str, tuple[int, ...]] = {
    "west": (2, 18, 19, 20, 6, 7, 33),
    "top": (12, 13, 14, 34),
    "middle": (8, 9, 10, 11, 21, 35),
    "end": (15, 16, 17, 36, 32, 31, 30, 29),
    "east": (3, 4, 5, 22, 23, 24, 37, 28, 27, 26, 25),
}
#: From the feeder as it is to its best configuration, a tree at every step: (branch to open, branch to close).
EXCHANGES = ((9, 35), (7, 33), (14, 34), (32, 36))
ENDS = (
    "1-2", "2-3", "3-4", "4-5", "5-6", "6-7", "7-8", "8-9", "9-10", "10-11", "11-12", "12-13", "13-14", "14-15",
    "15-16", "16-17", "17-18", "2-19", "19-20", "20-21", "21-22", "3-23", "23-24", "24-25", "6-26", "26-27",
    "27-28", "28-29", "29-30", "30-31", "31-32", "32-33", "21-8", "9-15", "12-22", "18-33", "25-29",
)


def named(number: int) -> str:
    """A breaker is called after its group and the number of its branch; branch 1 lies on no loop."""
    group = next((group for group, members in GROUPS.items() if number in members), "root")
    return f"cb_{group}_{number}"


def breakers() -> list[str]:
    """A breaker for each branch."""
    return [f'  - {{kind: breaker, name: {named(number)}, line: "{ends}"}}' for number, ends in enumerate(ENDS, 1)]


def timetable() -> list[str]:
    """Rows of the schedule: time, then the positions of all 37."""
    opened, rows = [33, 34, 35, 36, 37], []
    for step, (to_open, to_close) in enumerate(((0, 0), *EXCHANGES)):
        opened = [*(number for number in opened if number != to_close), *([to_open] if to_open else [])]
        closed = ", ".join(str(int(number not in opened)) for number in range(1, 38))
        rows.append(f"        - [{600 * step}, {closed}]")
    return rows


def choices() -> list[str]:
    """The `choices` of the learner: which branch of which group is the open one."""
    return [
        f'          - {{name: {group}_{number}, set: {{"cb_{group}_*.closed": 1, {named(number)}.closed: 0}}}}'
        for group, members in GROUPS.items()
        for number in members
    ]


def main(what: str) -> None:
    """Print one of the three."""
    lines = {"breakers": breakers, "timetable": timetable, "choices": choices}[what]()
    print("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
