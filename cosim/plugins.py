"""What a plugin is: the interfaces, and the registry that finds them.  This is the file a plugin author reads.

Everything that can be added is a plugin, built-ins included: a class with a pydantic ``Config`` and a ``build``,
named by an entry point of one of the `FAMILIES` below, e.g. in your own ``pyproject.toml``::

    [project.entry-points."gridloop.devices"]
    electrolyser = "my_package.electrolyser:Electrolyser"

or found in a folder that the scenario names (``plugins: [my_folder]``), which is loaded only when the person who runs
it says ``--allow-plugins``: there, every public class with a ``family`` and a ``kind`` attribute is registered.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict

from cosim.errors import PluginError
from cosim.points import PointKind, Vector
from cosim.state import Topology

#: Families of plugins and the entry-point group of each.
FAMILIES: Mapping[str, str] = {
    "device": "gridloop.devices",
    "policy": "gridloop.policies",
    "rule": "gridloop.channel_rules",
    "disturbance": "gridloop.disturbances",
}


class PluginConfig(BaseModel):
    """Base of every plugin's options: unknown keys are errors, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DeviceConfig(PluginConfig):
    """What every device has: a name, and a place in the network."""

    name: str
    kind: str


# -- devices ----------------------------------------------------------------------------------------------------------


class Role(Enum):
    """What a setpoint asks of the grid: the shield reads it."""

    P_KW = "p_kw"
    Q_KVAR = "q_kvar"
    V_PU = "v_pu"
    P_CAP_KW = "p_cap_kw"
    """An upper limit on active power, not a target."""
    POSITION = "position"
    """Discrete: a switch, a tap, a number of steps."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Setpoint:
    """An output point that every device of a group has: ``<device>.<suffix>``.

    `low` and `high` (n,) are the static range checked at the door; `binary` makes it a binary output.
    """

    suffix: str
    unit: str
    role: Role
    low: Vector
    high: Vector
    description: str = ""
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Measurement:
    """An input point that every device of a group has: ``<device>.<suffix>``."""

    suffix: str
    unit: str
    description: str = ""
    kind: PointKind = PointKind.ANALOG_INPUT
    deadband: float = 0.0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the devices of a group stand: `bus` (n,) indices into the network's buses, -1 where none.

    `gen` (n,): the voltage-regulating generator of the network that device i *is*, -1 where it is a PQ injection.
    `owned_loads`, `owned_sgens`: network elements whose own injection the group takes over.
    """

    bus: np.ndarray[Any, np.dtype[np.int64]]
    gen: np.ndarray[Any, np.dtype[np.int64]]
    owned_loads: tuple[int, ...] = ()
    owned_sgens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Injection:
    """What a group puts into the grid at given voltages: each (n,); kW and kvar into the grid are positive.

    `v_set_pu` (n,) is read only where the device is a regulating generator.
    """

    p_kw: Vector
    q_kvar: Vector
    v_set_pu: Vector | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a group could do now: each (n,), kW and kvar into the grid; `s_max_kva` inf where no circle binds."""

    p_min_kw: Vector
    p_max_kw: Vector
    q_min_kvar: Vector
    q_max_kvar: Vector
    s_max_kva: Vector


class Limit(Enum):
    """Why a device cannot do what it was asked; its value is the code that is recorded."""

    NONE = 0
    CAPABILITY = 1
    """The kVA circle, the rating or the available power."""
    RAMP = 2
    ENERGY = 3
    """State of charge, a full or empty store."""
    MIN_TIME = 4
    """Minimum up, down or dwell time."""


@runtime_checkable
class DeviceGroup(Protocol):
    """All devices of one kind in a run; every array has shape (n,), in scenario order.

    One group, not n objects: a hundred inverters cost little more than one.  (A device that is simpler to write alone
    derives from `cosim.devices.single.SingleDevice` and is grouped for you.)

    A SOLVE calls, in order: `advance` once, `envelope` and `limit` (through the shield), `apply` one or more times,
    `positions`, `settle` once; PUBLISH calls `measure`.  Between SOLVEs nothing moves: power is held, so energy is
    power times time, exactly.
    """

    kind: ClassVar[str]
    names: tuple[str, ...]
    placement: Placement
    setpoints: tuple[Setpoint, ...]
    measurements: tuple[Measurement, ...]
    voltage_dependent: bool
    """Whether `apply` looks at v_pu; if so the SOLVE iterates to a stated residual."""

    def advance(self, t_us: int) -> None:
        """Move the inner state (energy, timers, profiles) from the last SOLVE to `t_us`, at the power settled then."""

    def envelope(self) -> Envelope:
        """What each device could inject from now on."""

    def limit(self, wanted: Vector) -> tuple[Vector, np.ndarray[Any, np.dtype[np.uint8]]]:
        """Nearest setpoints that the devices can follow.

        wanted (n_setpoint, n), NaN where nothing is asked; returns (possible, reason) of that shape, `reason` being
        `Limit` codes.  What is possible comes back bit for bit; NaN stays NaN.  Total: never raises.
        """

    def apply(self, setpoints: Vector, v_pu: Vector) -> Injection:
        """Injection at those setpoints (n_setpoint, n) and voltages (n,).  Pure: changes nothing.

        NaN setpoint: the device's own default.  NaN voltage (de-energised): nothing is injected.
        """

    def positions(self, setpoints: Vector, topology: Topology) -> Topology:
        """Topology with this group's switches and taps where they stand now; the same object if none moved."""

    def settle(self, setpoints: Vector, injection: Injection, v_pu: Vector, t_us: int) -> None:
        """What was applied and solved at `t_us`: the only place besides `advance` where state changes."""

    def measure(self, out: Vector) -> None:
        """Write the measurements into `out`, shape (n_measurement, n)."""

    def next_us(self) -> int | None:
        """When a group needs a SOLVE of its own (a tap delay ending, a timer), or None."""


