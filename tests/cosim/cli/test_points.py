"""``gridloop points``: words, files and exit codes of its actions."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cosim.cli import app, points
from cosim.cli.app import main

GOOD = "# base: modicon\ntag,address,type,access,min,max\nP,40021,float32,RW,0,1200\nQ,30001,int16,R,,\n"
SCENARIO = ("name: t\nduration_s: 3\ngrid: {network: case33bw}\n"
            "devices:\n  - {kind: pv, name: pv, bus: '18', p_rated_kw: 500}\n")


@dataclass(frozen=True, slots=True)
class Said:
    """Exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command in a folder with a list and a scenario."""
    monkeypatch.chdir(tmp_path)
    if points not in app.COMMANDS:
        monkeypatch.setattr(app, "COMMANDS", (*app.COMMANDS, points))
    Path("good.csv").write_text(GOOD)
    Path("t.yaml").write_text(SCENARIO)

    def call(*argv: str) -> Said:
        code = main(["points", *argv])
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call


def test_validate(say: Any) -> None:
    """What is in the list, by table; exit 0."""
    said = say("validate", "good.csv")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "good.csv: 2 points",
        "  unit 1: hr 20 = 40021 (400021) to hr 21 = 40022 (400022): 1 point, 1 writable, 1 read",
        "  unit 1: ir 0 = 30001 (300001) to ir 0 = 30001 (300001): 1 point, 1 read", "0 errors, 0 warnings"]
    data = say("validate", "good.csv", "--json").data
    assert (data["ok"], data["points"], data["tables"][0]["reads"]) == (True, 2, 1)


def test_validate_says_everything_wrong(say: Any) -> None:
    """Each error on its line; exit 2, also with --json."""
    Path("bad.csv").write_text(GOOD.replace("float32", "flot32").replace("30001", "20001"))
    said = say("validate", "bad.csv")
    assert said.code == 2
    assert [line.partition(": ")[0] for line in said.out.splitlines()] == ["bad.csv:3:9", "bad.csv:4:3",
                                                                         "2 errors, 0 warnings"]
    data = say("validate", "bad.csv", "--json").data
    assert (data["ok"], [error["line"] for error in data["errors"]]) == (False, [3, 4])


def test_validate_against_a_scenario(say: Any) -> None:
    """Points that the run does not have are errors; what looks odd is a warning."""
    Path("run.csv").write_text("# base: 0\ntag,table,address,type,access,units\npv.p_set_kw,hr,0,float32,RW,MW\n"
                               "pv.p_kv,ir,0,float32,R,\n")
    said = say("validate", "run.csv", "--scenario", "t.yaml")
    assert said.code == 2
    lines = said.out.splitlines()
    assert lines[0] == ("run.csv:4:0: point: the run has no point 'pv.p_kv' (did you mean 'pv.p_kw'?) "
                        "[pv.p_kv, ir 0 = 30001 (300001)]")
    assert "run.csv:3:0: units: warning: found 'MW', the run's point is in kW" in lines[1]
    assert lines[-1] == "1 error, 1 warning"


def test_explain(say: Any) -> None:
    """By address in any notation, by tag; with a value; as data."""
    said = say("explain", "good.csv", "40022", "--value", "100.5")
    assert said.code == 0
    assert "100.5 -> raw 100.5 -> 42 C9 00 00 (hr 20 = 0x42C9, hr 21 = 0x0000)" in said.out
    found, = say("explain", "good.csv", "Q", "--value", "-5", "--json").data["found"]
    assert (found["table"], found["address"], found["bytes"]) == ("input_registers", 0, "fffb")
    said = say("explain", "good.csv", "40030")
    assert said.code == 2
    assert "good.csv: nothing at hr 29 = 40030 (400030)" in said.err


def test_diff(say: Any) -> None:
    """One line for each tag; --exit-code for scripts."""
    Path("new.csv").write_text(GOOD.replace("40021", "40031"))
    said = say("diff", "good.csv", "new.csv")
    assert (said.code, said.out) == (
        0, "moved    P: unit 1, hr 20 = 40021 (400021) -> unit 1, hr 30 = 40031 (400031)\n")
    assert say("diff", "good.csv", "new.csv", "--exit-code").code == 1
    assert say("diff", "good.csv", "good.csv", "--exit-code").out == "no difference\n"
    assert say("diff", "good.csv", "new.csv", "--json").data["differences"][0]["change"] == "moved"


def test_export(say: Any) -> None:
    """To the terminal, or into a file that is not there yet."""
    assert say("export", "good.csv", "--base", "1").out.splitlines()[2] == "P,1,hr,21,float32,0,1200,RW"
    assert "| P | 1 | hr 20 = 40021 (400021) |" in say("export", "good.csv", "--format", "markdown").out
    said = say("export", "good.csv", "--format", "kepware", "--out", "k.csv")
    assert said.out.startswith("wrote k.csv: 2 points\nnote: set Zero-Based Addressing on")
    assert Path("k.csv").read_text().startswith("Tag Name,Address,")
    again = say("export", "good.csv", "--out", "k.csv")
    assert (again.code, "exists already" in again.err) == (2, True)
    assert say("export", "good.csv", "--out", "k.csv", "--force").code == 0


def test_generate(say: Any) -> None:
    """A list that validates against its scenario, read-only unless told otherwise."""
    assert say("generate", "t.yaml", "--writable", "*.p_set_kw", "--out", "g.csv").code == 0
    said = say("validate", "g.csv", "--scenario", "t.yaml", "--json")
    assert (said.code, said.data["warnings"]) == (0, [])
    assert sum(table["writable"] for table in said.data["tables"]) == 1
    assert "R," in say("generate", "t.yaml", "--points", "pv.p_set_kw").out
    assert say("generate", "t.yaml", "--writable", "pv.p_kw").code == 2


@pytest.mark.parametrize(("name", "text"), [
    ("m.yaml", "base: 1\ncolumns: {tag: N, address: A, table: {value: ir}, type: {value: int16}}\n"),
    ("m.toml", 'base = "1"\n[columns]\ntag = "N"\naddress = "A"\ntable = {value = "ir"}\ntype = {value = "int16"}\n')])
def test_import(say: Any, name: str, text: str) -> None:
    """By a mapping in YAML or TOML."""
    Path(name).write_text(text)
    Path("v.csv").write_text("N,A\nx,21\n")
    said = say("import", "v.csv", "--map", name)
    assert (said.code, said.out) == (0, "# base: 0\ntag,unit,table,address,type,access\nx,1,ir,20,int16,R\n")


@pytest.mark.parametrize(("argv", "says"), [
    (("validate", "cigre_mv_rt"), "did you mean 'cigre_mv_rtu'? shipped: cigre_mv_rtu"),
    (("validate", "."), "is not a regular file"), (("import", "none.csv", "--map", "none.yaml"), "no such file"),
    (("import", "good.csv", "--map", "bad.yaml"), "no YAML or TOML"), (("explain", "good.csv", "21"), "hr 20"),
    (("validate", "good.csv", "--scenario", "none"), "no such file"), (("export", "a\0b"), r"'a\x00b': no such file")])
def test_what_cannot_be_done(say: Any, argv: tuple[str, ...], says: str) -> None:
    """One clear message, exit 2."""
    Path("bad.yaml").write_text("a: [")
    said = say(*argv)
    assert said.code == 2
    assert says in said.err + said.out


def test_a_shipped_list_by_name(say: Any) -> None:
    """From anywhere."""
    assert "87 points" in say("validate", "cigre_mv_rtu").out


def test_arguments() -> None:
    """An action is required; --json goes before or behind it."""
    parser = argparse.ArgumentParser()
    points.add_arguments(parser)
    parser.add_argument("--json", action="store_true")
    assert parser.parse_args(["validate", "f", "--json"]).json
    assert parser.parse_args(["--json", "validate", "f"]).json
    assert not parser.parse_args(["validate", "f"]).json
    with pytest.raises(SystemExit):
        parser.parse_args([])
