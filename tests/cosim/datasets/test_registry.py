"""Names to files: the scenario's own folder first, then what ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosim.datasets import datasets, find_profile, load_profile
from cosim.datasets.registry import SHIPPED
from cosim.errors import ProfileError


def test_every_shipped_file_is_indexed_described_and_loads() -> None:
    """Index, folder, README and files agree; every shipped profile passes our own checks."""
    entries = datasets()
    data = {path.name for path in SHIPPED.iterdir() if path.suffix in {".csv", ".parquet"}}
    assert data == {entry.file for entry in entries}
    readme = (SHIPPED / "README.md").read_text(encoding="utf-8")
    for entry in entries:
        assert entry.summary
        assert entry.licence
        assert entry.file in readme
        profile = load_profile(find_profile(entry.name, Path("/nonexistent")))
        assert profile.columns == entry.columns
        assert set(profile.units) == {"eur_mwh" if entry.name == "simbench_price" else "pu"}
        assert profile.step_us == 900_000_000
    assert sum((SHIPPED / name).stat().st_size for name in data) < 1_500_000


def test_the_scenarios_own_file_wins(tmp_path: Path) -> None:
    """A path beside the scenario is taken before a shipped profile of the same name."""
    shipped = find_profile("simbench_day_summer.csv", tmp_path)
    assert shipped == SHIPPED / "simbench_day_summer.csv"
    own = tmp_path / "simbench_day_summer.csv"
    own.write_text("t_s,a_pu\n0,1\n1,1\n")
    assert find_profile("simbench_day_summer.csv", tmp_path) == own
    assert find_profile(str(own), Path("/nonexistent")) == own


@pytest.mark.parametrize("name", ["simbench_day_sumer", "lod.csv", "x" * 5000, "a\0b", ""])
def test_unknown_names(tmp_path: Path, name: str) -> None:
    """What is not found is refused, whatever the text; near names are given."""
    (tmp_path / "load.csv").write_text("")
    with pytest.raises(ProfileError, match="there is no profile") as caught:
        find_profile(name, tmp_path)
    hints = {"simbench_day_sumer": "'simbench_day_summer'", "lod.csv": "did you mean 'load.csv'"}
    assert hints.get(name, "known: ") in str(caught.value)


def test_a_broken_index_is_named(tmp_path: Path) -> None:
    """An index that is no index is our file's fault and says which file; none is an empty list."""
    assert datasets(tmp_path) == ()
    (tmp_path / "datasets.json").write_text('{"datasets": [{"name": "x"}]}')
    with pytest.raises(ProfileError, match=r"datasets\.json: is no index"):
        datasets(tmp_path)
