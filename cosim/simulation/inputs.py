"""A result folder that stands by itself: the data a run read is kept beside its record, and read from there again.

``inputs/`` holds files under the relative names that the scenario uses.  A name that leads outside the scenario's
folder (absolute, or with ``..``) cannot stand there under its own name; such a file is named in the manifest's
scenario only, and a replay needs it where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from cosim.errors import RecordError, ReplayError
from cosim.recorder import RunResult
from cosim.scenario.loader import LoadedScenario, load_text

INPUTS = "inputs"

#: What is loaded of a folder: plugins; and of a bundle its description, weights and networks.
_LOADED = ("*.py", "bundle.json", "*.safetensors", "*.onnx")


def copy_inputs(loaded: LoadedScenario, files: Iterable[tuple[str, Path]], folder: Path) -> None:
    """Copy what the scenario reads from its own folder: profiles, grids, delay traces, plugins, bundles of policies."""
    wanted = {name: path for name, path in files if _inside(name)}
    for name in _names_in(loaded):
        path = loaded.base_dir / name
        if _inside(name) and path.exists():
            wanted.setdefault(name, path)
    for name, path in sorted(wanted.items()):
        if (loaded.base_dir / name).exists():
            _copy(path, folder / INPUTS / name)


def reopened(folder: Path, *, allow_plugins: bool) -> tuple[LoadedScenario, Mapping[str, Any]]:
    """The scenario of a result, with its own copies of the data, and the manifest; raises ReplayError."""
    manifest = RunResult.load(folder).manifest
    text = folder / "scenario.yaml"
    try:
        source = text.read_text(encoding="utf-8")
    except OSError as error:
        raise ReplayError(f"{text}: cannot be read ({error.strerror}); a result holds the scenario it was made "
                          f"from") from error
    loaded = load_text(source, path=text, base_dir=folder / INPUTS, overrides=tuple(manifest["overrides"]),
                       allow_plugins=allow_plugins)
    return loaded, manifest


def _names_in(loaded: LoadedScenario) -> Iterable[str]:
    scenario = loaded.scenario
    yield scenario.grid.network
    yield from scenario.plugins
    for station in scenario.stations:
        if isinstance(station.get("points"), str):
            yield station["points"]
    for channel in scenario.channels:
        for rules in (channel.rules, channel.up or (), channel.down or ()):
            for rule in rules:
                if isinstance(rule.get("file"), str):
                    yield rule["file"]
    for agent in scenario.agents:
        for policy in (agent.policy, agent.fallback or {}):
            if isinstance(policy.get("bundle"), str):
                yield policy["bundle"]


def _inside(name: str) -> bool:
    path = PurePath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            # A folder of plugins or a bundle: what is loaded of it, and no more.  It may be the scenario's own, with
            # results (this one too) and data below.
            target.mkdir(exist_ok=True)
            for pattern in _LOADED:
                for file in sorted(source.glob(pattern)):
                    shutil.copyfile(file, target / file.name)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        raise RecordError(f"{target}: cannot keep a copy of {source.name} ({error.strerror})") from error
