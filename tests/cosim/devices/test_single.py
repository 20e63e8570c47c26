"""A device written alone, and the conformance check that its author runs."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from cosim.devices.base import Group
from cosim.devices.conformance import check_device
from cosim.devices.load import Load, LoadConfig
from cosim.devices.single import Ask, SingleConfig, SingleDevice
from cosim.errors import PluginError
from cosim.plugins import Injection, Limit, Measurement, Role
from cosim.points import Vector

from .fake_site import HOUR, NAN, FakeSite, limited, measured, solve


class HeaterConfig(SingleConfig):
    """An electric heater with a water store."""

    kind: Literal["heater"] = "heater"
    p_rated_kw: float = 10.0
    c_kwh_per_c: float = 0.5


class Heater(SingleDevice):
    """Warms its store with what it draws; stops at 90 °C."""

    kind = "heater"
    summary = "Electric heater"
    Config = HeaterConfig
    asks = (Ask("p_set_kw", "kW", Role.P_KW, -100.0, 0.0, "Consumption is negative"),)
    shows = (Measurement("temperature_c", "°C"),)

    def __init__(self, config: Any, site: Any) -> None:
        super().__init__(config, site)
        self.temperature_c = 60.0

    def advance(self, dt_s: float) -> None:
        self.temperature_c += -self.p_kw * dt_s / 3600 / self.config.c_kwh_per_c

    def limits(self) -> tuple[float, float, float, float]:
        return (-self.config.p_rated_kw if self.temperature_c < 90 else 0.0), 0.0, 0.0, 0.0

    def apply(self, setpoints: dict[str, float], v_pu: float) -> tuple[float, float]:
        return setpoints.get("p_set_kw", 0.0), 0.0

    def measure(self) -> dict[str, float]:
        return {"temperature_c": self.temperature_c}


def heaters() -> list[HeaterConfig]:
    return [HeaterConfig(name="h0", bus="b1"), HeaterConfig(name="h1", bus="b2", p_rated_kw=5.0)]


def test_a_single_device_keeps_the_contract() -> None:
    """The ten-minute way gives a proper group."""
    check_device(Heater, heaters(), FakeSite())


def test_single_devices_are_grouped() -> None:
    """Each has its own limits, state and measurements."""
    group = Heater.build(heaters(), FakeSite())
    group.advance(0)
    assert limited(group, "p_set_kw", p_set_kw=-20)[0].tolist() == [-10, -5]
    assert limited(group, "p_set_kw", p_set_kw=-20)[1] == [Limit.CAPABILITY.value] * 2
    assert solve(group, 0, v_pu=[1.0, NAN], p_set_kw=-4).p_kw.tolist() == [-4, 0]
    group.advance(HOUR)
    assert measured(group)["temperature_c"].tolist() == [68, 60]


def test_a_failing_method_is_named() -> None:
    """Whatever the author's code raises comes as a PluginError with device and method."""
    class Broken(Heater):
        def advance(self, dt_s: float) -> None:
            raise KeyError("oops")

    with pytest.raises(PluginError, match="device 'h0': advance failed: KeyError"):
        solve(Broken.build(heaters(), FakeSite()), 0)


def test_missing_measurements_are_named() -> None:
    """measure gives exactly what `shows` declares."""
    class Silent(Heater):
        def measure(self) -> dict[str, float]:
            return {}

    group = Silent.build(heaters(), FakeSite())
    solve(group, 0)
    with pytest.raises(PluginError, match=r"expected \['temperature_c'\]"):
        measured(group)


def test_power_that_is_no_number_is_refused() -> None:
    """NaN from a device never reaches the grid."""
    class Lost(Heater):
        def apply(self, setpoints: dict[str, float], v_pu: float) -> tuple[float, float]:
            return NAN, 0.0

    with pytest.raises(PluginError, match="expected finite"):
        solve(Lost.build(heaters(), FakeSite()), 0)


class _Good(Load):
    """A copy to break one thing at a time."""


def _break(**members: Any) -> type[Load]:
    return type("Broken", (_Good,), members)


def _impure(self: Any, setpoints: Vector, v_pu: Vector) -> Injection:
    self.e_kwh = self.e_kwh + 1
    return Load.apply(self, setpoints, v_pu)


def _raising(self: Any, wanted: Vector) -> Any:
    if np.isinf(wanted).any():
        raise ValueError("infinite")
    return Load.limit(self, wanted)


def _shrinking(self: Any, wanted: Vector) -> Any:
    possible, reason = Load.limit(self, wanted)
    return possible * 0.5, reason


def _silent(self: Any, out: Vector) -> None:
    out[0] = 0.0


def _past(self: Any) -> int:
    return 0


def _always_on(self: Any, setpoints: Vector, v_pu: Vector) -> Injection:
    injection = Load.apply(self, setpoints, v_pu)
    return Injection(np.where(np.isnan(v_pu), 1.0, injection.p_kw), injection.q_kvar)


def _voltage(self: Any, setpoints: Vector, v_pu: Vector) -> Injection:
    injection = Load.apply(self, setpoints, v_pu)
    return Injection(injection.p_kw * np.nan_to_num(v_pu), injection.q_kvar)


def _in_place(self: Any, setpoints: Vector, topology: Any) -> Any:
    topology.tap[0] += 1
    return topology


def _same_values(self: Any, setpoints: Vector, topology: Any) -> Any:
    return topology.with_line(0, bool(topology.line_closed[0]))


@pytest.mark.parametrize(("members", "breach"), [
    ({"family": "gadget"}, "family: expected 'device'"),
    ({"apply": _impure}, "apply: not pure"),
    ({"limit": _raising}, "limit: raised ValueError"),
    ({"limit": _shrinking}, "limit: a reason exactly where"),
    ({"measure": _silent}, "measure: left values unwritten"),
    ({"next_us": _past}, "next_us: 0 at 0 us"),
    ({"apply": _always_on}, "feeds in without voltage"),
    ({"apply": _voltage}, "voltage_dependent is False"),
    ({"positions": _in_place}, "positions: changed the topology it was given"),
    ({"positions": _same_values}, "a new object though nothing moved"),
    ({"measurements": (*Load.measurements[:2], Measurement("scale", ""))}, "found twice: scale"),
    ({"Config": dict}, "Config: expected a class"),
])
def test_conformance_finds_each_breach(members: dict[str, Any], breach: str) -> None:
    """One thing broken, one message about it."""
    with pytest.raises(PluginError, match=breach):
        check_device(_break(**members), [LoadConfig(name="a", bus="b1", p_kw=3)], FakeSite())


def test_the_unbroken_copy_passes() -> None:
    """What the breaches are compared with."""
    assert isinstance(check_device(_Good, [LoadConfig(name="a", bus="b1", p_kw=3)], FakeSite()), Group)
