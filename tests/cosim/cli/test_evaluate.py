"""``gridloop evaluate``, ``dataset``, ``export``: nothing that took long is lost, and what cannot be is said before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim.cli import main
from cosim.cli.engine import Engine, _evaluate
from tests.cosim.env.worlds import loaded

ROOT = Path(__file__).parents[3]
SHORT = ("three.yaml", "--against", "none", "--duration", "10", "--quiet")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That holds ``three.yaml`` and a regular file."""
    monkeypatch.chdir(tmp_path)
    Path("three.yaml").write_text(loaded().text)
    Path("file").write_text("x")


def nothing_played(*_: Any) -> Any:
    """In place of an engine's functions."""
    raise AssertionError("nothing may be played")


# -- before the first episode -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--csv", "--picture"])
@pytest.mark.parametrize(("name", "says"), [
    ("file/x.svg", "there is no folder"), ("gone/x.svg", "there is no folder"), ("folder.svg", "is a folder"),
    (f"{'n' * 300}.svg", "cannot be written: File name too long"), ("here.svg", "exists already"),
    ("null.svg", "is no ordinary file")])
def test_a_file_that_cannot_be_written_is_said_first(capsys: pytest.CaptureFixture[str], option: str, name: str,
                                                     says: str) -> None:
    """Exit 2 before anything is played; nothing is left behind."""
    Path("folder.svg").mkdir()
    Path("here.svg").write_text("<svg/>")
    Path("null.svg").symlink_to("/dev/null")
    force = ["--force"] if name in ("folder.svg", "null.svg") else []
    before = sorted(path.name for path in Path().iterdir())
    code = main(["evaluate", *SHORT, option, name, *force], engine=Engine(evaluate=nothing_played))
    assert (code, says in capsys.readouterr().err) == (2, True)
    assert sorted(path.name for path in Path().iterdir()) == before


def test_two_outputs_need_two_files(capsys: pytest.CaptureFixture[str]) -> None:
    """The second would replace the first."""
    code = main(["evaluate", *SHORT, "--csv", "a.svg", "--picture", "a.svg"], engine=Engine(evaluate=nothing_played))
    assert (code, "expected two files" in capsys.readouterr().err) == (2, True)


@pytest.mark.parametrize(("out", "says"), [("there", "there is a data set already"), ("file/deep", "cannot be written"),
                                           ("n" * 300, "cannot be written (File name too long)")])
def test_a_data_set_that_cannot_be_written_is_said_first(capsys: pytest.CaptureFixture[str],
                                                         monkeypatch: pytest.MonkeyPatch, out: str,
                                                         says: str) -> None:
    """Exit 2 before the first episode is played: also where one of several groups stands already."""
    from policies import demonstrations

    (Path("there") / "three" / "agent_3-v0" / "data").mkdir(parents=True)
    monkeypatch.setattr(demonstrations._Scribe, "episode", nothing_played)
    code = main(["dataset", "three.yaml", "--episodes", "2", "--out", out, "--quiet"])
    assert (code, says in capsys.readouterr().err) == (2, True)
    assert not Path("there/three/agent_1-v0").exists()


# -- and afterwards ---------------------------------------------------------------------------------------------------


def spoiled(plan: Any, workers: int, on_episode: Any, should_stop: Any) -> Any:
    """An evaluation during which a folder takes the place of the file to be."""
    found = _evaluate(plan, workers, on_episode, should_stop)
    Path("a.csv").mkdir()
    return found


def test_the_table_comes_whatever_becomes_of_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    """With words for the file that failed, the other one written, and exit 1."""
    argv = ["evaluate", *SHORT, "--seeds", "1", "--csv", "a.csv", "--picture", "a.svg", "--force"]
    code = main(argv, engine=Engine(evaluate=spoiled))
    said = capsys.readouterr()
    assert (code, "a.csv: cannot be written" in said.err) == (1, True)
    assert said.out.splitlines()[0].split()[:2] == ["controller", "return"]
    assert said.out.splitlines()[-1] == "wrote a.svg"
    assert Path("a.svg").read_text().startswith("<svg")


def test_json_has_all_figures_whatever_becomes_of_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    """And what went wrong."""
    code = main(["evaluate", *SHORT, "--seeds", "1", "--csv", "a.csv", "--json", "--force"],
                engine=Engine(evaluate=spoiled))
    data = json.loads(capsys.readouterr().out)
    assert (code, data["files"], len(data["episodes"])) == (1, [], 1)
    assert "a.csv: cannot be written" in data["trouble"]


def test_a_reader_that_has_gone_costs_no_file() -> None:
    """`gridloop evaluate … | head -1`: the files are written, and nobody sees a traceback."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "cosim.cli", "evaluate", *SHORT, "--seeds", "1", "--csv", "a.csv"],
                          stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=300,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
    assert len(Path("a.csv").read_text().splitlines()) == 2


def test_few_seeds_have_no_interval_and_yardsticks_are_not_for_these(capsys: pytest.CaptureFixture[str]) -> None:
    """± is shown from three seeds on; what is known elsewhere says that it is of other episodes."""
    Path("known.json").write_text('[{"name": "best, held-out days", "figure": "return", "value": -1, "source": "us"}]')
    tables = {}
    for seeds in ("2", "3"):
        main(["evaluate", *SHORT, "--seeds", seeds, "--yardstick", "known.json", "--picture", f"{seeds}.svg"])
        tables[seeds] = capsys.readouterr().out
    assert "±" not in tables["2"]
    assert "means without intervals, which take 3 seeds" in tables["2"]
    assert "mean ± half of the 95 % interval" in tables["3"]
    assert "known elsewhere: best, held-out days: return -1 (us)\n(what is known elsewhere is of" in tables["2"]
    titles = [Path(f"{seeds}.svg").read_text() for seeds in ("2", "3")]
    assert ["95 % interval" in title for title in titles] == [False, True]


# -- export -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "code", "says"), [
    ("cut off", 2, "cut off"), ("no torch", 2, "needs torch"), ("no onnx", 2, "needs onnx"),
    ("no place", 2, "cannot be written"), ("another network", 1, "differs from torch")])
def test_exit_codes_of_an_export(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str,
                                 code: int, says: str) -> None:
    """2 for a bundle, an installation or a place that will not do, as of run and evaluate; 1 for a failed check."""
    for package in ("torch", "onnx", "onnxruntime", "safetensors"):
        pytest.importorskip(package, reason=f"{package} is not installed (pip install .[rl,onnx])")
    from policies import export
    from policies.export import graph_bytes
    from policies.inference import network_of
    from tests.policies.bundles import bundle_for

    network_of.cache_clear()
    bundle_for(loaded(), Path("b"), hidden=(8,))
    if case == "cut off":
        weights = Path("b/weights.safetensors")
        weights.write_bytes(weights.read_bytes()[:-100])
    elif case == "another network":
        monkeypatch.setattr(export, "graph_bytes", lambda network, found: graph_bytes(
            network, {**found, "head/bias": found["head/bias"] + np.float32(1)}))
    elif case != "no place":
        monkeypatch.setitem(sys.modules, case.removeprefix("no "), None)
    out = "file/c" if case == "no place" else "c"
    assert (main(["export", "b", "--onnx", out]), says in capsys.readouterr().err) == (code, True)
