"""One link under given rules, and messages sent over it at given times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from cosim.channel import Channel, Link, build_channels
from cosim.kernel import Kernel
from cosim.plugins import Registry
from cosim.scenario.schema import Channel as ChannelSpec

REGISTRY = Registry()
#: Time given to the last message to arrive.
AFTER_US = 100_000_000


@dataclass
class Line:
    """A link and what came out of it: `arrived` holds (arrival_us, payload) in order."""

    kernel: Kernel
    link: Link
    arrived: list[tuple[int, Any]] = field(default_factory=list)
    answers: list[bool] = field(default_factory=list)

    def hear(self, payload: Any) -> None:
        """Receiver."""
        self.arrived.append((self.kernel.now_us, payload))

    def send(self, payload: Any, size_bytes: int = 100) -> None:
        """Send now."""
        self.answers.append(self.link.send(size_bytes, self.hear, payload))

    def send_at(self, times_us: Sequence[int] | np.ndarray, sizes: Sequence[int] | np.ndarray | int = 100) -> Line:
        """Send message i at times_us[i] (each time one call on the heap), payload i, and run until all arrived."""
        sizes = np.broadcast_to(sizes, len(times_us)).tolist()
        for i, t_us in enumerate(np.asarray(times_us).tolist()):
            self.kernel.at(t_us, lambda i: self.send(i, sizes[i]), i)
        self.kernel.advance_to(max([self.kernel.now_us, *np.asarray(times_us).tolist()]) + AFTER_US)
        return self

    def delays_us(self, times_us: Sequence[int] | np.ndarray) -> np.ndarray:
        """Delay of each message delivered, in order of arrival."""
        sent = np.asarray(times_us)[[i for _, i in self.arrived]]
        return np.array([t for t, _ in self.arrived]) - sent


@pytest.fixture(scope="session")
def channels() -> Callable[..., tuple[Kernel, dict[str, Channel]]]:
    """Build channels from raw mappings: ``kernel, by_name = channels(raw, ..., seed=0)``."""

    def build(*raws: dict[str, Any], seed: int = 0) -> tuple[Kernel, dict[str, Channel]]:
        kernel = Kernel(seed)
        return kernel, build_channels([ChannelSpec.model_validate(raw) for raw in raws], kernel, REGISTRY)

    return build


@pytest.fixture(scope="session")
def line(channels: Callable[..., tuple[Kernel, dict[str, Channel]]]) -> Callable[..., Line]:
    """One link: ``line(rules, seed=0, **channel options)``."""

    def build(rules: Sequence[dict[str, Any]], seed: int = 0, name: str = "wan", **options: Any) -> Line:
        options.setdefault("capacity", 1_000_000)
        kernel, built = channels({"name": name, "rules": list(rules), **options}, seed=seed)
        link = built[name].up
        assert isinstance(link, Link)
        return Line(kernel, link)

    return build
