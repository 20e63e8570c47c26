"""Loading: every error at once, each with its place and what would be accepted."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosim.errors import Problem, ScenarioError
from cosim.plugins import Registry
from cosim.scenario import configure, load_scenario
from cosim.scenario.loader import LoadedScenario, load_text

Load = Callable[..., LoadedScenario]
Find = Callable[..., list[str]]


def test_least_scenario_loads(load: Load) -> None:
    """A name, a duration and a network are enough."""
    loaded = load()
    assert loaded.scenario.grid.network == "case14"
    assert loaded.warnings == ()


def test_all_errors_at_once_in_file_order(problems: Find) -> None:
    """Schema, plugins, rules and YAML all speak in one go, sorted by line."""
    found = problems("seeed: 1\nstep_s: yes\ndevices:\n  - {kind: lmap, name: a}\n  - {kind: lamp, name: b, p_kw: -1}\n"
                     "agents:\n  - {name: b, policy: {kind: fixed}, period_s: 1}\n")
    assert [line.split(": ")[1] for line in found] == [
        "seeed", "step_s", "devices.0.kind", "devices.1.p_kw", "agents.0.name"]


@pytest.mark.parametrize(("fragment", "message"), [
    ("sed: 1\n", "4:1: sed: unknown key 'sed'; did you mean 'seed'?; accepted: name, summary, seed"),
    ("seed: '1'\n", "4:7: seed: found the text '1'; expected a whole number"),
    ("seed: true\n", "4:7: seed: found true; expected a whole number"),
    ("seed: 1.5\n", "4:7: seed: found 1.5; expected a whole number"),
    ("seed: -1\n", "4:7: seed: found -1; expected at least 0"),
    ("step_s: 5 s\n", "4:9: step_s: found the text '5 s'; expected a number (seconds): write 5 (the key's name says"),
    ("step_s: 1:30\n", "4:9: step_s: 1:30 is a base-60 number in some YAML readers and text in others; write 90"),
    ("step_s: 2016-01-01\n", "4:9: step_s: found the text '2016-01-01'; expected a number (seconds)"),
    ("step_s: .nan\n", "4:9: step_s: found .nan; expected a finite number"),
    ("step_s: 0.0000001\n", "4:9: step_s: time 1e-07 s is not a whole number of microseconds"),
    ("step_s: 20\n", "1:1: step_s 20.0 must not exceed duration_s 10.0"),
    ("commands: {timing: on_scam}\n",
     "4:20: commands.timing: found the text 'on_scam'; expected 'on_scan' or 'on_arrival'; did you mean 'on_scan'?"),
    ("limits: {v_min_pu: 1.1}\n", "4:9: limits: v_min_pu 1.1 must be below v_max_pu 1.05"),
    ("limits: {loading: 1}\n", "4:10: limits.loading: unknown key 'loading'; did you mean 'loading_max'?"),
    ("limits: 5\n", "4:9: limits: found 5; expected a mapping"),
    ("agents: {a: 1}\n", "4:9: agents: found a mapping; expected a list"),
    ("agents:\n  - {name: a, period_s: 1}\n", "5:5: agents.0.policy: missing: The decision rule"),
    ("agents:\n  - {name: a, policy: {kind: fixed}}\n", "5:5: agents.0: trigger: period needs `period_s`"),
    ("agents:\n  - {name: a, policy: {kind: fixed}, period_s: 1, telemetry: channel}\n",
     "5:62: agents.0.telemetry: kind: channel needs `channel: <name>`"),
    ("agents:\n  - {name: a, policy: {kind: fixed}, period_s: 1, authority: boss}\n",
     "5:62: agents.0.authority: found the text 'boss'; expected schedule, agent, operator or interlock"),
    ("agents:\n  - {name: a, policy: {kind: fixd}, period_s: 1}\n",
     "5:30: agents.0.policy.kind: unknown policy kind 'fixd'; did you mean 'fixed'? known: fixed"),
    ("agents:\n  - {name: a, policy: {kind: fixed, values: [1, x]}, period_s: 1}\n",
     "5:49: agents.0.policy.values.1: found the text 'x'; expected a number"),
    ("devices:\n  - {kind: lamp, name: a, pkw: 1}\n",
     "5:27: devices.0.pkw: unknown key 'pkw'; did you mean 'p_kw'?; accepted: name, kind, bus, element, p_kw"),
    ("devices:\n  - {name: a}\n", "5:5: devices.0.kind: missing; expected a device kind: lamp"),
    ("devices:\n  - {kid: lamp}\n", "5:5: devices.0.kind: missing; expected a device kind: lamp (found 'kid'; did"),
    ("devices:\n  - {kind: [lamp]}\n", "5:12: devices.0.kind: found a list of 1; expected a device kind: lamp"),
    ("devices:\n  - lamp\n", "5:5: devices.0: found the text 'lamp'; expected a mapping"),
    ("channels:\n  - {name: w, up: [{kind: delay}]}\n", "5:20: channels.0.up.0.delay_s: missing; expected a value"),
    ("channels:\n  - {name: w, rules: [{kind: delay, delay_s: 1}], hops: [v]}\n  - {name: v}\n",
     "5:5: channels.0: a channel with hops has no rules of its own; its hops have"),
    ("channels: [{name: w}, {name: v, hops: [w], capacity: 5}]\n",
     "4:23: channels.1: a channel with hops has no capacity of its own; its hops have"),
    ("channels: [{name: w, hops: []}]\n", "4:28: channels.0.hops: found a list of 0; "),
    ("channels: [{name: a b}]\n", "4:19: channels.0.name: found the text 'a b'; expected a name of letters"),
    ("channels: [{name: a, rule: []}]\n", "4:22: channels.0.rule: unknown key 'rule'; did you mean 'rules'?; acc"),
    ("channels: [{name: a, ordering: lifo}]\n",
     "4:32: channels.0.ordering: found the text 'lifo'; expected 'free' or 'fifo'"),
    ("channels: [{name: a, capacity: 0}]\n", "4:32: channels.0.capacity: found 0; expected at least 1"),
    ("channels: [wan]\n", "4:12: channels.0: found the text 'wan'; expected a mapping"),
    ("channels: [{name: a, rules: [delay]}]\n",
     "4:30: channels.0.rules.0: found the text 'delay'; expected a mapping"),
    ("disturbances:\n  - {kind: trip, at_s: soon}\n",
     "5:24: disturbances.0.at_s: found the text 'soon'; expected a number (seconds) or a list (seconds)"),
    ("disturbances:\n  - {kind: trip, at_s: [1, soon]}\n",
     "5:28: disturbances.0.at_s.1: found the text 'soon'; expected a number (seconds)"),
])
def test_one_error_one_message(problems: Find, fragment: str, message: str) -> None:
    """One mistake gives one message: file, line, column, path, what was found, what would be accepted."""
    (found,) = problems(fragment)
    assert found.startswith(message)


@pytest.mark.parametrize(("text", "message"), [
    ("", "1:1: the file is empty; `gridloop init` writes a scenario to start from"),
    ("# only a comment\n", "1:1: the file is empty; `gridloop init` writes a scenario to start from"),
    ("- a\n", "1:1: found a list of 1; expected keys such as `name:` and `grid:`"),
    ("hello\n", "1:1: found the text 'hello'; expected keys such as `name:` and `grid:`"),
])
def test_no_mapping_at_all(problems: Find, text: str, message: str) -> None:
    """An empty file, a list or a word say what a scenario is."""
    assert problems(text, head="") == [message]


def test_own_code_needs_permission(problems: Find, load: Load, tmp_path: Path) -> None:
    """A scenario's own plugins are refused without the flag, and loaded with it."""
    (tmp_path / "mine.py").write_text(
        "from cosim.plugins import PluginConfig\n"
        "class Mine:\n    '''Mine.'''\n    family, kind, summary = 'policy', 'mine', 'Mine'\n"
        "    class Config(PluginConfig):\n        '''Options.'''\n        gain: float = 1.0\n"
        "    @classmethod\n    def build(cls, config, situation):\n        '''Build.'''\n")
    fragment = "plugins: [mine.py]\nagents: [{name: a, policy: {kind: mine, gain: 2}, period_s: 1}]\n"
    refused = problems(fragment, base_dir=tmp_path)
    assert refused[0] == ("4:10: plugins: this scenario brings its own code, which is loaded only with --allow-plugins "
                          "(read it first)")
    assert load(fragment, base_dir=tmp_path, allow_plugins=True).registry.kinds("policy") == ("fixed", "mine")


