"""A run killed with -9 at any instant goes on as if nothing had been.

A first process imports everything once and forks; a fork runs (or resumes) and is killed after a random time.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosim.recorder import RunResult
from cosim.scenario.loader import load_scenario
from cosim.simulation.session import RunOptions, resume_run, run_scenario
from tests.cosim.simulation.worlds import RICH, loaded

ROOT = Path(__file__).parents[3]
INSTANTS = 20
FLUSH_S = 0.03

#: Reads ``run|resume <folder> <seconds>`` a line; forks, lets the child live that long, kills it; answers a line.
FORKER = f"""
import os, signal, sys, time
from pathlib import Path
from cosim.scenario.loader import load_scenario
from cosim.simulation.session import RunOptions, resume_run, run_scenario
scenario = Path(sys.argv[1])
for line in sys.stdin:
    verb, folder, seconds = line.split()
    out, options = Path(folder), RunOptions(flush_s={FLUSH_S})
    pid = os.fork()
    if pid == 0:
        if verb == "run":
            run_scenario(load_scenario(scenario), out, options)
        else:
            resume_run(out, options)
        os._exit(0)
    while not (out / "manifest.json").exists():
        time.sleep(0.001)
    end, done = time.monotonic() + float(seconds), (0, 0)
    while time.monotonic() < end and not done[0]:
        time.sleep(0.002)
        done = os.waitpid(pid, os.WNOHANG)
    if not done[0]:
        os.kill(pid, signal.SIGKILL)
        done = os.waitpid(pid, 0)
    print("killed" if os.WIFSIGNALED(done[1]) else f"exit {{os.WEXITSTATUS(done[1])}}", flush=True)
"""


class Forker:
    """The process that forks and kills."""

    def __init__(self, scenario: Path) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", FORKER, str(scenario)], cwd=ROOT, text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def kill_after(self, seconds: float, verb: str, folder: Path) -> str:
        """Start, kill; returns ``killed``, or how it ended if it was done before."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(verb, folder, seconds, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """No more."""
        self._process.communicate(timeout=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scenario and all results lie."""
    place = tmp_path_factory.mktemp("kill")
    (place / "s.yaml").write_text(loaded(**{**RICH, "duration_s": 80}).text)
    return place


@pytest.fixture(scope="module")
def whole(folder: Path) -> tuple[str, float]:
    """Digest of the run that nobody killed, and how long it took."""
    begun = time.monotonic()
    summary = run_scenario(load_scenario(folder / "s.yaml"), folder / "whole", RunOptions(flush_s=FLUSH_S))
    assert summary.status == "done"
    assert len((folder / "whole" / "commits.jsonl").read_text().splitlines()) > 5
    return summary.digest, time.monotonic() - begun


@pytest.fixture(scope="module")
def forker(folder: Path) -> Iterator[Forker]:
    """One for all."""
    process = Forker(folder / "s.yaml")
    yield process
    process.close()


def readable(out: Path, whole_folder: Path) -> int:
    """What a killed run left is readable, and a prefix of the whole; returns its number of samples."""
    result, complete = RunResult.load(out), RunResult.load(whole_folder)
    assert result.status in ("killed", "done")
    for table in ("samples", "events", "commands", "decisions"):
        ours, theirs = getattr(result, table)(), getattr(complete, table)()
        assert ours.empty or ours.equals(theirs.iloc[:len(ours)]), table  # an empty frame has no types
    return len(result.samples())


@pytest.mark.slow
@pytest.mark.parametrize("number", range(INSTANTS))
def test_killed_at_a_random_instant(folder: Path, whole: tuple[str, float], forker: Forker, number: int) -> None:
    """Whatever was flushed is readable; resumed (and killed again while resuming) it ends with the same digest."""
    digest, seconds = whole
    out, rng = folder / f"run{number}", random.Random(number)
    ended = forker.kill_after(rng.uniform(0, seconds), "run", out)
    assert ended in ("killed", "exit 0")
    reached = readable(out, folder / "whole")
    for _ in range(rng.choice((0, 0, 1, 2))):
        if RunResult.load(out).status == "done":
            break
        assert forker.kill_after(rng.uniform(0, seconds), "resume", out) in ("killed", "exit 0")
        again = readable(out, folder / "whole")
        assert again >= reached
        reached = again
    if RunResult.load(out).status != "done":
        summary = resume_run(out, RunOptions(flush_s=FLUSH_S))
        assert (summary.status, summary.digest) == ("done", digest)
    assert RunResult.load(out).digest == digest
    assert readable(out, folder / "whole") == 81
