"""Networks as ONNX files: the same numbers as torch, and a report of what each kind costs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies import export as module
from policies.bundle import Bundle, BundleError
from policies.export import ExportError, export_onnx, graph_bytes
from policies.inference import network_of, stamp_of
from tests.policies.bundles import SPEC, group

for package in ("torch", "onnx", "onnxruntime", "safetensors"):
    pytest.importorskip(package, reason=f"{package} is not installed (pip install .[rl,onnx])")


class Ticks:
    """A stopwatch that a microsecond goes by on at every look."""

    def __init__(self) -> None:
        self.looks = 0

    def now_s(self) -> float:
        """Seconds."""
        self.looks += 1
        return self.looks * 1e-6


ACTION = SPEC.action
NUMBERS = replace(SPEC, action=replace(ACTION, setpoints=ACTION.setpoints[:1]))
LEVELS = replace(SPEC, action=replace(ACTION, setpoints=ACTION.setpoints[1:]))


def test_every_kind_of_network_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs, memory and deviations as torch has them, to 1e-5, in a copy of the bundle that runs."""
    monkeypatch.setattr(module, "N_TIMED", 20)
    groups = {"mlp": group(), "relu": group(seed=1, activation="relu", normalise=False),
              "gru": group(seed=2, kind="gru"), "small_gru": group(seed=3, kind="gru", hidden=(9,)),
              "sac": group(seed=4, head="tanh_gaussian"), "td3": group(NUMBERS, 5, head="tanh"),
              "dqn": group(LEVELS, 6, head="q"), "choice": group(LEVELS, 7, head="categorical")}
    Bundle(groups).save(tmp_path / "b")
    before = sorted(file.name for file in (tmp_path / "b").iterdir())
    found = export_onnx(tmp_path / "b", tmp_path / "out", Ticks())
    assert [item.group for item in found] == list(groups)
    assert all(0 <= worst <= 1e-5 for item in found for worst in item.difference.values())
    assert any(item.difference["onnx"] > 0 for item in found)
    assert found[0].to_dict()["latency_us"]["onnx"] == {"p50": pytest.approx(1), "p99": pytest.approx(1)}
    assert sorted(file.name for file in (tmp_path / "b").iterdir()) == before
    stamp = stamp_of(tmp_path / "out")
    for name, mine in groups.items():
        answers = network_of("onnx", tmp_path / "out", name, stamp).answers
        if "log_std" in mine.network.shapes:
            assert np.array_equal(answers.log_std, mine.weights["log_std"])
        assert answers.explore == (float(mine.weights["explore"]) if mine.network.explores else 0.0)


def test_exporting_in_place_leaves_the_rest_alone(tmp_path: Path) -> None:
    """Weights and description stay; the same bundle gives the same file."""
    Bundle({"g": group()}).save(tmp_path / "b")
    before = {file.name: file.read_bytes() for file in sorted((tmp_path / "b").iterdir())}
    (item,) = export_onnx(tmp_path / "b", stopwatch=Ticks())
    assert item.file == tmp_path / "b" / "actor.g.onnx"
    assert {file.name: file.read_bytes() for file in (tmp_path / "b").iterdir() if file.name in before} == before
    assert item.file.read_bytes() == graph_bytes(group().network, group().weights)


def test_a_network_that_computes_something_else_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The difference is named, and the file is gone."""
    Bundle({"g": group()}).save(tmp_path / "b")
    wrong = {**group().weights, "head/bias": group().weights["head/bias"] + 1}
    monkeypatch.setattr(module, "graph_bytes", lambda description, _: graph_bytes(description, wrong))
    with pytest.raises(ExportError, match=r"differs from torch by 1\b.*at most 1e-05"):
        export_onnx(tmp_path / "b", stopwatch=Ticks())
    assert not (tmp_path / "b" / "actor.g.onnx").exists()


def test_what_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bundle; no package `onnx`."""
    with pytest.raises(BundleError, match="cannot be read"):
        export_onnx(tmp_path / "none", stopwatch=Ticks())
    Bundle({"g": group()}).save(tmp_path / "b")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=r"needs onnx .*pip install 'gridloop\[rl\]'"):
        export_onnx(tmp_path / "b", stopwatch=Ticks())


def test_nothing_that_was_not_compared_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxruntime there is no file; one that is there already is kept."""
    Bundle({"g": group()}).save(tmp_path / "b")
    before = sorted(path.name for path in (tmp_path / "b").iterdir())
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(BundleError, match="needs onnxruntime"):
            export_onnx(tmp_path / "b", stopwatch=Ticks())
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == before


def test_answers_that_are_no_numbers_differ() -> None:
    """NaN is no difference of 0."""
    def answering(value: float) -> Any:
        return lambda x, _: (np.full((len(x), 1), value, np.float32), None)

    assert np.isnan(module._difference(group().network, answering(1.0), answering(np.nan)))