def test_own_code_is_loaded_once_by_a_registry(load: Load, tmp_path: Path) -> None:
    """Two loads with one registry find the same class; a file that changed in between is refused, not mixed up."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from cosim.plugins import PluginConfig\n"
        "class Mine:\n    family, kind, summary = 'policy', 'mine', 'Mine'\n"
        "    class Config(PluginConfig):\n        pass\n"
        "    @classmethod\n    def build(cls, config, situation):\n        pass\n")
    fragment = "plugins: [mine.py]\n"
    first = load(fragment, base_dir=tmp_path, allow_plugins=True).registry.get("policy", "mine")
    assert load(fragment, base_dir=tmp_path, allow_plugins=True).registry.get("policy", "mine") is first
    file.write_text(file.read_text() + "# edited\n")
    with pytest.raises(ScenarioError, match=r"mine\.py: changed since this registry loaded it"):
        load(fragment, base_dir=tmp_path, allow_plugins=True)


def test_broken_plugins_are_placed(problems: Find, tmp_path: Path) -> None:
    """A missing plugin folder and one that raises are problems with a place, each."""
    (tmp_path / "bad.py").write_text("raise RuntimeError('no')\n")
    found = problems("plugins: [none.py, bad.py]\n", base_dir=tmp_path, allow_plugins=True)
    assert [line.split(": ")[0] for line in found] == ["4:11", "4:20"]
    assert "not found" in found[0]
    assert "RuntimeError: no" in found[1]


def test_uninstalled_plugin_modules_are_reported() -> None:
    """A named plugin whose module cannot be imported is a problem, not a traceback."""
    from importlib.metadata import EntryPoint

    registry = Registry(installed=False)
    registry._found["device"]["ghost"] = EntryPoint("ghost", "no_such_module:Ghost", "gridloop.devices")
    with pytest.raises(ScenarioError, match=r"devices\.0\.kind: device kind 'ghost' .* cannot be loaded"):
        load_text("name: t\nduration_s: 1\ngrid: {network: x}\ndevices: [{kind: ghost}]\n", path=Path("f"),
                  registry=registry)


def test_locate_and_place(load: Load) -> None:
    """A path of the data, or its nearest ancestor, becomes file, line and column; problems come out in file order."""
    loaded = load("devices:\n  - {kind: lamp, name: a, bus: B1}\n  - {kind: lamp, name: b}\n")
    assert loaded.locate("devices.0.bus") == ("trial.yaml", 5, 32)
    assert loaded.locate("devices.1.bus") == ("trial.yaml", 6, 5)
    error = ScenarioError((Problem("no bus", "devices.1.bus"), Problem("no bus", "devices.0.bus")))
    placed = loaded.place(error)
    assert [(p.path, p.line) for p in placed.problems] == [("devices.0.bus", 5), ("devices.1.bus", 6)]
    assert loaded.place(placed).problems == placed.problems


def test_seed_is_an_override_like_others(load: Load) -> None:
    """The seed given apart is applied last and remembered, so text and overrides load the same again."""
    loaded = load("seed: 1\n", seed=7, overrides=("seed=3",))
    assert loaded.scenario.seed == 7
    again = load_text(loaded.text, path=loaded.path, overrides=loaded.overrides, registry=loaded.registry)
    assert again.scenario == loaded.scenario


def test_configure_gives_the_config(registry: Registry) -> None:
    """A mapping becomes its plugin's Config; `each` belongs to the scenario and is left out."""
    config = configure(registry, "device", {"kind": "lamp", "name": "a", "p_kw": 2, "each": "load:*"})
    assert (config.name, config.p_kw) == ("a", 2.0)
    with pytest.raises(ScenarioError) as caught:
        configure(registry, "device", {"kind": "lamp", "name": "a", "p_kw": -2}, "devices.4")
    assert caught.value.problems[0].path == "devices.4.p_kw"