class Site(Protocol):
    """What a device kind may ask of the run while it is built."""

    start_us: int
    duration_us: int
    step_us: int
    """The scan period: power is held at most this long before the next SOLVE."""

    def bus(self, name: str | int) -> int:
        """Index of a bus; raises PluginError naming close matches."""

    def element(self, table: str, name: str | int) -> int:
        """Index of a network element; `table` is one of load, sgen, gen, line, trafo, switch, shunt."""

    @property
    def network(self) -> Any:
        """The `cosim.grid.Network`."""

    def profile(self, specs: Sequence[Any]) -> Callable[[int], Vector]:
        """A sampler: t_us -> (len(specs),) values; specs are `ProfileRef`s (None gives a constant 1)."""

    def rng(self, name: str) -> np.random.Generator:
        """A named random stream."""


class DeviceKind(Protocol):
    """The class that an entry point of ``gridloop.devices`` names."""

    family: ClassVar[str]
    kind: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[DeviceConfig]]

    @classmethod
    def build(cls, configs: Sequence[Any], site: Site) -> DeviceGroup:
        """The group of all devices of this kind; raises PluginError with the device's name in it."""


# -- policies ---------------------------------------------------------------------------------------------------------


class Situation(Protocol):
    """What a policy may know and do besides its observation."""

    name: str
    observed: tuple[str, ...]
    actuated: tuple[str, ...]
    low: Vector
    high: Vector
    peers: tuple[str, ...]

    def rng(self, name: str) -> np.random.Generator:
        """A random stream of this agent's own."""

    def send(self, to: str, values: Sequence[float]) -> bool:
        """Send a message to another agent; False when the link dropped it at once."""

    def profile(self, specs: Sequence[Any]) -> Callable[[int], Vector]:
        """A sampler of profile columns: t_us -> (len(specs),)."""


@dataclass(frozen=True, slots=True)
class Message:
    """What one agent sent to another."""

    sender: str
    receiver: str
    sent_us: int
    values: tuple[float, ...]


class Policy(Protocol):
    """An agent's decision rule."""

    def act(self, observation: Vector, t_us: int) -> Sequence[float] | Vector | None:
        """Setpoints (n_actuated,) in engineering units for what is observed (n_observed,); None: nothing to say.

        NaN in the observation: no such value (not received yet, de-energised).  NaN in the answer: leave that one.
        """


class ListeningPolicy(Policy, Protocol):
    """A policy that also hears messages (optional method)."""

    def hear(self, message: Message) -> None:
        """A message has arrived in the mailbox."""


