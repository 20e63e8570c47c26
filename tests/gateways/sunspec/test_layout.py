"""Register layouts against pysunspec2's own."""

from __future__ import annotations

import pytest
from sunspec2.device import Model

from cosim.errors import GatewayError
from gateways.sunspec.config import INVERTER_MODELS, METER_MODELS
from gateways.sunspec.curves import CURVE_MODELS
from gateways.sunspec.layout import ModelImage
from gateways.sunspec.models import _IDLE_COUNTS

COUNTS = {**_IDLE_COUNTS, **{number: curve.counts for number, curve in CURVE_MODELS.items()}}


@pytest.mark.parametrize("number", sorted({*INVERTER_MODELS, *METER_MODELS}))
def test_an_empty_model_is_pysunspec2s_to_the_byte(number: int) -> None:
    """Every model that can be served has the length, the offsets and the sentinels of the oracle."""
    counts = COUNTS.get(number, {})
    oracle = Model(number, data={"ID": number, **counts})
    image = ModelImage(number, counts, {})
    assert bytes(image.data) == oracle.get_mb()


def _offsets(group: object, prefix: str = "") -> dict[str, int]:
    found = {f"{prefix}{name}": point.offset for name, point in group.points.items()}
    for name, inner in group.groups.items():
        members = inner if isinstance(inner, list) else [inner]
        for i, member in enumerate(members):
            found |= _offsets(member, f"{prefix}{name}[{i + 1}]." if isinstance(inner, list) else f"{prefix}{name}.")
    return found


@pytest.mark.parametrize("number", [103, 704, 705, 706, 712])
def test_every_point_is_where_pysunspec2_has_it(number: int) -> None:
    """Offsets by path, repeating groups included."""
    counts = COUNTS.get(number, {})
    oracle = _offsets(Model(number, data={"ID": number, **counts}))
    assert {path: place.offset for path, place in ModelImage(number, counts, {}).places.items()} == oracle


def test_an_unknown_model_says_so() -> None:
    """One clear line, no traceback from a missing file."""
    with pytest.raises(GatewayError, match="SunSpec model 9999: pysunspec2 has no definition"):
        ModelImage(9999, {}, {})


def test_a_scale_factor_that_the_model_does_not_have_is_a_mistake() -> None:
    """Scale factors are checked against the definition."""
    with pytest.raises(GatewayError, match="no scale factor X_SF"):
        ModelImage(103, {}, {"X_SF": 1})
