"""Bundles on disk: what is written is read, and whatever else lies there is refused with one clear message."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosim.errors import GridloopError
from policies import bundle as module
from policies.bundle import ABOUT, WEIGHTS, Bundle, BundleError, GroupBundle, normalised, scenario_digest
from tests.cosim.simulation.worlds import loaded
from tests.policies.bundles import SPEC, group

safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed (pip install .[rl])")


def made(folder: Path) -> Path:
    """A bundle of two groups."""
    other = replace(group(seed=1, kind="gru"), others={"critic/head/bias": np.ones(1, np.float32)})
    Bundle({"g": group(), "h": other}, {"name": "s", "digest": "0"}, {"mode": "off"}, {"gamma": 0.9, "per_s": 60.0},
           {"algo": "ppo", "returns": [1.0, 2.5]}).save(folder)
    return folder


def about(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite ``bundle.json``."""
    data = json.loads((folder / ABOUT).read_text())
    change(data)
    (folder / ABOUT).write_text(json.dumps(data))


def arrays(folder: Path, **changes: Any) -> None:
    """Rewrite the weights; None takes an array away."""
    found = safetensors.load_file(folder / WEIGHTS)
    found |= {name.replace("__", "/"): value for name, value in changes.items()}
    safetensors.save_file({name: value for name, value in found.items() if value is not None}, folder / WEIGHTS)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Specifications, networks, arrays bit for bit, and everything said about them."""
    before, found = {"g": group(), "h": group(seed=1, kind="gru")}, Bundle.load(made(tmp_path / "b"))
    assert list(found.groups) == ["g", "h"]
    for name, mine in before.items():
        theirs = found.group(name)
        assert (theirs.spec, theirs.network) == (mine.spec, mine.network)
        assert set(theirs.weights) == set(mine.weights)
        assert all(np.array_equal(theirs.weights[key], array) for key, array in mine.weights.items())
        assert not any(array.flags.writeable for array in theirs.weights.values())
    assert found.group("h").others == {"critic/head/bias": np.ones(1, np.float32)}
    assert (found.scenario["name"], found.shield, found.discount) == ("s", {"mode": "off"}, {"gamma": 0.9, "per_s": 60})
    assert found.training["returns"] == [1.0, 2.5]
    assert Bundle.load(tmp_path / "b", weights=False).group("g").weights == {}
    with pytest.raises(BundleError, match="no group 'x'; it has g, h"):
        found.group("x")


def test_saving_replaces_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    """A second save stands in the place of the first; a folder that is no bundle is left alone."""
    folder = made(tmp_path / "b")
    Bundle({"k": group(seed=5)}).save(folder)
    assert list(Bundle.load(folder).groups) == ["k"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(BundleError, match="exists and is no bundle"):
        Bundle({"k": group()}).save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_the_same_bundle_is_the_same_bytes(tmp_path: Path) -> None:
    """Nothing of the moment or the machine is in it."""
    first, second = made(tmp_path / "a"), made(tmp_path / "b")
    for name in (ABOUT, WEIGHTS):
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize(("bad", "message"), [
    (lambda g: replace(g, weights={**g.weights, "head/bias": np.full(4, np.nan, np.float32)}), "NaN or infinities"),
    (lambda g: replace(g, weights={**g.weights, "head/bias": np.ones(9)}), r"bias has shape \(9,\); expected \(4,\)"),
    (lambda g: replace(g, weights={}), "norm/mean is missing"),
    (lambda g: replace(g, network=replace(g.network, n_in=5)), "n_in is 5; its spec has 7"),
    (lambda g: replace(g, spec=replace(g.spec, action=replace(g.spec.action, is_normalised=False))), "not normalised"),
])
def test_what_will_not_be_read_is_not_written(tmp_path: Path, bad: Any, message: str) -> None:
    """The same checks, before anything is on disk."""
    with pytest.raises(BundleError, match=message):
        Bundle({"g": bad(group())}).save(tmp_path / "b")
    with pytest.raises(BundleError, match=r"a group is called '\.\./x'"):
        Bundle({"../x": group()}).save(tmp_path / "b")
    with pytest.raises(BundleError, match="cannot be written as JSON"):
        Bundle({"g": group()}, training={"when": object()}).save(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


SPEC_PATH = ("groups", "g", "spec")


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of ``bundle.json`` at a place."""
    def change(data: dict[str, Any]) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(("change", "message"), [
    (put("format", value=2), "format 2; this version reads format 1"),
    (lambda data: data.pop("format"), "no `format`"),
    (put("groups", value=[]), r"`groups` is \[\]; expected a mapping"),
    (put("groups", value={}), "0 groups; expected 1 to 1000"),
    (put("shield", value=None), "`shield` is None; expected a mapping"),
    (put("groups", "g", value={"spec": {}}), "'g' is no group"),
    (put("groups", "../../x", value={"spec": {}, "network": {}}), "'../../x' is no group"),
    (put(*SPEC_PATH, "history", value="two"), "groups.g: specification: history: Input should be a valid integer"),
    (put(*SPEC_PATH, "features", value={"v": 1}), "groups.g: specification: features: Input should be a valid tuple"),
    (put("groups", "g", "members", value=[{"agent": "x"}]), "groups.g: specification: 0.group: Field required"),
    (put("groups", "g", "members", value=3), "groups.g: specification: : Input should be a valid tuple"),
    (put(*SPEC_PATH, "history", value=5), "groups.g.network.n_in is 7; its spec has 13"),
    (put("groups", "g", "network", "kind", value="cnn"), "groups.g: network: kind is 'cnn'"),
    (put("groups", "g", "network", "counts", value=[4]), r"network.counts is \(4,\); its spec has \(3,\)"),
])
def test_descriptions_that_are_none(tmp_path: Path, change: Any, message: str) -> None:
    """The file, the place and what was expected."""
    folder = made(tmp_path / "b")
    about(folder, change)
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.load(folder)
    assert str(folder / ABOUT) in str(caught.value)


