"""Makes ``scenarios/profiles/`` from the installed ``simbench`` package: run it again and the same files come out.

    pip install simbench && python docs/data/make_profiles.py

Nothing of the loads and plants is synthesised, smoothed or scaled: every number is a cell of SimBench's
``LoadProfile.csv`` or ``RESProfile.csv`` (year 2016, 15-minute steps), under another column name.  The one thing made
up is `simbench_price`: an hourly price worked out of those cells by the formula in `prices_eur_mwh`, for lack of a
measured price series with a clear licence that is there offline.  Times: SimBench writes German civil time
(on 27 March 02:00 is missing, on 30 October it appears twice), so its rows are even in UTC; `read_simbench` checks
every label.  The day and week files count seconds from local midnight, the year file has UTC stamps.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

OUT = Path(__file__).resolve().parents[2] / "scenarios" / "profiles"
GRID = "1-complete_data-mixed-all-0-sw"
LOADS = ("H0-A", "H0-B", "G0-A", "G3-A", "L1-A", "L2-A")
PLANTS = ("PV3", "PV4", "PV5", "PV8", "WP4", "WP7")
YEAR_LOADS = ("H0-A", "G0-A", "L2-A")
YEAR_PLANTS = ("PV3", "PV5", "WP4", "WP7")
#: Energy shares of the made-up system that the price belongs to: loads, and what wind and sun cover of them.
PRICE_LOADS = {"h0_a_p_pu": 0.40, "g0_a_p_pu": 0.40, "l2_a_p_pu": 0.20}
PRICE_WIND, PRICE_SUN = {"wp4_p_pu": 0.15, "wp7_p_pu": 0.15}, {"pv3_p_pu": 0.10, "pv5_p_pu": 0.10}
HOUR_ROWS = 4
STEP_S = 900
DAY_ROWS = 96
PRICE = "price_eur_mwh"
START = datetime(2015, 12, 31, 23, tzinfo=UTC)  # 2016-01-01 00:00 in Germany
CIVIL = ZoneInfo("Europe/Berlin")
SOURCE = "SimBench 1.6 (University of Kassel, TU Dortmund, RWTH Aachen University, Fraunhofer IEE), year 2016"
LICENCE = "ODbL-1.0"

Floats = NDArray[np.float64]
Columns = dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Source:
    """SimBench's year: ``columns`` (35136,) each under our names, and the row of each local midnight."""

    columns: Columns
    midnights: dict[date, int]


def simbench_folder() -> Path:
    """The folder of SimBench's CSV files, found without importing it (that would import pandapower)."""
    spec = importlib.util.find_spec("simbench")
    if spec is None or spec.origin is None:
        raise SystemExit("simbench is not installed: pip install simbench")
    return Path(spec.origin).parent / "networks" / GRID


def our_name(theirs: str) -> str:
    """H0-A_pload -> h0_a_p_pu, PV3 -> pv3_p_pu."""
    base, _, kind = theirs.partition("_")
    return f"{base.lower().replace('-', '_')}_{kind[:1] or 'p'}_pu"


def source_names() -> dict[str, str]:
    """Our name of each SimBench column that is taken, loads first."""
    loads = [f"{load}_{kind}load" for load in LOADS for kind in "pq"]
    return {our_name(name): name for name in [*loads, *PLANTS]}


def read_table(name: str, columns: list[str]) -> dict[str, list[str] | Floats]:
    """Columns of one SimBench file: times as text, the rest as float64."""
    table = pacsv.read_csv(
        simbench_folder() / name,
        parse_options=pacsv.ParseOptions(delimiter=";"),
        convert_options=pacsv.ConvertOptions(
            include_columns=["time", *columns],
            column_types={"time": pa.string(), **dict.fromkeys(columns, pa.float64())},
        ),
    )
    return {key: table[key].to_pylist() if key == "time" else table[key].to_numpy() for key in table.column_names}


