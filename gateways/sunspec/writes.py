"""What a write asks of a model: decoded, scaled and checked point by point before anything is done."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gateways.modbus.bank import ExceptionCode
from gateways.sunspec import codec, controls
from gateways.sunspec.layout import ModelImage, Place
from gateways.sunspec.registers import Piece
from gateways.sunspec.state import Staged
from gateways.sunspec.subject import Ratings

#: Difference between two readings of one register, as floating point may see it.
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a write cannot be, for the master and for the audit."""

    code: ExceptionCode
    reason: str


def judge(piece: Piece, staged: Mapping[str, float], ratings: Ratings, points: Collection[str]) -> Staged | Fault:
    """Engineering values by point, or the first fault: addresses (02) before values (03).

    A point that nothing stands behind may be written with "not implemented", one that is fixed with the value it has:
    masters write a model back as they read it.  Both change nothing.
    """
    for place, data in piece.parts:
        if not place.point.writable:
            return Fault(ExceptionCode.ILLEGAL_DATA_ADDRESS, f"{place.path} is read-only")
        empty = data == codec.missing(place.point.type, place.point.size)
        if place.path not in staged and not empty and piece.image.get(place.path) is None:
            return Fault(ExceptionCode.ILLEGAL_DATA_ADDRESS, f"{place.path} is not implemented here")
    values: Staged = {}
    for place, data in piece.parts:
        fault = _value(piece.image, place, data, staged, values)
        fault = fault or _unlawful(piece.image.model, place, values, ratings, points)
        if fault:
            return Fault(ExceptionCode.ILLEGAL_DATA_VALUE, fault)
    return values


def _value(image: ModelImage, place: Place, data: bytes, staged: Mapping[str, float], values: Staged) -> str:
    """Decode one point into `values`; gives what is wrong."""
    value = codec.decode(place.point.type, data, place.exponent)
    if place.path in staged:
        if value is None:
            return f"{place.path}: 'not implemented' is no value"
        values[place.path] = value
        return ""
    now = image.get(place.path)
    if now is None or value is None:
        same = now is value
    else:
        same = abs(value - now) <= _SAME * max(abs(now), 1.0)
    if same:
        return ""
    return f"{place.path} is fixed here at {now:g}" if now is not None else f"{place.path} is not implemented here"


def _unlawful(model: int, place: Place, values: Staged, ratings: Ratings, points: Collection[str]) -> str:
    if place.path not in values:
        return ""
    value = values[place.path]
    if place.point.type.startswith("enum") and place.point.symbols and value not in place.point.symbols:
        return f"{place.path} = {value:g}; expected one of {', '.join(map(str, place.point.symbols))}"
    if not controls.legal(model, place.path, value, ratings, points):
        return f"{place.path} = {value:g} is beyond what the device offers"
    return ""
