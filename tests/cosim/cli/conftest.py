"""The command line with an engine of fakes: commands run in this process and write nothing but what they are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cosim.cli import main
from cosim.cli.engine import Engine, Progress, Watch
from cosim.errors import RecordError
from cosim.plugins import PluginConfig, Registry
from cosim.scenario.loader import LoadedScenario

GOOD = "name: trial\nduration_s: 10\ngrid: {network: case14}\n"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a fake replay found."""

    recorded: str
    replayed: str
    divergence: str | None = None
    error: str = ""

    @property
    def same(self) -> bool:
        """Whether the digests agree."""
        return self.recorded == self.replayed


@dataclass
class FakeEngine:
    """Notes what it was asked; `status` and the errors are what it answers."""

    status: str = "done"
    error: Exception | None = None
    check_error: Exception | None = None
    replayed: Replayed = field(default_factory=lambda: Replayed("ab", "ab"))
    on_run: Callable[[Watch], None] = lambda watch: None
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def run(self, loaded: LoadedScenario, out: Path, until_s: float | None, watch: Watch) -> dict[str, Any]:
        """A run of ten instants, which leaves a manifest unless it fails before."""
        self.asked.append(("run", loaded.scenario, out, until_s))
        if self.error is not None:
            raise self.error
        out.mkdir(parents=True, exist_ok=True)
        (out / "manifest.json").write_text('{"new": true}')
        return self._finished(watch)

    def resume(self, folder: Path, allow_plugins: bool, watch: Watch) -> dict[str, Any]:
        """The same, without a scenario."""
        self.asked.append(("resume", folder, allow_plugins))
        if self.error is not None:
            raise self.error
        return self._finished(watch)

    def _finished(self, watch: Watch) -> dict[str, Any]:
        for t_us in range(10):
            watch.on_progress(t_us, 9)
        self.on_run(watch)
        status = "stopped" if watch.should_stop() else self.status
        return {"status": status, "digest": "ab" * 32, "sim_s": 10.0, "kpis": {"v_min_pu": 0.97, "v_min_bus": "B1"}}

    def check(self, loaded: LoadedScenario) -> None:
        """References are fine unless told otherwise."""
        if self.check_error is not None:
            raise self.check_error

    def replay(self, folder: Path, allow_plugins: bool, on_progress: Progress) -> Replayed:
        """As told."""
        return self.replayed

    def report(self, folder: Path, out: Path) -> Path:
        """Writes an empty page."""
        try:
            out.write_text("<html>")
        except OSError as error:
            raise RecordError(str(error)) from error
        return out


class Idle:
    """A policy without options."""

    family, kind, summary = "policy", "idle", "Does nothing"
    Config = PluginConfig
    build: ClassVar[Any] = None


def registry() -> Registry:
    """One policy, nothing installed."""
    found = Registry(installed=False)
    found.add(Idle, origin="tests")
    return found


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


@pytest.fixture
def fake() -> FakeEngine:
    """An engine of fakes."""
    return FakeEngine()


@pytest.fixture
def gridloop(fake: FakeEngine, capsys: pytest.CaptureFixture[str], tmp_path: Path,
             monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Runs a command in an empty folder that holds only ``good.yaml``."""
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(GOOD)
    engine = Engine(fake.run, fake.resume, fake.check, fake.replay, fake.report, lambda: [("case14", "14 buses")],
                    registry)

    def call(*argv: str) -> Said:
        code = main(argv, engine=engine)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call
