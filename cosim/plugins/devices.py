"""What a device kind is, what it may ask of the run, and what a run asks of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from cosim.plugins.config import DeviceConfig
from cosim.points import PointKind, Vector
from cosim.state import Topology


class Role(Enum):
    """What a setpoint asks of the grid: the shield reads it."""

    P_KW = "p_kw"
    Q_KVAR = "q_kvar"
    V_PU = "v_pu"
    P_CAP_KW = "p_cap_kw"
    """An upper limit on active power, not a target."""
    POSITION = "position"
    """Discrete: a switch, a tap, a number of steps."""
    SCALE = "scale"
    """Multiplies what the device would inject by itself (1: no change); its envelope is at the setpoint's `high`."""
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
    `claims`: (device i, table, element) of all that its devices take over or move; a run refuses two devices that claim
    one element.  Tables are those of `Site.element`, and "tap" for a transformer's taps (its breaker is another thing).
    """

    bus: np.ndarray[Any, np.dtype[np.int64]]
    gen: np.ndarray[Any, np.dtype[np.int64]]
    owned_loads: tuple[int, ...] = ()
    owned_sgens: tuple[int, ...] = ()
    claims: tuple[tuple[int, str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Injection:
    """What a group puts into the grid at given voltages: each (n,); kW and kvar into the grid are positive.

    `v_set_pu` (n,) is read only where the device is a regulating generator; there `q_kvar` may be NaN (unknown).
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
    restricts: bool
    """Whether `limit` can move a setpoint that lies within its static range; if not, the shield need not ask."""
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

        NaN setpoint: the device's own default.  NaN voltage (de-energised): nothing is fed in; demand stays (unserved).
        """

    def positions(self, setpoints: Vector, topology: Topology) -> Topology:
        """Topology with this group's switches and taps where they stand now; the same object if none moved."""

    def settle(self, setpoints: Vector, injection: Injection, v_pu: Vector, t_us: int) -> None:
        """What was applied and solved at `t_us`: the only place besides `advance` where state changes."""

    def measure(self, out: Vector) -> None:
        """Write the measurements into `out`, shape (n_measurement, n)."""

    def next_us(self) -> int | None:
        """When a group needs a SOLVE of its own (a tap delay ending, a timer), or None."""


@dataclass(frozen=True, slots=True)
class StoredEnergy:
    """What a group of stores holds: each (n,); efficiencies are those of one way."""

    e_kwh: Vector
    rated_kwh: Vector
    charge_efficiency: Vector
    discharge_efficiency: Vector


@runtime_checkable
class StorageGroup(Protocol):
    """A device group that stores energy: the shield keeps its reserves."""

    names: tuple[str, ...]

    def energy(self) -> StoredEnergy:
        """What each device holds now."""


@runtime_checkable
class PositionedGroup(Protocol):
    """A device group that steps (taps, capacitor steps) and says where it stands: the shield may step it in need."""

    names: tuple[str, ...]
    setpoints: tuple[Setpoint, ...]

    def standing(self) -> Vector:
        """Where each setpoint stands (n_setpoint, n), NaN where that means nothing."""


@runtime_checkable
class RowGroup(Protocol):
    """A device group some of whose measurements are dear to work out: it is told which are looked at."""

    def measure_rows(self, out: Vector, rows: Sequence[int]) -> None:
        """As `DeviceGroup.measure`; only these rows of `out` (n_measurement, n) have to be written."""


@runtime_checkable
class DelayedGroup(Protocol):
    """A device group that carries out orders later than it gets them: the shield judges where they lead."""

    names: tuple[str, ...]

    def heading(self, setpoints: Vector, topology: Topology) -> Topology:
        """As `DeviceGroup.positions`, once every order is carried out."""


@runtime_checkable
class MeteringGroup(Protocol):
    """A device group that measures what other devices exchange with the grid (a revenue meter)."""

    names: tuple[str, ...]

    def watch(self, devices: Sequence[str]) -> None:
        """Told once, while the run is built: the names of all its devices (n_device,).

        Raises PluginError that names the device when they are not what it was told to meter.
        """

    def read(self, p_kw: Vector) -> None:
        """What every device (n_device,) injects from this SOLVE on: after all have settled, before `measure`."""


class Site(Protocol):
    """What a device kind may ask of the run while it is built."""

    start_us: int
    duration_us: int
    step_us: int  # the scan period: power is held at most this long

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