def read_simbench() -> Source:
    """Read and check SimBench's year."""
    names = source_names()
    loads = read_table("LoadProfile.csv", [n for n in names.values() if n.endswith("load")])
    plants = read_table("RESProfile.csv", [n for n in names.values() if not n.endswith("load")])
    instants = [START + timedelta(seconds=STEP_S * i) for i in range(len(loads["time"]))]
    civil = [instant.astimezone(CIVIL) for instant in instants]
    labels = [moment.strftime("%d.%m.%Y %H:%M") for moment in civil]
    if loads["time"] != labels or plants["time"] != labels:
        raise SystemExit("SimBench's time labels are not German civil time of 2016 any more: look at the data")
    table = {**loads, **plants}
    columns = {ours: np.asarray(table[theirs], dtype=np.float64) for ours, theirs in names.items()}
    midnights = {moment.date(): row for row, moment in enumerate(civil) if (moment.hour, moment.minute) == (0, 0)}
    return Source(columns, midnights)


def weekdays(source: Source, months: tuple[int, ...]) -> list[date]:
    """Mondays to Fridays in these months, with the following midnight inside the year."""
    return [
        day
        for day in source.midnights
        if day.month in months and day.weekday() < 5 and day + timedelta(days=1) in source.midnights
    ]


def day_values(source: Source, day: date, names: list[str]) -> Floats:
    """(96, k) of one day."""
    row = source.midnights[day]
    return np.column_stack([source.columns[name][row : row + DAY_ROWS] for name in names])


def choose_summer_day(source: Source) -> date:
    """Clear and variable: of the ten weekdays of June to August with the most PV energy, the one whose PV curves bend
    most (sum over the plants of the absolute second differences: clouds passing, not the slope of the sun)."""
    names = [our_name(plant) for plant in PLANTS if plant.startswith("PV")]
    days = weekdays(source, (6, 7, 8))
    sunny = sorted(days, key=lambda day: (-day_values(source, day, names).sum(), day))[:10]
    return max(sunny, key=lambda day: float(np.abs(np.diff(day_values(source, day, names), n=2, axis=0)).sum()))


def choose_winter_day(source: Source) -> date:
    """Heavy load: the weekday of December to February with the highest quarter-hour sum of the six active powers."""
    names = [our_name(f"{load}_pload") for load in LOADS]
    return max(weekdays(source, (12, 1, 2)), key=lambda day: float(day_values(source, day, names).sum(axis=1).max()))