def test_device_templates_are_checked_as_they_stand(load: Load, problems: Find) -> None:
    """A device with `each` is validated before the network is known."""
    load('devices:\n  - {kind: lamp, each: "load:*", name: "l_{}", element: "{}"}\n')
    assert "p_kw" in problems('devices:\n  - {kind: lamp, each: "load:*", name: "l_{}", p_kw: x}\n')[0]


def test_messages_are_bounded(problems: Find) -> None:
    """Thousands of mistakes are counted, not all listed."""
    found = problems("".join(f"k{i}: 1\n" for i in range(3000)))
    assert len(found) == 1001
    assert found[-1] == "… and 2,000 more problems"


SNIPPETS = st.sampled_from([
    "name: x\n", "duration_s: 10\n", "grid: {network: case14}\n", "devices: [{kind: lamp, name: a}]\n", "devices:\n",
    "agents:\n  - name: a\n", "    policy: {kind: fixed}\n", "    period_s: 1\n", "channels: [{name: w, hops: [w]}]\n",
    "channels: 5\n", "agents: [1, {}, {name: 4}]\n", "record: {period_s: 0.5}\n", "disturbances: [{at_s: [1, x]}]\n",
    "plugins: [1]\n", "limits: []\n", "grid: x\n", "name: [x]\n", "messages: {to: [a]}\n", "seed: 1e99\n", "&a *a\n"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(text=st.one_of(st.text(max_size=200), st.text(string.printable, max_size=200),
                 st.lists(SNIPPETS, max_size=10).map("".join)))
def test_any_text_loads_or_is_refused(text: str, registry: Registry) -> None:
    """Whatever the text, the answer is a scenario or a ScenarioError with a message, nothing else."""
    try:
        said = load_text(text, path=Path("f"), registry=registry).scenario.name
    except ScenarioError as error:
        said = str(error)
    assert said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(raw=st.binary(max_size=300))
def test_any_bytes_load_or_are_refused(raw: bytes, tmp_path: Path, registry: Registry) -> None:
    """Whatever the file, the answer is a scenario or a ScenarioError, nothing else."""
    path = tmp_path / "any.yaml"
    path.write_bytes(raw)
    try:
        said = load_scenario(path, registry=registry).scenario.name
    except ScenarioError as error:
        said = str(error)
    assert said
