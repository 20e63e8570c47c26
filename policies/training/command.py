"""The command that makes a training again: every setting that is not a default, as `gridloop train` reads it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies.training.config import TrainConfig

if TYPE_CHECKING:
    from policies.training.offline import OfflineConfig

#: Settings with an option of their own below, and those whose parts are told one by one.
_OWN = ("scenario", "algo", "steps", "seed", "agents", "overrides", "duration_s", "options", "device")
_PARTS = ("collection", "checkpoints", "stop", "trials")


def command_of(config: TrainConfig) -> str:
    """The training's command.  ``--bare``: settings that come with the scenario may not be the same another day."""
    words = ["gridloop", "train", config.scenario, "--bare", "--algo", config.algo, "--steps", str(config.steps),
             "--seed", str(config.seed)]
    if config.agents is not None:
        words += ["--option", f"agents={json.dumps(config.agents)}"]
    if config.duration_s is not None:
        words += ["--duration", repr(config.duration_s)]
    for text in config.overrides:
        words += ["--set", text]
    words += _hyper(config.options)
    for path, value in _others(config):
        words += ["--option", f"{path}={_text(value)}"]
    if config.device != "cpu":
        words += ["--device", config.device]
    return shlex.join([*words, "--allow-plugins"] if config.allow_plugins else words)


def offline_command(config: OfflineConfig, dataset: Path) -> str:
    """The command of a training from a data set."""
    words = ["gridloop", "train", *([] if config.scenario is None else [config.scenario]), "--dataset", str(dataset),
             "--algo", config.algo, "--steps", str(config.batches), "--seed", str(config.seed)]
    for text in config.overrides:
        words += ["--set", text]
    words += _hyper(config.options)
    if config.device != "cpu":
        words += ["--device", config.device]
    return shlex.join([*words, "--allow-plugins"] if config.allow_plugins else words)


def _hyper(options: Mapping[str, Any]) -> list[str]:
    return [word for name, value in options.items() for word in ("--hyper", f"{name}={_text(value)}")]


def _others(config: TrainConfig) -> Iterator[tuple[str, Any]]:
    """(path, value) of everything else that is not as it is by default."""
    now = config.model_dump(mode="json")
    usual = TrainConfig(scenario=config.scenario).model_dump(mode="json")
    for name in now:
        if name in _OWN or now[name] == usual[name]:
            continue
        if name in _PARTS:
            yield from ((f"{name}.{part}", value) for part, value in now[name].items() if value != usual[name][part])
        else:
            yield name, now[name]


def _text(value: Any) -> str:
    """A value as YAML reads it: JSON, which is YAML but for numbers such as 1e-05, which it wants as 1.0e-05."""
    if isinstance(value, float) and "." not in repr(value) and "e" in repr(value):
        return repr(value).replace("e", ".0e", 1)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    return json.dumps(value)
