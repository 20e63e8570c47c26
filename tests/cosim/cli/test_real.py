"""The command line with the real engine: what a person who runs it sees of a bad scenario or folder."""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path

import pytest

from cosim.cli import main

HEAD = "name: t\nduration_s: 3\ngrid: {network: case33bw}\n"


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, list[str]]:
    """Exit code, and the lines of both streams."""
    code = main(argv)
    out, err = capsys.readouterr()
    return code, (out + err).splitlines()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a good scenario."""
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(HEAD)
    return tmp_path


def test_check_finds_bad_traces_with_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A trace file that is missing or holds nonsense: the line of the key that names it, and what is expected."""
    Path("bad.csv").write_text("ms\n1\nx\n")
    Path("t.yaml").write_text(HEAD + "channels:\n"
                              "  - {name: w, rules: [{kind: latency, distribution: trace, file: none.csv}]}\n"
                              "  - name: v\n    up:\n      - {kind: loss, probability: 0.1}\n"
                              "      - {kind: latency, distribution: trace,\n         file: bad.csv}\n")
    code, lines = said(capsys, "check", "t.yaml")
    assert code == 2
    assert lines[0].startswith("t.yaml:5:66: channels.0.rules.0.file: latency: none.csv: latency trace cannot be read")
    assert lines[1] == ("t.yaml:10:16: channels.1.up.1.file: latency: bad.csv:3: found 'x'; expected one delay in "
                        "milliseconds, zero or more")
    assert lines[2:] == ["2 errors, 0 warnings"]


@pytest.mark.parametrize(("fragment", "message"), [
    ("devices:\n  - {kind: load, each: 'lod:*', name: 'l_{}', element: '{}'}\n",
     "t.yaml:5:24: devices.0.each: found 'lod:*'; expected TABLE:PATTERN such as 'load:*', with a table of bus"),
    ("devices:\n  - {kind: pv, each: 'sgen:*', name: 'p_{}', element: '{}', p_rated_kw: 1}\n",
     "t.yaml:5:22: devices.0.each: '*' matches no sgen of the network; known: none"),
    ("devices:\n  - {kind: load, each: 'load:x*', name: 'l_{}', element: '{}'}\n",
     "t.yaml:5:24: devices.0.each: 'x*' matches no load of the network; known: 2, 3"),
    ("agents:\n  - {name: 'a_{}', each: 'pv_*', policy: {kind: constant, values: [1]}, period_s: 1}\n",
     "t.yaml:5:26: agents.0.each: 'pv_*' matches no device; known: none"),
    ("devices:\n  - {kind: load, name: a, element: 2}\n  - {kind: load, each: 'load:2', name: 'l{}', element: '{}'}\n",
     "t.yaml:6:56: devices.1.element: device 'l2': load '2' is taken over by device 'a' already"),
])
def test_each_that_makes_nothing_good_has_its_line(capsys: pytest.CaptureFixture[str], fragment: str,
                                                   message: str) -> None:
    """`each` over an unknown table, over no element, over no device, over an element that has a device."""
    Path("t.yaml").write_text(HEAD + fragment)
    code, lines = said(capsys, "check", "t.yaml")
    assert (code, len(lines)) == (2, 2)
    assert lines[0].startswith(message)


@pytest.mark.parametrize(("arguments", "message"), [
    (("--out", "good.yaml/deep"), "good.yaml/deep: cannot be written: Not a directory"),
    (("--out", "mine"), "mine: holds files that are no result; name another folder"),
    (("--out", "mine", "--force"), "mine: holds files that are no result; name another folder"),
    (("--until", "4"),
     "--until: found 4 s; expected more than 0 and at most duration_s = 3 s (a longer run: --set duration_s=4)"),
    (("--until", "-1"), "--until: time -1.0 s: expected a finite number of seconds, zero or more"),
    (("--until", "0"), "--until: found 0 s; expected more than 0 and at most duration_s = 3 s"),
])
def test_runs_that_cannot_begin(capsys: pytest.CaptureFixture[str], here: Path, arguments: tuple[str, ...],
                                message: str) -> None:
    """One message, exit 2, nothing written."""
    (here / "mine").mkdir()
    (here / "mine" / "letter.txt").touch()
    assert said(capsys, "run", "good.yaml", "--quiet", *arguments) == (2, [message])
    assert sorted(path.name for path in here.rglob("*")) == ["good.yaml", "letter.txt", "mine"]


