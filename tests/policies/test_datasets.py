"""Data sets: what is recorded, that it comes back, that Minari reads it, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cosim.errors import FolderError
from policies import datasets as module
from policies.datasets import Dataset, DatasetError, Episode, load_all
from policies.demonstrations import Recording, record
from policies.training.scenario_env import scenario_env
from tests.policies.bundles import SPEC
from tests.policies.training.conftest import a_spec

DURATION_S = 120.0


def lives(n_continuous: int, counts: tuple[int, ...], n_cost: int = 0, *, masks: bool = False) -> Dataset:
    """Two random episodes of different lengths, the first ended by death."""
    spec = a_spec(3, n_continuous, counts)
    rng = np.random.default_rng(0)
    episodes = []
    for k, steps in enumerate((4, 7)):
        rows = [rng.uniform(-1, 1, (steps, n_continuous))] + [rng.integers(0, n, (steps, 1)) for n in counts]
        episodes.append(Episode(
            k, rng.normal(size=(steps + 1, 3)).astype(np.float32), np.concatenate(rows, 1).astype(np.float32),
            rng.normal(size=steps), rng.uniform(0.1, 2, steps), rng.normal(size=(steps, n_cost)), k == 0,
            rng.random((steps + 1, sum(counts))) < 0.5 if masks else None, seed=k + 5))
    return Dataset("g", spec, tuple(f"c{i}" for i in range(n_cost)), tuple(episodes), {"discount": None},
                   (a_spec(3, n_continuous, counts),))


KINDS = [(2, (), 0, False), (0, (4,), 2, True), (0, (2, 3), 1, True), (1, (3,), 0, False)]


@pytest.mark.parametrize(("n", "counts", "costs", "masks"), KINDS)
def test_what_is_written_comes_back(tmp_path: Path, n: int, counts: tuple[int, ...], costs: int, masks: bool) -> None:
    """Every number of every sort of action, bit for bit, with specification and names."""
    data = lives(n, counts, costs, masks=masks)
    folder = data.save(tmp_path, "tests")
    (back,) = load_all(tmp_path)
    assert (back.spec, back.members) == (data.spec, data.members)
    assert (back.group, back.cost_names, dict(back.about)) == (data.group, data.cost_names, dict(data.about))
    before, after = data.transitions().columns, back.transitions().columns
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    assert [episode.seed for episode in back.episodes] == [5, 6]
    assert folder == tmp_path / "tests" / "g-v0" / "data"


@pytest.mark.parametrize(("n", "counts", "costs", "masks"), KINDS)
def test_minari_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, counts: tuple[int, ...], costs: int,
                         masks: bool) -> None:
    """`minari.load_dataset` finds the same observations, actions, rewards, ends and times."""
    minari = pytest.importorskip("minari", reason="Minari is a peer (pip install .[peers])")
    data = lives(n, counts, costs, masks=masks)
    data.save(tmp_path, "tests")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    found = minari.load_dataset("tests/g-v0")
    assert (found.total_episodes, found.total_steps) == (2, 11)
    for mine, theirs in zip(data.episodes, found.iterate_episodes(), strict=True):
        np.testing.assert_array_equal(theirs.observations, mine.observations)
        np.testing.assert_array_equal(np.reshape(theirs.actions, mine.actions.shape), mine.actions)
        np.testing.assert_array_equal(theirs.rewards, mine.rewards)
        np.testing.assert_array_equal(theirs.infos["dt_s"][1:], mine.dt_s)
        assert bool(theirs.terminations[-1]) is mine.terminated
        assert bool(theirs.truncations[-1]) is not mine.terminated
        assert not (theirs.terminations | theirs.truncations)[:-1].any()
        assert all(action in found.action_space for action in theirs.actions)
    assert list(minari.list_local_datasets()) == ["tests/g-v0"]


def test_a_scenarios_own_policies_are_recorded(tmp_path: Path) -> None:
    """Rows decode to what the droop asked for; rewards add up to the episode's; the same seed gives the same bytes."""
    settings = Recording(episodes=2, seed=3, duration_s=DURATION_S)
    (one,) = record("tour", tmp_path / "one", settings)
    (two,) = record("tour", tmp_path / "two", settings)
    assert [file.read_bytes() for file in sorted(one.rglob("*.arrow"))] == [
        file.read_bytes() for file in sorted(two.rglob("*.arrow"))]
    data = Dataset.load(one)
    env = scenario_env("tour", duration_s=DURATION_S, discount=data.about["discount"])
    decision, asked, total = env.reset(seed=3), [], 0.0
    while not decision.ended:
        scripted = env.scripted()
        said = 0 in scripted and not np.isnan(scripted[0]).all()
        asked += [scripted[0]] if said else []
        env.commit_setpoints(scripted)
        decision = env.advance()
        total += decision.reward[0] if asked else 0.0
    first = data.episodes[0]
    assert len(first) > 20
    np.testing.assert_allclose([env.codecs[0].decode(row) for row in first.actions], asked, rtol=1e-5, atol=1e-4)
    assert first.rewards.sum() == pytest.approx(total)
    assert first.dt_s.sum() == pytest.approx(DURATION_S, abs=4.1)
    assert not first.terminated


