"""The shipped extracts against the installed simbench package, cell by cell and in sums."""

from __future__ import annotations

import importlib.util
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from cosim.datasets import datasets, load_profile
from cosim.datasets.registry import SHIPPED

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("simbench") is None, reason="simbench is not installed: pip install simbench"
)

ROWS_A_DAY = 96
PRICE = "price_eur_mwh"


def theirs(column: str) -> tuple[str, str]:
    """SimBench's file and column for one of ours: h0_a_p_pu is H0-A_pload, pv3_p_pu is PV3."""
    *words, kind, _ = column.split("_")
    name = "-".join(words).upper()
    return ("LoadProfile.csv", f"{name}_{kind}load") if len(words) == 2 else ("RESProfile.csv", name)


@pytest.fixture(scope="module")
def source() -> dict[str, np.ndarray]:
    """The columns we ship, read from simbench, under our names, and the time labels."""
    spec = importlib.util.find_spec("simbench")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "networks" / "1-complete_data-mixed-all-0-sw"
    entries = [entry for entry in datasets() if entry.name.startswith("simbench_")]
    ours = sorted({column for entry in entries for column in entry.columns} - {PRICE})
    result: dict[str, np.ndarray] = {}
    for file in ("LoadProfile.csv", "RESProfile.csv"):
        names = {theirs(column)[1]: column for column in ours if theirs(column)[0] == file}
        options = pacsv.ConvertOptions(include_columns=["time", *names], column_types={"time": pa.string()})
        table = pacsv.read_csv(folder / file, parse_options=pacsv.ParseOptions(delimiter=";"), convert_options=options)
        result |= {column: table[name].to_numpy() for name, column in names.items()}
        result["time"] = np.array(table["time"].to_pylist())
    return result


@pytest.mark.parametrize(
    ("name", "day", "days"),
    [
        ("simbench_day_summer", date(2016, 6, 13), 1),
        ("simbench_day_winter", date(2016, 2, 17), 1),
        ("simbench_week_summer", date(2016, 6, 13), 7),
    ],
)
def test_days_equal_simbench(source: dict[str, np.ndarray], name: str, day: date, days: int) -> None:
    """Each cell is SimBench's to nine digits and belongs to the local time the file claims."""
    profile = load_profile(SHIPPED / f"{name}.csv")
    labels = [(datetime(day.year, day.month, day.day) + timedelta(minutes=15 * i)).strftime("%d.%m.%Y %H:%M")  # noqa: DTZ001
              for i in range(days * ROWS_A_DAY + 1)]  # fmt: skip
    first = int(np.flatnonzero(source["time"] == labels[0])[0])
    part = slice(first, first + len(labels))
    assert source["time"][part].tolist() == labels
    assert profile.t_us.tolist() == [900_000_000 * i for i in range(len(labels))]
    for index, column in enumerate(profile.columns):
        np.testing.assert_allclose(profile.values[:, index], source[column][part], rtol=1e-8, atol=1e-12)
        assert profile.values[:, index].sum() == pytest.approx(source[column][part].sum(), rel=1e-8)


def test_year_equals_simbench(source: dict[str, np.ndarray]) -> None:
    """The year holds every row to seven digits, and its stamps are German midnight in UTC."""
    profile = load_profile(SHIPPED / "simbench_year.parquet")
    assert profile.epoch_us == int(datetime(2015, 12, 31, 23, tzinfo=UTC).timestamp()) * 1_000_000
    for index, column in enumerate(profile.columns):
        np.testing.assert_allclose(profile.values[:, index], source[column], rtol=1e-6, atol=1e-9)
        assert profile.values[:, index].sum() == pytest.approx(source[column].sum(), rel=1e-6)


def test_year_and_day_agree(source: dict[str, np.ndarray]) -> None:
    """The summer day found in the year by its instant is the summer day's file: time zones are right."""
    year, day = load_profile(SHIPPED / "simbench_year.parquet"), load_profile(SHIPPED / "simbench_day_summer.csv")
    row = int(np.searchsorted(year.t_us, year.offset_us("2016-06-13T00:00:00+02:00")))
    for column in ("pv5_p_pu", "h0_a_p_pu", "wp4_p_pu"):
        part = year.values[row : row + ROWS_A_DAY + 1, year.columns.index(column)]
        np.testing.assert_allclose(part, day.values[:, day.columns.index(column)], rtol=1e-6, atol=1e-9)


def test_price_follows_its_formula(source: dict[str, np.ndarray]) -> None:
    """The made-up price is what the README says: a merit order over the hourly residual load, to the cent."""
    shares = {"h0_a_p_pu": 0.4, "g0_a_p_pu": 0.4, "l2_a_p_pu": 0.2, "wp4_p_pu": -0.15, "wp7_p_pu": -0.15,
              "pv3_p_pu": -0.1, "pv5_p_pu": -0.1}
    residual = sum(share * source[name] / source[name].mean() for name, share in shares.items())
    r = np.asarray(residual).reshape(-1, 4).mean(axis=1).repeat(4)
    expected = np.maximum(70 * r + 20 + 30 * np.maximum(r - 1, 0) ** 2, 0)
    price = load_profile(SHIPPED / "simbench_price.parquet").values[:, 0]
    np.testing.assert_allclose(price, expected, atol=0.00502)
    assert 50 < price.mean() < 70
