"""A training that begins with a bundle, of this scenario or another one: its actors carried over, by name."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from policies.bundle import Bundle
from policies.description import Description
from policies.training.algorithm import algorithm_class
from policies.training.assembly import assemble
from policies.training.config import TrainConfig
from policies.transfer import Moved, TransferError, transfer

#: Hyperparameters that the bundle's network decides, and what of its description says so.
_OF_NETWORK = {"hidden": "hidden", "activation": "activation", "normalise": "normalise"}


def start_from(config: TrainConfig, folder: Path, start: Path) -> tuple[TrainConfig, tuple[Moved, ...]]:
    """The configuration with the bundle in `folder` carried over to its scenario and saved at `start`; and what moved.

    Networks get the bundle's sizes unless the configuration gives others, which is then refused.  Raises BundleError,
    TransferError, and whatever the configuration itself is refused for.
    """
    bundle = Bundle.load(folder)
    network = next(iter(bundle.groups.values())).network
    options = {**_options(config, network), **config.options}
    config = config.model_copy(update={"options": options, "bundle": None})
    assembly = assemble(config)
    specs = {name: [assembly.env.specs[i] for i in members] for name, members in assembly.env.groups.items()}
    carried, moved = transfer(bundle, specs)
    for name, algorithm in assembly.algorithms.items():
        _check_network(folder, config.algo, carried.group(name).network, Description.of(algorithm.actor_description()))
    carried.save(start)
    return config.model_copy(update={"bundle": str(start)}), moved


def _options(config: TrainConfig, network: Description) -> dict[str, Any]:
    known = algorithm_class(config.algo).Options.model_fields
    found = {option: getattr(network, of) for option, of in _OF_NETWORK.items() if option in known}
    if "memory" in known:
        found["memory"] = network.kind == "gru"
    return found


def _check_network(folder: Path, algo: str, carried: Description, wanted: Description) -> None:
    differing = [f"{field.name}: {getattr(carried, field.name)} in the bundle, {getattr(wanted, field.name)} here"
                 for field in fields(Description) if getattr(carried, field.name) != getattr(wanted, field.name)]
    if differing:
        raise TransferError(f"{folder}: its network is none that {algo} goes on with ({'; '.join(differing)}); "
                            f"expected the same family of algorithms and sizes, or a new training")