def test_noise_leaves_the_policy(tmp_path: Path) -> None:
    """With noise the recorded actions differ from the policy's own, within the range."""
    plain, noisy = (Dataset.load(record("tour", tmp_path / name, Recording(1, noise=noise, duration_s=DURATION_S))[0])
                    for name, noise in (("plain", 0.0), ("noisy", 0.3)))
    assert len(plain.episodes[0]) == len(noisy.episodes[0])
    assert np.abs(plain.episodes[0].actions - noisy.episodes[0].actions).mean() > 0.05
    assert np.abs(noisy.episodes[0].actions).max() <= 1.0


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    """Nothing there, not JSON, not ours, another format, a cut file, wrong widths, a place that is taken."""
    with pytest.raises(DatasetError, match="no data set"):
        load_all(tmp_path)
    folder = lives(2, ()).save(tmp_path, "tests")
    with pytest.raises(FolderError, match="already"):
        lives(2, ()).save(tmp_path, "tests")
    with pytest.raises(DatasetError, match="namespace"):
        lives(2, ()).save(tmp_path, "a/b")
    file, good = folder / "metadata.json", (folder / "metadata.json").read_text()
    wide = json.loads(good)
    wide["gridloop"]["spec"]["features"] *= 2
    newer = json.loads(good)
    newer["gridloop"]["format"] = 9
    for text, says in ((good[:50], "JSON"), ("{}", "not recorded by gridloop"), (json.dumps(newer), "format 9"),
                       (json.dumps(wide), "expected")):
        file.write_text(text)
        with pytest.raises(DatasetError, match=says):
            Dataset.load(folder)
    file.write_text(good)
    arrow = folder / "1" / "part-0.arrow"
    arrow.write_bytes(arrow.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"1/part-0\.arrow"):
        Dataset.load(folder)


def rewritten(file: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """An episode's table, changed."""
    with pa.ipc.open_file(str(file)) as reader:
        table = change(reader.read_all())
    with pa.ipc.new_file(str(file), table.schema) as writer:
        writer.write_table(table)


def column(name: str, values: Callable[[int], Any]) -> Callable[[pa.Table], pa.Table]:
    """Other values in a column."""
    return lambda table: table.set_column(table.column_names.index(name), name, pa.array(values(len(table))))


def infos(**values: Any) -> Callable[[pa.Table], pa.Table]:
    """Other infos, each one number throughout."""
    return column("infos", lambda n: pa.StructArray.from_arrays([pa.array(np.full(n, v)) for v in values.values()],
                                                                names=list(values)))


@pytest.mark.parametrize(("change", "says"), [
    (infos(other=0.0), r"dt_s of shape none"), (infos(dt_s=-1.0), r"dt_s of -1; expected seconds"),
    (infos(dt_s=1.0, cost=1.0), r"cost of shape \(5,\); expected \(5, 0\)"),
    (lambda t: t.slice(0, 0), "0 rows of agent 0"), (column("infos", np.zeros), "cannot be read"),
    (column("actions", lambda n: np.full(n, 99)), "an alternative that is none of 0 to 3"),
    (column("actions", lambda n: np.full(n, 0.5)), "an alternative that is none of 0 to 3"),
    (column("actions", lambda n: ["x"] * n), r"actions \(object\) holds something else"),
    (column("rewards", lambda n: np.full(n, np.nan)), r"rewards \(float64\) holds something else than finite"),
    (column("rewards", lambda n: [None] * n), "rewards"), (lambda t: t.drop_columns(["rewards"]), "cannot be read")])
def test_damaged_episodes_are_named(tmp_path: Path, change: Any, says: str) -> None:
    """On reading, with the file: nothing of it reaches a learner."""
    folder = lives(0, (4,)).save(tmp_path, "tests")
    rewritten(folder / "0" / "part-0.arrow", change)
    with pytest.raises(DatasetError, match=rf"(?s)0/part-0\.arrow.*{says}"):
        load_all(tmp_path)


@pytest.mark.parametrize(("key", "value", "says"), [
    ("group", "../x", "expected letters"), ("discount", {"gamma": 2, "per_s": 1}, "gamma"),
    ("cost_names", "ab", "tuple"),
    ("scenario", [1], "expected a mapping"), ("shield", "on", "expected a mapping"),
    ("members", [SPEC.to_dict()], "members see or do something else")])
def test_damaged_descriptions_are_named(tmp_path: Path, key: str, value: Any, says: str) -> None:
    """What a bundle could not take is refused before anything is learned."""
    file = lives(2, ()).save(tmp_path, "tests") / "metadata.json"
    about = json.loads(file.read_text())
    about["gridloop"][key] = value
    file.write_text(json.dumps(about))
    with pytest.raises(DatasetError, match=rf"(?s)metadata\.json.*{says}"):
        load_all(tmp_path)


@pytest.mark.parametrize(("limit", "most", "says"), [
    ("MAX_STEPS", 3, "5 rows of agent 0; expected 1 to 4 rows"), ("MAX_EPISODE_BYTES", 100, "expected at most 100"),
    ("MAX_METADATA_BYTES", 10, "expected at most 10"), ("MAX_EPISODES", 1, "total_episodes is 2")])
def test_limits_hold_on_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int,
                                says: str) -> None:
    """As on writing."""
    lives(2, ()).save(tmp_path, "tests")
    monkeypatch.setattr(module, limit, most)
    with pytest.raises(DatasetError, match=says):
        load_all(tmp_path)
    if limit != "MAX_EPISODES":
        with pytest.raises(DatasetError, match="expected at most"):
            lives(2, ()).save(tmp_path / "again", "tests")


def test_masks_are_everywhere_or_nowhere(tmp_path: Path) -> None:
    """One episode without them is named before rows are put together."""
    folder = lives(0, (4,), masks=True).save(tmp_path, "tests")
    rewritten(folder / "1" / "part-0.arrow", infos(dt_s=1.0))
    with pytest.raises(DatasetError, match="some episodes have masks"):
        load_all(tmp_path)
