"""A named channel of a scenario: two directions, and how they are built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cosim.channel.link import Link
from cosim.channel.route import Route
from cosim.channel.rule import Rule, RuleSite
from cosim.channel.traffic import Traffic
from cosim.errors import PluginError, Problem, ScenarioError
from cosim.kernel import T_MAX_US, Kernel
from cosim.plugins import Registry
from cosim.points import Point, Vector
from cosim.scenario.plugin_options import configure
from cosim.scenario.schema import Channel as ChannelSpec
from cosim.scenario.schema import Ordering


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


def build_channels(specs: Sequence[ChannelSpec], kernel: Kernel, registry: Registry,
                   folder: Path = Path()) -> dict[str, Channel]:
    """Channels by name, in scenario order; `folder` is where relative file names begin.

    Names and hops are taken as checked (`cosim.scenario.rules`).  Raises ScenarioError with every problem of every
    rule, at paths like ``channels.0.rules.1.probability``.
    """
    builder = _Builder(kernel, registry, folder)
    built = {spec.name: builder.link_pair(spec, f"channels.{i}") for i, spec in enumerate(specs) if spec.hops is None}
    if builder.problems:
        raise ScenarioError(tuple(builder.problems.values()))
    return {spec.name: built[spec.name] if spec.hops is None else _over_hops(spec, kernel, built) for spec in specs}


class _Builder:
    """Builds links and collects problems by path: a rule of both directions is wrong once."""

    def __init__(self, kernel: Kernel, registry: Registry, folder: Path) -> None:
        self.problems: dict[str, Problem] = {}
        self._kernel, self._registry, self._folder = kernel, registry, folder

    def link_pair(self, spec: ChannelSpec, path: str) -> Channel:
        """The channel of a spec with rules of its own."""
        links = []
        for direction in ("up", "down"):
            name = f"channel.{spec.name}.{direction}"
            key = "rules" if getattr(spec, direction) is None else direction
            rules = [rule for i, raw in enumerate(spec.rules_of(direction))
                     if (rule := self._rule(raw, f"{path}.{key}.{i}", f"{name}.{i}")) is not None]
            links.append(Link(name, self._kernel, rules, fifo=spec.ordering is Ordering.FIFO, capacity=spec.capacity))
        return Channel(spec.name, *links)

    def _rule(self, raw: Mapping[str, Any], path: str, stream: str) -> Rule | None:
        try:
            options = configure(self._registry, "rule", raw, path)
            site = RuleSite(self._kernel.rng(stream), self._kernel, self._folder)
            rule: Rule = self._registry.get("rule", raw["kind"]).build(options, site)
        except ScenarioError as error:
            self.problems.update((problem.path, problem) for problem in error.problems)
        except PluginError as error:
            place = f"{path}{_option_in(raw, str(error))}"
            self.problems[place] = Problem(f"{raw['kind']}: {error}", place)
        else:
            return rule
        return None


def _option_in(raw: Mapping[str, Any], message: str) -> str:
    """``.<key>`` of the option whose text the message names (a file), so that the error points at its line; else ''."""
    named = [(len(value), f".{key}") for key, value in raw.items()
             if key != "kind" and isinstance(value, str) and value and value in message]
    return max(named, default=(0, ""))[1]


def _over_hops(spec: ChannelSpec, kernel: Kernel, built: Mapping[str, Channel]) -> Channel:
    assert spec.hops is not None
    hops = [built[hop] for hop in spec.hops]
    # The hops are named from the field's side: what goes down meets them the other way round.
    return Channel(spec.name, Route(f"channel.{spec.name}.up", kernel, [hop.up for hop in hops]),
                   Route(f"channel.{spec.name}.down", kernel, [hop.down for hop in reversed(hops)]))
