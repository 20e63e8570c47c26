"""Signals: a profile as a point."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosim.devices.signal import Signal, SignalConfig
from cosim.errors import ScenarioError
from cosim.scenario.loader import load_text
from cosim.simulation.build import build

from .fake_site import HOUR, FakeSite, measured

HOURS = {"file": "clock.csv", "column": "hours"}


def test_it_shows_now_and_later() -> None:
    """One shows the profile's value, the other that of two hours later, scaled."""
    group = Signal.build([SignalConfig(name="now", profile=HOURS),  # type: ignore[arg-type]  # the short form
                          SignalConfig(name="later", profile={**HOURS, "scale": 10}, ahead_s=7200)],  # type: ignore[arg-type]  # likewise
                         FakeSite(3600.0, hours=lambda t_s: t_s / 3600))
    group.advance(3 * HOUR)
    assert measured(group)["value"].tolist() == [3.0, 50.0]


def test_looking_beyond_the_profile_is_refused_at_once() -> None:
    """A forecast that would run out before the run's end stops the build, with the device's name."""
    text = """
name: ahead
duration_s: 86400
step_s: 900
grid: {network: case33bw}
devices: [{kind: signal, name: sun, profile: simbench_day_summer#pv3_p_pu, ahead_s: AHEAD}]
"""
    with pytest.raises(ScenarioError, match="device 'sun': `ahead_s` 3600 at the run's end reads beyond the profile"):
        build(load_text(text.replace("AHEAD", "3600"), path=Path("ahead.yaml")))
    simulation = build(load_text(text.replace("AHEAD", "0"), path=Path("ahead.yaml")))
    simulation.advance_to(12 * HOUR)
    assert 0.3 < simulation.points.values[simulation.points.id_of("sun.value")] < 0.7
