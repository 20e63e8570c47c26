"""The command line with the real engine: what a person who runs it sees of a bad scenario or folder."""

from __future__ import annotations

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
