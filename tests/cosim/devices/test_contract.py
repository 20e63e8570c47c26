"""Every built-in kind keeps the contract of a device group."""

from __future__ import annotations

import time
from importlib.metadata import entry_points

import numpy as np
import pytest
from pydantic import ValidationError

from cosim.devices.battery import Battery, BatteryConfig
from cosim.devices.conformance import check_device
from cosim.devices.load import Load, LoadConfig
from cosim.devices.pv import PV, PVConfig
from cosim.errors import PluginError
from cosim.plugins import Registry

from .fake_site import FakeSite, measured, setpoints, solve
from .kinds import KINDS, sun_w_m2, wind_m_s


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("step_s", [1.0, 60.0])
def test_built_in_kind_keeps_the_contract(kind: str, step_s: float) -> None:
    """`check_device` finds no breach in any built-in kind."""
    cls, configs = KINDS[kind]
    check_device(cls, configs, FakeSite(step_s, sun=sun_w_m2, speed=wind_m_s))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_option_is_described(kind: str) -> None:
    """The scenario reference is generated from the schema: each field has a description."""
    fields = KINDS[kind][0].Config.model_fields
    silent = [name for name, field in fields.items() if name not in ("name", "kind") and not field.description]
    assert not silent
    assert KINDS[kind][0].Config.model_json_schema()["properties"]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_entry_point_names_the_kind(kind: str) -> None:
    """The registry finds the class under the kind's own name."""
    if kind not in {point.name for point in entry_points(group="gridloop.devices")}:
        pytest.skip("the package is not installed here")
    assert Registry().get("device", kind) is KINDS[kind][0]
    assert Registry().get("device", kind).kind == kind


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_empty_group_works(kind: str) -> None:
    """No device of a kind is no special case."""
    group = KINDS[kind][0].build([], FakeSite())
    solve(group, 0)
    assert all(row.shape == (0,) for row in measured(group).values())


def test_a_wrong_bus_is_reported_with_the_device() -> None:
    """The message names the device and what is known."""
    with pytest.raises(PluginError, match=r"device 'd0': unknown bus 'b9'; known: b0"):
        Load.build([LoadConfig(name="d0", bus="b9", p_kw=1)], FakeSite())


def test_one_element_has_one_device() -> None:
    """Two devices cannot take over the same load."""
    configs = [LoadConfig(name=name, element="house") for name in ("a", "b")]
    with pytest.raises(PluginError, match="taken over by device 'a' already"):
        Load.build(configs, FakeSite())


def test_an_element_is_owned() -> None:
    """The network's own injection of a taken-over element ends."""
    load = Load.build([LoadConfig(name="a", element="load.shop"), LoadConfig(name="b", bus="b1", p_kw=1)], FakeSite())
    assert load.placement.owned_loads == (1,)
    assert load.placement.bus.tolist() == [4, 1]
    pv = PV.build([PVConfig(name="a", element="park")], FakeSite())
    assert pv.placement.owned_sgens == (1,)


@pytest.mark.parametrize(("options", "says"), [
    ({"p_kw": 1}, "either `bus`"), ({"bus": "b1", "element": "house", "p_kw": 1}, "either `bus`"),
    ({"bus": "b1"}, "p_kw is required"), ({"bus": "b1", "p_kw": 1, "zip_p": (1, 1, 0)}, "add up to 1"),
    ({"bus": "b1", "p_kw": 1, "power_factor": 1.2}, "less than or equal to 1"),
    ({"bus": "b1", "p_kw": 1, "q_kvar": 1, "power_factor": 0.9}, "either `q_kvar` or"),
    ({"bus": "b1", "p_kw": float("nan")}, "finite"), ({"bus": "b1", "p_kw": 1, "p_mw": 1}, "Extra inputs"),
])
def test_wrong_options_say_what_is_accepted(options: dict[str, object], says: str) -> None:
    """Each refused option is explained."""
    with pytest.raises(ValidationError, match=says):
        LoadConfig(name="d0", **options)


def test_a_hundred_devices_cost_little_more_than_one() -> None:
    """Groups are vectorised: 100 batteries take less than five times the time of one."""
    def best_s(n: int) -> float:
        configs = [BatteryConfig(name=f"d{i}", bus="b1", e_rated_kwh=10, p_max_kw=5) for i in range(n)]
        group = Battery.build(configs, FakeSite())
        wanted, v_pu, out = setpoints(group, p_set_kw=1.0), np.ones(n), np.empty((7, n))
        times = []
        for turn in range(200):
            start = time.perf_counter()
            group.advance(turn * 1_000_000)
            possible, _ = group.limit(wanted)
            group.settle(possible, group.apply(possible, v_pu), v_pu, turn * 1_000_000)
            group.measure(out)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best_s(100) < 5 * best_s(1)
