"""Every built-in kind with a spread of options, for the tests that all kinds must pass."""

from __future__ import annotations

from typing import Any

from cosim.devices.battery import Battery, BatteryConfig
from cosim.devices.breaker import Breaker, BreakerConfig
from cosim.devices.capacitor import Capacitor, CapacitorConfig
from cosim.devices.generator import Generator, GeneratorConfig
from cosim.devices.load import Load, LoadConfig
from cosim.devices.meter import Meter, MeterConfig
from cosim.devices.pq_source import PQSource, PQSourceConfig
from cosim.devices.pq_store import PQStore, PQStoreConfig
from cosim.devices.pv import PV, PVConfig
from cosim.devices.signal import Signal, SignalConfig
from cosim.devices.tap_changer import TapChanger, TapChangerConfig
from cosim.devices.wind import Wind, WindConfig

SUN = {"file": "sun.csv", "column": "sun"}
WIND = {"file": "wind.csv", "column": "speed"}


def sun_w_m2(t_s: float) -> float:
    """A quick day: up and down in half an hour."""
    return 1000.0 * abs((t_s % 1800) / 900 - 1)


def wind_m_s(t_s: float) -> float:
    """From calm to beyond cut-out."""
    return (t_s % 600) / 20


def make(config: type[Any], *rows: dict[str, Any]) -> list[Any]:
    """Configs named d0, d1 …"""
    return [config(name=f"d{i}", **row) for i, row in enumerate(rows)]


KINDS: dict[str, tuple[Any, list[Any]]] = {
    "battery": (Battery, make(
        BatteryConfig,
        {"bus": "b1", "e_rated_kwh": 100, "p_max_kw": 50, "self_discharge_per_h": 0.01},
        {"bus": "b2", "e_rated_kwh": 1, "p_max_kw": 50, "p_charge_max_kw": 20, "s_rated_kva": 55, "priority": "q"},
        {"element": "roof", "e_rated_kwh": 5, "p_max_kw": 9, "s_rated_kva": 7, "soc_start": 0.1})),
    "breaker": (Breaker, make(BreakerConfig, {"line": "l0"}, {"switch": "s1", "delay_s": 0.08}, {"gen": "g1"},
                              {"trafo": "t1", "delay_s": 120, "closed_at_start": False})),
    "capacitor": (Capacitor, make(
        CapacitorConfig, {"bus": "b1", "q_step_kvar": 100, "steps": 3},
        {"element": "c1", "control": "voltage", "delay_s": 2},
        {"bus": 2, "q_step_kvar": 10, "steps": 5, "steps_at_start": 2, "control": "voltage", "delay_s": 1,
         "lockout_s": 20})),
    "generator": (Generator, make(
        GeneratorConfig,
        {"bus": "b4", "p_max_kw": 200, "p_min_kw": 60, "ramp_kw_per_s": 2, "min_up_s": 30, "min_down_s": 20},
        {"element": "g0", "ramp_kw_per_s": 1, "cost_b_per_kwh": 0.1}, {"element": "gen.g1", "on_at_start": False})),
    "load": (Load, make(LoadConfig, {"bus": "b1", "p_kw": 10, "power_factor": 0.9, "profile": SUN},
                        {"element": "house", "zip_p": (0.4, 0.3, 0.3), "zip_q": (1, 0, 0)},
                        {"bus": 3, "p_kw": 3, "q_kvar": 1})),
    "pq_source": (PQSource, make(
        PQSourceConfig,
        {"bus": "b1", "region": ((0, -30), (20, -30), (30, -15), (30, 15), (20, 30), (0, 30)), "profile": SUN,
         "profile_unit": "kw", "q_default_kvar": 12},
        {"element": "roof", "region": ((0, 0), (9, 3), (9, -3))},
        {"bus": "b2", "region": ((0, -5), (0, 5), (20, 0)), "profile": {**SUN, "scale": 0.001}})),
    "pq_store": (PQStore, make(
        PQStoreConfig,
        {"bus": "b1", "e_rated_kwh": 100, "region": ((-50, -25), (-30, -50), (30, -50), (50, -25), (50, 25), (30, 50),
                                                     (-30, 50), (-50, 25))},
        {"bus": "b2", "e_rated_kwh": 1, "region": ((-20, 0), (0, -20), (50, 0), (0, 20)), "self_discharge_per_h": 0.01,
         "q_default_kvar": -7},
        {"element": "roof", "e_rated_kwh": 5, "region": ((0, 4), (-9, 0), (0, -4)), "soc_start": 0.1})),
    "meter": (Meter, make(MeterConfig, {"of": ("d0",), "buy": SUN, "sell_add_per_kwh": 0.1}, {"of": ("*", "d1")})),
    "pv": (PV, make(
        PVConfig, {"bus": "b1", "p_rated_kw": 100, "profile": SUN, "profile_unit": "w_m2", "mode": "volt_var"},
        {"element": "roof", "mode": "volt_var", "olrt_s": 0, "s_rated_kva": 9},
        {"bus": "b2", "p_rated_kw": 20, "mode": "watt_var", "priority": "p"},
        {"bus": "b2", "p_rated_kw": 20, "mode": "volt_var_volt_watt", "olrt_s": 0, "volt_watt_olrt_s": 0},
        {"bus": "b2", "p_rated_kw": 20, "mode": "fixed_power_factor", "power_factor": 0.95},
        {"bus": "b2", "p_rated_kw": 20, "s_rated_kva": 18, "mode": "volt_watt", "priority": "p"})),
    "signal": (Signal, make(SignalConfig, {"profile": SUN}, {"profile": WIND, "ahead_s": 600})),
    "tap_changer": (TapChanger, make(TapChangerConfig, {"trafo": "t0", "delay_s": 3, "delay_next_s": 1},
                                     {"trafo": "t1", "bus": "b2", "auto": False})),
    "wind": (Wind, make(WindConfig, {"bus": "b5", "p_rated_kw": 2000, "profile": WIND},
                        {"element": "park", "power_curve": ((4, 0), (10, 0.6), (14, 1.0)), "profile": WIND})),
}
