"""Makes ``scenarios/profiles/anm6_easy.csv``: the daily cycle of gym-anm's ANM6-Easy task, and its row of the index.

    python docs/data/make_anm6_profile.py          (after make_profiles.py, which writes the index anew)

The task's five series (R. Henry, D. Ernst, Gym-ANM, Energy and AI 5, 2021, 100092, appendix; gym-anm 2.0.1, MIT
licence, gym_anm/envs/anm6_env/anm6_easy.py) are three levels a day, night, shoulder and noon, mirrored in the
afternoon, with a ramp of seven quarters between two levels.  The levels and the ends of the ramps below are the task's,
in MW, its oddities too: the ramp of the sun overshoots what the plant can do (36.75 MW; it is cut at 30), and one of
the wind's ramps starts at 14.725 where the other ends at 14.625.  `time_of_day_pu` is the time that the task's agent
sees: the quarter of the day, per 96.  Tests compare the file with the installed `gym_anm`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

OUT = Path(__file__).resolve().parents[2] / "scenarios" / "profiles"
FILE = "anm6_easy.csv"
NIGHT, RAMP, HOLD, EVENING, QUARTERS = 25, 7, 13, 4, 96
SOURCE = "gym-anm 2.0.1, ANM6-Easy (Robin Henry, Damien Ernst), copyright (c) 2020 Robin Henry"
HEADER = (
    "# The daily cycle of gym-anm's ANM6-Easy task (gym-anm 2.0.1, copyright (c) 2020 Robin Henry, MIT licence):",
    "# per unit of the ratings in scenarios/anm6_easy.yaml; consumption and generation are positive.",
)


@dataclass(frozen=True, slots=True)
class Cycle:
    """Night, shoulder and noon levels, the ends of the ramps between them, and the rating, all MW."""

    levels: tuple[float, float, float]
    up: tuple[float, float]
    to_noon: tuple[float, float]
    rated_mw: float

    def per_unit(self) -> NDArray[np.float64]:
        """The day's quarters (96,), per unit of the rating."""
        night, shoulder, noon = self.levels
        up, to_noon = np.linspace(*self.up, RAMP), np.linspace(*self.to_noon, RAMP)
        morning = (np.full(NIGHT, night), up, np.full(HOLD, shoulder), to_noon)
        evening = (to_noon[::-1], np.full(HOLD, shoulder), up[::-1], np.full(EVENING, night))
        day: NDArray[np.float64] = np.concatenate((*morning, np.full(HOLD, noon), *evening))
        return day / self.rated_mw


CYCLES = {
    "homes_p_pu": Cycle((1.0, 5.0, 2.0), (1.5, 4.5), (4.625, 2.375), 10.0),
    "industry_p_pu": Cycle((4.0, 10.0, 20.0), (4.75, 9.25), (11.25, 18.75), 30.0),
    "ev_p_pu": Cycle((0.0, 25.0, 0.0), (3.125, 21.875), (21.875, 3.125), 30.0),
    "pv_p_pu": Cycle((0.0, 4.0, 30.0), (0.5, 3.5), (7.25, 36.75), 30.0),
    "wind_p_pu": Cycle((40.0, 11.0, 40.0), (36.375, 14.625), (14.725, 36.375), 50.0),
}


def columns() -> dict[str, NDArray[np.float64]]:
    """Every column of the file (96,), in order."""
    return {name: cycle.per_unit() for name, cycle in CYCLES.items()} | {
        "time_of_day_pu": np.arange(QUARTERS) / QUARTERS}


def text() -> str:
    """The file; numbers have as many digits as it takes to read them back to the bit."""
    table = columns()
    rows = [",".join([str(900 * k), *(repr(float(values[k])) for values in table.values())]) for k in range(QUARTERS)]
    return "\n".join([*HEADER, ",".join(["t_s", *table]), *rows]) + "\n"


def main() -> None:
    """Write the file and its entry."""
    (OUT / FILE).write_text(text(), encoding="utf-8")
    index = OUT / "datasets.json"
    entries = json.loads(index.read_text(encoding="utf-8"))["datasets"]
    mine = {"name": "anm6_easy", "file": FILE,
            "summary": "The daily cycle of gym-anm's ANM6-Easy: loads, PV, wind, time", "source": SOURCE,
            "licence": "MIT", "columns": list(columns())}
    kept = [entry for entry in entries if entry["name"] != "anm6_easy"]
    index.write_text(json.dumps({"datasets": [*kept, mine]}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