def write_csv(source: Source, name: str, first: date, days: int) -> None:
    """``days`` days from local midnight of ``first``, with the closing midnight; the source's digits, unrounded."""
    row = source.midnights[first]
    count = days * DAY_ROWS + 1
    lines = [
        f"# Contains information from SimBench (https://simbench.net), {first} and {days} day(s) from local midnight.",
        "# Made available under the Open Database License (ODbL) 1.0: see LICENSE-simbench.md",
        ",".join(["t_s", *source.columns]),
    ]
    for i in range(count):
        cells = [f"{column[row + i]:.9g}" for column in source.columns.values()]
        lines.append(",".join([str(i * STEP_S), *cells]))
    (OUT / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def year_columns(source: Source) -> Columns:
    """The fewer columns of the year file."""
    theirs = [f"{load}_{kind}load" for load in YEAR_LOADS for kind in "pq"] + list(YEAR_PLANTS)
    return {our_name(name): source.columns[our_name(name)] for name in theirs}


def prices_eur_mwh(columns: Columns) -> Floats:
    """A price (35136,) that a system of these loads and plants could have; constant within each hour.

    Every column is brought to mean 1.  Residual load r = loads - wind - sun, with the shares above, as the mean of each
    clock hour: 0.5 on average.  Merit order: 70 r + 20 + 30 max(r - 1, 0)², not below 0, in EUR/MWh to the
    cent: a straight line through base and mid load, steeper where the last plants set the price, nothing when wind and
    sun cover all.
    """

    def weighted(shares: dict[str, float]) -> Floats:
        return np.sum([share * columns[name] / columns[name].mean() for name, share in shares.items()], axis=0)

    residual = weighted(PRICE_LOADS) - weighted(PRICE_WIND) - weighted(PRICE_SUN)
    hourly = residual.reshape(-1, HOUR_ROWS).mean(axis=1)
    price = np.maximum(70.0 * hourly + 20.0 + 30.0 * np.maximum(hourly - 1.0, 0.0) ** 2, 0.0)
    return np.repeat(np.round(price, 2), HOUR_ROWS)


def write_year(source: Source) -> None:
    """The whole year of loads and plants, and that of the price."""
    write_parquet("simbench_year", year_columns(source))
    write_parquet("simbench_price", {PRICE: prices_eur_mwh(source.columns)})


def write_parquet(name: str, columns: Columns) -> None:
    """Columns of a year as float32 (7 digits), zstd; byte-stream split halves what zstd leaves of floats."""
    count = len(next(iter(columns.values())))
    start_us = int(START.timestamp()) * 1_000_000
    times = pa.array(start_us + np.arange(count, dtype=np.int64) * STEP_S * 1_000_000, pa.timestamp("us", "UTC"))
    arrays = {"time": times, **{name: pa.array(values.astype(np.float32)) for name, values in columns.items()}}
    note = {"source": SOURCE, "licence": f"{LICENCE}, see LICENSE-simbench.md"}
    table = pa.table(arrays).replace_schema_metadata(note)
    encodings = {"time": "DELTA_BINARY_PACKED"} | dict.fromkeys(columns, "BYTE_STREAM_SPLIT")
    pq.write_table(
        table,
        OUT / f"{name}.parquet",
        compression="zstd",
        compression_level=19,
        use_dictionary=False,
        column_encoding=encodings,
    )


def entry(name: str, file: str, summary: str, columns: list[str]) -> dict[str, object]:
    """One row of the index."""
    return {"name": name, "file": file, "summary": summary, "source": SOURCE, "licence": LICENCE, "columns": columns}


def main() -> None:
    """Write all files and the index."""
    OUT.mkdir(parents=True, exist_ok=True)
    source = read_simbench()
    summer, winter = choose_summer_day(source), choose_winter_day(source)
    monday = summer - timedelta(days=summer.weekday())
    write_csv(source, "simbench_day_summer", summer, 1)
    write_csv(source, "simbench_day_winter", winter, 1)
    write_csv(source, "simbench_week_summer", monday, 7)
    write_year(source)
    names = list(source.columns)
    entries = [
        entry(
            "simbench_day_summer",
            "simbench_day_summer.csv",
            f"{summer:%A} {summer}: a sunny day with passing clouds; loads, PV, wind",
            names,
        ),
        entry(
            "simbench_day_winter",
            "simbench_day_winter.csv",
            f"{winter:%A} {winter}: the winter day with the highest load; loads, PV, wind",
            names,
        ),
        entry(
            "simbench_week_summer",
            "simbench_week_summer.csv",
            f"Monday {monday} to Sunday: the week around the summer day",
            names,
        ),
        entry(
            "simbench_year",
            "simbench_year.parquet",
            "All of 2016 with UTC stamps, fewer columns",
            list(year_columns(source)),
        ),
        entry(
            "simbench_price",
            "simbench_price.parquet",
            "A made-up hourly price of 2016, worked out of SimBench's loads, wind and sun; UTC stamps",
            [PRICE],
        ),
    ]
    index = OUT / "datasets.json"
    before = json.loads(index.read_text(encoding="utf-8"))["datasets"] if index.exists() else []
    others = [row for row in before if not row["name"].startswith("simbench_")]
    index.write_text(json.dumps({"datasets": [*entries, *others]}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