@pytest.mark.parametrize(("change", "message"), [
    ({"g__actor__head__bias": None}, r"g/actor/head/bias is missing; expected shape \(4,\)"),
    ({"g__actor__head__bias": np.ones(5, np.float32)}, r"has shape \(5,\); expected \(4,\)"),
    ({"g__actor__head__bias": np.ones(4)}, "holds float64; expected float32"),
    ({"g__actor__head__bias": np.array([0, 1, np.inf, 0], np.float32)}, "NaN or infinities; expected finite"),
    ({"g__actor__norm__std": np.zeros(7, np.float32)}, "norm/std has entries that are not above 0"),
    ({"g__actor__extra": np.ones(1, np.float32)}, "g/actor/extra: the network has no such array"),
    ({"h__critic__head__bias": np.array([np.nan], np.float32)}, "h/critic/head/bias holds NaN"),
])
def test_weights_that_are_not_the_networks(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """Missing, misshapen, in another type, not numbers, or of something else."""
    folder = made(tmp_path / "b")
    arrays(folder, **change)
    with pytest.raises(BundleError, match=message):
        Bundle.load(folder)


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder, no file, a text, NaN, deep nesting, too large."""
    with pytest.raises(BundleError, match=r"cannot be read \(No such file.*a bundle is a folder with bundle.json"):
        Bundle.load(tmp_path / "none")
    folder = made(tmp_path / "b")
    whole = (folder / ABOUT).read_text()
    for text in ("", "hello", whole[:-20], whole.replace("0.9", "NaN"), "[" * 200_000, '"\xff'):
        (folder / ABOUT).write_text(text, encoding="latin-1")
        with pytest.raises(BundleError, match="not JSON, or cut off"):
            Bundle.load(folder)
    (folder / ABOUT).write_text("[1]")
    with pytest.raises(BundleError, match="no `format`"):
        Bundle.load(folder)
    (folder / ABOUT).write_text(whole)
    monkeypatch.setattr(module, "MAX_WEIGHTS_BYTES", 1000)
    with pytest.raises(BundleError, match="expected at most 1,000"):
        Bundle.load(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(BundleError, match=r"weights.safetensors: cannot be read"):
        Bundle.load(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_weights_are_refused_or_still_weights(tmp_path: Path, data: st.DataObject) -> None:
    """Cut off anywhere, or with bytes changed: an error of ours, or a bundle that passes every check."""
    folder = tmp_path / "b"
    if not folder.exists():
        made(folder)
        (tmp_path / "whole").write_bytes((folder / WEIGHTS).read_bytes())
    content = bytearray((tmp_path / "whole").read_bytes())
    cut = data.draw(st.booleans())
    if cut:
        content = content[:data.draw(st.integers(0, len(content) - 1))]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
            content[place] = data.draw(st.integers(0, 255))
    (folder / WEIGHTS).write_bytes(content)
    try:
        found = Bundle.load(folder)
    except GridloopError:
        return
    assert not cut
    assert {name: array.shape for name, array in found.group("g").weights.items()} == found.group("g").network.shapes


def test_an_engineering_action_is_normalised_for_networks() -> None:
    """Networks answer in [-1, 1] whatever the scenario's units are."""
    plain = replace(SPEC, action=replace(SPEC.action, is_normalised=False))
    assert normalised(plain) == SPEC
    assert normalised(SPEC) is SPEC
    assert isinstance(group(), GroupBundle)


def test_members_of_a_group_differ_in_range(tmp_path: Path) -> None:
    """Each distinct member is kept once; an agent is compared with the one that is most like it."""
    wide, far = (replace(SPEC, agent=name, action=replace(SPEC.action, setpoints=(
        replace(SPEC.action.setpoints[0], low=-most, high=most), SPEC.action.setpoints[1])))
        for name, most in (("w", 20.0), ("f", 30.0)))
    Bundle({"g": replace(group(), members=(SPEC, replace(SPEC, agent="b"), wide, wide))}).save(tmp_path / "b")
    found = Bundle.load(tmp_path / "b").group("g")
    assert found.members == (wide,)
    assert found.differences(replace(wide, agent="new")) == []
    assert found.differences(SPEC) == []
    assert len(found.differences(far)) == 1


def test_the_digest_of_a_scenario_is_that_of_its_text_and_overrides() -> None:
    """Another seed or another file, another digest."""
    one = scenario_digest(loaded())
    assert one == scenario_digest(loaded())
    assert len({one, scenario_digest(loaded(seed=2)), scenario_digest(replace(loaded(), overrides=("seed=2",)))}) == 3


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    """Nothing imports it: not the registry's kinds, not the bundle, not the NumPy actor."""
    folder = made(tmp_path / "b")
    code = ("import sys; from pathlib import Path; import policies.acting, policies.export; "
            "from policies.bundle import Bundle; from policies.numpy_actor import NumpyActor; "
            f"g = Bundle.load(Path({str(folder)!r})).group('g'); NumpyActor(g.network, g.weights); "
            "print([name for name in ('torch', 'onnx', 'onnxruntime', 'gymnasium') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"


def test_a_kill_between_two_renames_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old bundle is read from where it was put aside, and put back by the next save, which may be killed again."""
    place, rename = tmp_path / "best", Path.rename
    Bundle({"g": group()}).save(place)

    def killed(self: Path, target: Path) -> Path:
        if self.name == ".best.new":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            Bundle({"g": group(seed=2)}).save(place)
        assert not place.exists()
        assert np.array_equal(Bundle.load(place).group("g").weights["head/bias"], group().weights["head/bias"])
    monkeypatch.undo()
    Bundle({"g": group(seed=3)}).save(place)
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    assert np.array_equal(Bundle.load(place).group("g").weights["head/bias"], group(seed=3).weights["head/bias"])


def test_what_could_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of reading are limits of writing; the bundle of before stays."""
    Bundle({"g": group()}).save(tmp_path / "b")
    for limit, name in (("MAX_WEIGHTS_BYTES", "weights.safetensors"), ("MAX_ABOUT_BYTES", "bundle.json")):
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, 50)
            with pytest.raises(BundleError, match=rf"{name} would hold [\d,]+ bytes; expected at most 50"):
                Bundle({"g": group(seed=1)}).save(tmp_path / "b")
    assert np.array_equal(Bundle.load(tmp_path / "b").group("g").weights["head/bias"], group().weights["head/bias"])


def test_a_discount_that_is_none_is_named(tmp_path: Path) -> None:
    """Whoever reads the bundle can rely on it."""
    Bundle({"g": group()}).save(tmp_path / "b")
    file = tmp_path / "b" / "bundle.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"discount": {"gamma": 7, "per_s": 1.0}}))
    with pytest.raises(BundleError, match=r"discount.gamma: Input should be less than or equal to 1; found 7"):
        Bundle.load(tmp_path / "b", weights=False)