def test_a_result_is_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    """A second run into one folder is refused and says what would do."""
    assert said(capsys, "run", "good.yaml", "--quiet", "--out", "r") == (0, [])
    before = Path("r/manifest.json").read_bytes()
    assert said(capsys, "run", "good.yaml", "--quiet", "--out", "r") == (2, [
        "r: holds a result already; name another folder, or --force to replace it, or --resume to go on with it"])
    assert Path("r/manifest.json").read_bytes() == before


DEVICE = """from cosim.devices.single import Ask, SingleDevice
from cosim.plugins import Measurement, Role
class Odd(SingleDevice):
    kind = "odd"
    shows = (Measurement("heat", "kW", "heat"),)
    def limits(self):
        return {limits}
    def apply(self, setpoints, v_pu):
        {apply}
    def advance(self, dt_s):
        {advance}
    def measure(self):
        return {{"heat": {heat}}}
"""
GOOD = {"limits": "0.0, 0.0, 0.0, 0.0", "apply": "return 0.0, 0.0", "advance": "pass", "heat": "1.0"}


@pytest.mark.parametrize(("part", "text", "message"), [
    ("limits", "None", "device 'o': limits failed: TypeError"),
    ("limits", "0.0, 1.0", "device 'o': limits failed: ValueError"),
    ("heat", "'hot'", "device 'o': measure failed: ValueError"),
    ("apply", "raise ValueError('boom')", "device 'o': apply failed: ValueError: boom"),
    ("apply", "return float('nan'), 0.0", "device 'o': apply failed: ValueError: gave nan"),
    ("advance", "raise KeyError('x')", "device 'o': advance failed: KeyError"),
])
def test_a_device_that_fails_in_the_first_solve_leaves_nothing(
        capsys: pytest.CaptureFixture[str], part: str, text: str, message: str) -> None:
    """Foreign code that breaks its contract before the first instant: one message, exit code 2, no folder."""
    Path("odd").mkdir()
    Path("odd/odd.py").write_text(DEVICE.format(**{**GOOD, part: text}))
    Path("t.yaml").write_text(HEAD + 'plugins: [odd]\ndevices:\n  - {kind: odd, name: o, bus: "18"}\n')
    code, lines = said(capsys, "run", "t.yaml", "--allow-plugins", "--quiet", "--out", "r")
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(message)
    assert not Path("r").exists()


def test_an_impossible_first_solve_keeps_what_force_would_replace(capsys: pytest.CaptureFixture[str]) -> None:
    """A demand beyond numbers is refused before anything ran, and the result that was there stays."""
    assert said(capsys, "run", "good.yaml", "--quiet", "--out", "r")[0] == 0
    before = Path("r/manifest.json").read_bytes()
    Path("t.yaml").write_text(HEAD + 'devices:\n  - {kind: load, name: l, bus: "18", p_kw: 1.0e+308}\n')
    code, lines = said(capsys, "run", "t.yaml", "--quiet", "--out", "r", "--force")
    assert code == 2
    assert "not finite" in lines[-1]
    assert Path("r/manifest.json").read_bytes() == before


POLICY = """from typing import Literal
from cosim.plugins import PluginConfig
class Odd:
    family, kind, summary = "policy", "odd", "odd"
    class Config(PluginConfig):
        kind: Literal["odd"] = "odd"
    @classmethod
    def build(cls, config, situation):
        return {made}
    def act(self, observation, t_us):
        return {answer}
"""


@pytest.mark.parametrize(("made", "answer", "code", "message"), [
    ("1 / 0", "[0.0]", 2, "t.yaml:8:23: agents.0.policy: policy odd: build failed: ZeroDivisionError"),
    ("None", "[0.0]", 2, "t.yaml:8:23: agents.0.policy: policy odd: build gave None; expected an object with act("),
    ("cls()", "['a']", 1, "agent 'a': its policy answered ['a']; expected numbers, one for each point in `actuate`"),
    ("cls()", "3.0", 1, "agent 'a': its policy answered 3.0; expected numbers"),
    ("cls()", "exit(0)", 1, "a plugin's code called sys.exit(0); expected an exception"),
])
def test_a_policy_that_breaks_its_contract_is_named(
        capsys: pytest.CaptureFixture[str], made: str, answer: str, code: int, message: str) -> None:
    """A policy that cannot be built is a bad scenario with its line; one that answers nonsense fails the run."""
    Path("odd").mkdir()
    Path("odd/odd.py").write_text("import sys\nexit = sys.exit\n" + POLICY.format(made=made, answer=answer))
    Path("t.yaml").write_text(
        HEAD + 'plugins: [odd]\ndevices:\n  - {kind: battery, name: s, bus: "18", p_max_kw: 9, e_rated_kwh: 9}\n'
        "agents:\n  - {name: a, policy: {kind: odd}, period_s: 1, actuate: [s.p_set_kw]}\n")
    found, lines = said(capsys, "run", "t.yaml", "--allow-plugins", "--quiet", "--out", "r")
    assert found == code
    assert any(message in line for line in lines), lines


