"""A registry of small plugins, and a scenario around a fragment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

from cosim.errors import ScenarioError
from cosim.plugins import DeviceConfig, PluginConfig, Registry
from cosim.scenario.loader import LoadedScenario, load_text

HEAD = "name: trial\nduration_s: 10\ngrid: {network: case14}\n"


class Lamp:
    """A device with one option."""

    family, kind, summary = "device", "lamp", "A lamp"

    class Config(DeviceConfig):
        """Options of a lamp."""

        bus: str | None = None
        element: str | None = None
        p_kw: float = Field(1.0, ge=0, description="Power of the lamp.")

    @classmethod
    def build(cls, configs: Any, site: Any) -> Any:
        """Never called here."""


class Fixed:
    """A policy with a list of numbers."""

    family, kind, summary = "policy", "fixed", "Fixed values"

    class Config(PluginConfig):
        """Options of a fixed policy."""

        values: tuple[float, ...] = ()
        point: str = ""

    @classmethod
    def build(cls, config: Any, situation: Any) -> Any:
        """Never called here."""


class Delay:
    """A channel rule."""

    family, kind, summary = "rule", "delay", "A delay"

    class Config(PluginConfig):
        """Options of a delay."""

        delay_s: float = Field(ge=0)

    build: ClassVar[Any] = None


class Trip:
    """A disturbance."""

    family, kind, summary = "disturbance", "trip", "A trip"

    class Config(PluginConfig):
        """Options of a trip."""

        kind: str
        at_s: float | tuple[float, ...] = 0.0
        random: dict[str, float] | None = None
        channel: str | None = None
        device: str | None = None

    build: ClassVar[Any] = None


@pytest.fixture
def registry() -> Registry:
    """Four plugins of our own, none installed."""
    found = Registry(installed=False)
    for plugin in (Lamp, Fixed, Delay, Trip):
        found.add(plugin, origin="tests")
    return found


@pytest.fixture
def load(registry: Registry) -> Callable[..., LoadedScenario]:
    """Loads HEAD (unless `head` says otherwise) and a fragment."""

    def loading(fragment: str = "", *, head: str = HEAD, **options: Any) -> LoadedScenario:
        options.setdefault("registry", registry)
        return load_text(head + fragment, path=Path("trial.yaml"), **options)

    return loading


@pytest.fixture
def problems(load: Callable[..., LoadedScenario]) -> Callable[..., list[str]]:
    """The problems of HEAD and a fragment, as text; the file name is left out."""

    def finding(fragment: str = "", **options: Any) -> list[str]:
        with pytest.raises(ScenarioError) as caught:
            load(fragment, **options)
        return [str(problem).replace("trial.yaml:", "") for problem in caught.value.problems]

    return finding
