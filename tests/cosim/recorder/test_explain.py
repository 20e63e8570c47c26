"""One line for one intervention."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest

from cosim.recorder import DecisionRow
from cosim.recorder.explain import DEVICE_REASONS, REASONS, RUNGS, explain
from cosim.shield import Rung, ShieldReason


def row(**changes: Any) -> dict[str, Any]:
    """A curtailment, with columns replaced."""
    decision = DecisionRow(0, 0, 1458.0, 912.43, "voltage", 545.6, "volt_var_18", "bus.18.v_pu", 1.05, 1.0612, 1.0499,
                           "projection")
    return {**decision._asdict(), "point": "pv_18.p_set_kw", **changes}


def test_an_intervention_in_one_line() -> None:
    """Who asked what, which limit and by how much, what is applied and where that leads."""
    assert explain(row(), "kW", "13:42:10") == (
        "13:42:10 pv_18.p_set_kw: volt_var_18 asked 1458.0 kW; bus.18.v_pu would be 1.0612 pu, limit 1.05 (by 0.0112): "
        "912.4 kW applied (the nearest safe setpoint), which leaves 1.0499 pu")


OVER = "bus.18.v_pu would be 1.0612 pu, limit 1.05 (by 0.0112)"
MOVED = "912.4 kW applied (the nearest safe setpoint)"
NOWHERE = {"limit": "", "bound": nan, "found": nan, "after": nan}
LOADED = {"reason": "loading", "limit": "line.4.loading", "bound": 1.0, "found": 1.25, "after": 0.999}


@pytest.mark.parametrize(("changes", "words"), [
    ({"reason": "capability", "rung": "request", **NOWHERE},
     f"a asked 1458.0 kW; more than the device is rated for: {MOVED[:16]}"),
    ({"enforced": False},
     (f"a asked 1458.0 kW; {OVER}: {MOVED.replace('applied', 'would be applied')}, which would leave 1.0499 pu; "
      f"the shield only observes, the request went through")),
    ({"source": "", "requested": nan, "rung": "backup"},
     f"nobody asks, it acts on its own; {OVER}: 912.4 kW applied (the backup controller), which leaves 1.0499 pu"),
    ({"reason": "none", "applied": 1458.0}, "a asked 1458.0 kW; nothing is in its way any more: 1458.0 kW applied"),
    ({"reason": "none", "source": "", "requested": nan, "applied": nan},
     "nobody asks, it acts on its own; nothing is in its way any more"),
    ({"reason": "divergence", "found": nan, "after": 1.02},
     (f"a asked 1458.0 kW; bus.18.v_pu would have no value (the power flow has no solution), limit 1.05: {MOVED}, "
      f"which leaves 1.0200 pu")),
    ({"rung": "last_safe", **LOADED},
     ("a asked 1458.0 kW; line.4.loading would be 1.250, limit 1 (by 0.250): 912.4 kW applied (on the way back to the "
      "last verified setpoint), which leaves 0.999")),
    ({"reason": "contingency", "limit": "bus.18.v_pu without line.3"},
     f"a asked 1458.0 kW; {OVER.replace('v_pu', 'v_pu without line.3')}: {MOVED}, which leaves 1.0499 pu"),
    ({"reason": "emergency_stop", "applied": 0.0, "rung": "emergency", **NOWHERE},
     "a asked 1458.0 kW; the emergency stop: 0.0 kW applied (an emergency action)"),
    ({"found": 1.05003},
     (f"a asked 1458.0 kW; bus.18.v_pu would be 1.0500 pu, limit 1.05 (by 3e-05): {MOVED}, which leaves "
      f"1.0499 pu"))])
def test_every_kind_has_its_words(changes: dict[str, Any], words: str) -> None:
    """The device's own limits, observing, nobody asking, ends, no power flow, other limits, small excesses."""
    assert explain(row(**{"point": "p", "source": "a", **changes}), "kW") == f"p: {words}"


def test_every_reason_and_rung_has_words() -> None:
    """The words of the tables are those of the shield's enumerations, and every line can be said."""
    reasons, rungs = tuple(REASONS), tuple(RUNGS)
    assert reasons == tuple(reason.name.lower() for reason in ShieldReason if reason)
    assert rungs == tuple(rung.name.lower() for rung in Rung)
    assert tuple(ShieldReason(code).name.lower() for code in (1, 2, 3, 4)) == DEVICE_REASONS
    for reason in ("none", *REASONS):
        for rung in RUNGS:
            for limit in ("", "bus.18.v_pu", "battery.soc", "slack.p_kw"):
                for figure in (nan, 1.0):
                    line = explain(row(reason=reason, rung=rung, limit=limit, found=figure, bound=figure))
                    assert "nan" not in line
                    assert "\n" not in line