def test_a_plugin_that_is_not_loaded_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --allow-plugins the kinds of the plugin are unknown too; that is no second mistake."""
    Path("t.yaml").write_text(HEAD + 'plugins: [odd]\ndevices:\n  - {kind: odd, name: o, bus: "18"}\n')
    code, lines = said(capsys, "run", "t.yaml")
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith("t.yaml:4:10: plugins: this scenario brings its own code")


def test_a_name_too_long_and_a_value_too_long_are_clear(capsys: pytest.CaptureFixture[str]) -> None:
    """--out beyond what the file system takes is refused; a message does not quote thousands of letters."""
    code, lines = said(capsys, "run", "good.yaml", "--out", "a" * 300)
    assert (code, len(lines)) == (2, 1)
    assert "File name too long" in lines[0]
    code, lines = said(capsys, "run", "good.yaml", "--set", "grid.network=" + "b" * 9000)
    assert code == 2
    assert max(map(len, lines)) < 1200


def test_times_of_a_schedule_have_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    """A row at 1e308 s is refused with its line."""
    Path("t.yaml").write_text(
        HEAD + 'devices:\n  - {kind: battery, name: s, bus: "18", p_max_kw: 9, e_rated_kwh: 9}\n'
        "agents:\n  - {name: a, policy: {kind: schedule, rows: [[0, 1], [1.0e+308, 2]]}, period_s: 1, "
        "actuate: [s.p_set_kw]}\n")
    code, lines = said(capsys, "run", "t.yaml", "--out", "r")
    assert code == 2
    assert "`rows` must have t_s of at most" in lines[0]


def test_a_live_run_is_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    """--force leaves a folder alone into which another process is recording."""
    assert said(capsys, "run", "good.yaml", "--quiet", "--out", "r")[0] == 0
    with Path("r/commits.jsonl").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, lines = said(capsys, "run", "good.yaml", "--quiet", "--out", "r", "--force")
    assert (code, lines) == (2, ["r: another process is recording into this folder; stop it first"])
    assert Path("r/manifest.json").is_file()


@pytest.mark.parametrize("argv", [("schema", "--out", "good.yaml"), ("report", "r", "--out", "good.yaml")])
def test_outputs_do_not_replace_something_else(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    """A schema or report may be written again, but not over a scenario."""
    assert said(capsys, "run", "good.yaml", "--quiet", "--out", "r")[0] == 0
    assert said(capsys, *argv) == (2, ["good.yaml exists already and is something else; choose another name"])
    assert Path("good.yaml").read_text() == HEAD
    again = [*argv[:-1], "again"]
    assert [said(capsys, *again)[0] for _ in range(2)] == [0, 0]


def test_a_full_disk_behind_stdout_is_one_message(monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be printed is said on the other stream."""
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["list", "policies"]) == 1
    assert capsys.readouterr().err == "the output cannot be written: No space left on device\n"


SUNNY = HEAD + """
shield: enforce
limits: {v_min_pu: 0.9, v_max_pu: 1.05}
devices: [{kind: pv, name: pv, bus: "18", p_rated_kw: 4000, s_rated_kva: 4000}]
agents:
  - {name: greedy, period_s: 1, observe: [bus.18.v_pu], actuate: [pv.p_set_kw],
     policy: {kind: constant, values: [4000]}}
"""


def test_a_counterfactual_is_a_result_inside_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    """Both replay, the report shows both, and a new run in its place takes it away."""
    Path("s.yaml").write_text(SUNNY)
    code, lines = said(capsys, "run", "s.yaml", "--out", "r", "--until", "2", "--counterfactual")
    assert code == 0
    violations = next(line for line in reversed(lines) if line.startswith("voltage violations")).split()
    assert float(violations[2]) == 0 < float(violations[3])
    for folder in ("r", "r/counterfactual"):
        assert said(capsys, "replay", folder, "--quiet")[0] == 0
    assert said(capsys, "report", "r")[0] == 0
    assert "<td>Voltage violations</td><td class=num>0 bus-min</td>" in Path("r/report.html").read_text()
    assert said(capsys, "run", "s.yaml", "--out", "r", "--quiet", "--force") == (0, [])
    assert not Path("r/counterfactual").exists()
