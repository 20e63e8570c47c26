"""A scenario as a result folder remembers it: the text as it was, and what else it takes to load it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosim.errors import ScenarioError
from cosim.plugins import Registry
from cosim.scenario.find import read_text, shipped_folder
from cosim.scenario.loader import LoadedScenario, load_text


def recorded_data(loaded: LoadedScenario) -> dict[str, Any]:
    """What a manifest keeps under ``scenario``: every value, defaults filled in, and under ``source`` its origin."""
    source = {"file": str(loaded.path), "base_dir": str(loaded.base_dir.resolve()),
              "overrides": list(loaded.overrides)}
    return {**loaded.scenario.model_dump(mode="json"), "source": source}


def load_recorded(folder: Path, *, registry: Registry | None = None, allow_plugins: bool = False) -> LoadedScenario:
    """The scenario of a result folder (``manifest.json`` and ``scenario.yaml``), with the overrides of its run.

    Files that it names are sought where they were; where that folder is gone, beside the shipped scenarios.
    Raises ScenarioError when the folder does not say.
    """
    source = _source(folder)
    text = read_text(folder / "scenario.yaml")
    base_dir = Path(source["base_dir"])
    if not base_dir.is_dir():
        base_dir = shipped_folder() or base_dir
    return load_text(text, path=Path(source["file"]), base_dir=base_dir, overrides=source["overrides"],
                     registry=registry, allow_plugins=allow_plugins)


def _source(folder: Path) -> Mapping[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        source = manifest["scenario"]["source"]
        texts = [source["file"], source["base_dir"], *source["overrides"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScenarioError(f"{path}: does not say how its scenario was loaded ({type(error).__name__}: {error}); "
                            f"expected a folder written by `gridloop run`") from None
    if not all(isinstance(item, str) for item in texts):
        raise ScenarioError(f"{path}: scenario.source holds something other than text")
    return dict(source)
