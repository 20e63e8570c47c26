"""A named channel of a scenario: two directions, and how they are built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cosim.channel.config import ChannelConfig, Ordering, channel_problems, read_rule
from cosim.channel.link import Link
from cosim.channel.route import Route
from cosim.channel.rule import Rule, RuleSite
from cosim.channel.traffic import Traffic
from cosim.errors import PluginError, ScenarioError
from cosim.kernel import T_MAX_US, Kernel
from cosim.plugins import Registry
from cosim.points import Point, Vector


class Channel:
    """Two directions: `up` (field to agent, agent to agent) and `down` (agent to field)."""

    __slots__ = ("down", "name", "up")

    def __init__(self, name: str, up: Traffic, down: Traffic) -> None:
        self.name, self.up, self.down = name, up, down

    @property
    def directions(self) -> tuple[Traffic, Traffic]:
        """Up, then down."""
        return self.up, self.down

    def block(self, until_us: int = T_MAX_US, *, drop_in_flight: bool = False) -> None:
        """Partition both directions from now on, before `until_us`."""
        for traffic in self.directions:
            traffic.block(until_us, drop_in_flight=drop_in_flight)

    def open_(self) -> None:
        """End every block at once, in both directions."""
        for traffic in self.directions:
            traffic.open_()

    def points(self) -> tuple[Point, ...]:
        """``channel.<name>.<up|down>.{sent,delivered,lost,queue,delay_s,age_s}``: six of up, six of down."""
        return self.up.points() + self.down.points()

    def measure(self, out: Vector) -> None:
        """Write the values of `points` into `out`, shape (12,), as of the kernel's time."""
        half = len(out) // 2
        self.up.measure(out[:half])
        self.down.measure(out[half:])


def build_channels(raws: Sequence[Mapping[str, Any]], kernel: Kernel, registry: Registry,
                   folder: Path = Path()) -> dict[str, Channel]:
    """Channels by name, in scenario order; `folder` is where relative file names begin.

    Raises ScenarioError with every problem found, or PluginError for a file that cannot be used.
    """
    problems = channel_problems(raws, registry)
    if problems:
        raise ScenarioError(problems)
    configs = [ChannelConfig.model_validate(raw) for raw in raws]
    built = {config.name: _with_rules(config, kernel, registry, folder) for config in configs if config.hops is None}
    return {config.name: built[config.name] if config.hops is None else _over_hops(config, kernel, built)
            for config in configs}


def _with_rules(config: ChannelConfig, kernel: Kernel, registry: Registry, folder: Path) -> Channel:
    links = []
    for direction in ("up", "down"):
        name = f"channel.{config.name}.{direction}"
        rules: list[Rule] = []
        for i, raw in enumerate(config.rules_of(direction)):
            plugin, options = read_rule(raw, registry)
            try:
                rules.append(plugin.build(options, RuleSite(kernel.rng(f"{name}.{i}"), kernel, folder)))
            except PluginError as error:
                raise PluginError(f"{name}, rule {i} ({options.kind}): {error}") from error
        links.append(Link(name, kernel, rules, fifo=config.ordering is Ordering.FIFO, capacity=config.capacity))
    return Channel(config.name, *links)


def _over_hops(config: ChannelConfig, kernel: Kernel, built: Mapping[str, Channel]) -> Channel:
    assert config.hops is not None
    hops = [built[hop] for hop in config.hops]
    # The hops are named from the field's side: what goes down meets them the other way round.
    return Channel(config.name, Route(f"channel.{config.name}.up", kernel, [hop.up for hop in hops]),
                   Route(f"channel.{config.name}.down", kernel, [hop.down for hop in reversed(hops)]))
