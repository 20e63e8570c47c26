"""Types, scaling and sentinels."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sunspec2 import mb

from gateways.sunspec.codec import CODECS, FULL_16, decode, encode, exponent_for, missing, text


@pytest.mark.parametrize("kind", sorted(set(CODECS) - {"raw16"}))
def test_sentinels_are_pysunspec2s(kind: str) -> None:
    """What says "not implemented" is what the oracle packs for it."""
    assert missing(kind, 1) == mb.create_unimpl_value(kind, 2)


@pytest.mark.parametrize("kind", sorted(CODECS))
@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_no_number_is_never_zero(kind: str, value: float) -> None:
    """NaN and infinities become the sentinel of the type."""
    assert encode(kind, value, 0) == CODECS[kind].missing


@given(st.sampled_from(["int16", "uint16", "int32", "uint32"]), st.integers(-3, 3),
       st.floats(-1e12, 1e12, allow_nan=False))
def test_a_value_is_kept_within_its_scale_or_is_missing(kind: str, exponent: int, value: float) -> None:
    """Never a wrong number: half a unit of the scale, or the sentinel."""
    back = decode(kind, encode(kind, value, exponent), exponent)
    if back is not None:
        assert abs(back - value) <= 0.5000001 * 10.0**exponent
    else:
        codec = CODECS[kind]
        assert not codec.low + 1 <= value / 10.0**exponent <= codec.high - 1


@given(st.floats(1e-3, 1e9))
def test_full_scale_has_four_digits_and_fits(full: float) -> None:
    """The exponent leaves at least 3200 counts and at most 32000."""
    raw = full / 10.0 ** exponent_for(full)
    assert FULL_16 / 10 * 0.999999 <= raw <= FULL_16 * 1.000001


def test_accumulators_wrap_as_meters_do() -> None:
    """2^32 + 5 Wh is 5 Wh."""
    assert encode("acc32", 2.0**32 + 5, 0) == (5).to_bytes(4, "big")


def test_a_text_is_cut_and_padded() -> None:
    """To whole registers, with NUL."""
    assert text("abc", 2) == b"abc\0"
    assert text("abcdef", 2) == b"abcd"