class PolicyKind(Protocol):
    """The class that an entry point of ``gridloop.policies`` names."""

    family: ClassVar[str]
    kind: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[PluginConfig]]

    @classmethod
    def build(cls, config: Any, situation: Situation) -> Policy:
        """One agent's policy; raises PluginError when the situation does not fit it."""


# -- channel rules ----------------------------------------------------------------------------------------------------


class RuleKind(Protocol):
    """The class that an entry point of ``gridloop.channel_rules`` names; see `cosim.channel`."""

    family: ClassVar[str]
    kind: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[PluginConfig]]


# -- the registry -----------------------------------------------------------------------------------------------------


class Registry:
    """Plugins of every family by kind.  Entry points are read once and imported when first asked for."""

    def __init__(self, *, installed: bool = True) -> None:
        self._found: dict[str, dict[str, EntryPoint | type[Any]]] = {family: {} for family in FAMILIES}
        if installed:
            for family, group in FAMILIES.items():
                for point in sorted(entry_points(group=group), key=lambda point: point.name):
                    self._found[family][point.name] = point

    def kinds(self, family: str) -> tuple[str, ...]:
        """Names known in a family, sorted."""
        return tuple(sorted(self._found[family]))

    def get(self, family: str, kind: str) -> Any:
        """The plugin class; raises PluginError that lists the known kinds."""
        entry = self._found[family].get(kind)
        if entry is None:
            raise PluginError(self.unknown(family, kind))
        if isinstance(entry, EntryPoint):
            entry = self._load(family, kind, entry)
        return entry

    def unknown(self, family: str, kind: str) -> str:
        """The message for a kind that does not exist."""
        known = self.kinds(family)
        near = get_close_matches(str(kind), known, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return f"unknown {family} kind '{kind}'; {hint}known: {', '.join(known) or 'none'}"

    def add(self, plugin: type[Any], *, origin: str) -> None:
        """Register a class by its `family` and `kind`; a second of the same name is an error."""
        family, kind = getattr(plugin, "family", None), getattr(plugin, "kind", None)
        if family not in FAMILIES or not isinstance(kind, str):
            raise PluginError(f"{origin}: {plugin.__name__} needs `family` (one of {', '.join(FAMILIES)}) and `kind`")
        if kind in self._found[family]:
            raise PluginError(f"{origin}: {family} kind '{kind}' exists already; choose another name")
        self._found[family][kind] = _checked(plugin, origin)

    def add_folder(self, folder: Path) -> tuple[str, ...]:
        """Import every ``*.py`` of a folder (or one file) and register its plugin classes; returns ``family:kind``s.

        This runs the code it finds: call it only when the person who runs the scenario allowed it.
        """
        files = sorted(folder.glob("*.py")) if folder.is_dir() else [folder]
        added: list[str] = []
        for file in files:
            module = _import_file(file)
            for name, value in vars(module).items():
                if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_"):
                    if getattr(value, "family", None) and getattr(value, "kind", None):
                        self.add(value, origin=str(file))
                        added.append(f"{value.family}:{value.kind}")  # type: ignore[attr-defined]
        if not added:
            raise PluginError(f"{folder}: no plugin class found (a public class with `family` and `kind`)")
        return tuple(added)

    def _load(self, family: str, kind: str, entry: EntryPoint) -> type[Any]:
        try:
            plugin = entry.load()
        except Exception as error:  # whatever a foreign module raises at import
            raise PluginError(f"{family} kind '{kind}' ({entry.value}) cannot be loaded: {error}") from error
        self._found[family][kind] = _checked(plugin, entry.value)
        return plugin  # type: ignore[no-any-return]


def _checked(plugin: type[Any], origin: str) -> type[Any]:
    config = getattr(plugin, "Config", None)
    if not (isinstance(config, type) and issubclass(config, PluginConfig)):
        raise PluginError(f"{origin}: {plugin.__name__} needs a `Config` derived from cosim.plugins.PluginConfig")
    if not hasattr(plugin, "build"):
        raise PluginError(f"{origin}: {plugin.__name__} needs a `build` class method")
    return plugin


def _import_file(file: Path) -> Any:
    if not file.is_file():
        raise PluginError(f"{file}: plugin file not found")
    name = f"gridloop_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a foreign module raises at import
        del sys.modules[name]
        raise PluginError(f"{file}: cannot be imported: {type(error).__name__}: {error}") from error
    return module
