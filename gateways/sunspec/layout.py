"""Where every point of a model stands: groups laid out one after the other, repeating ones as often as they count.

A point of a repeating group is called ``Crv[2].Pt[1].V`` (counting from 1, as the standard does), of a single one
``PFWInj.PF``, of the model itself by its name.  Offsets are registers from the model's ID register.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cosim.errors import GatewayError
from gateways.sunspec import codec
from gateways.sunspec.definition import GroupDef, PointDef, model_definition

#: What a model is filled with: engineering numbers (NaN: not implemented) or text, by point.
Values = Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Place:
    """A point at its offset; `exponent` is its scale factor's value in this station (0 where it has none)."""

    path: str
    point: PointDef
    offset: int
    exponent: int


class ModelImage:
    """One model's registers: ID, L, scale factors and counts stand; everything else is "not implemented" till put."""

    def __init__(self, model: int, counts: Mapping[str, int], scales: Mapping[str, int]) -> None:
        definition = model_definition(model)
        self.model = model
        self.places: dict[str, Place] = {place.path: place for place in _placed(definition, counts, scales)}
        self.at: dict[int, Place] = {place.offset: place for place in self.places.values()}
        self.registers = sum(place.point.size for place in self.places.values())
        self.data = bytearray(b"".join(
            codec.missing(place.point.type, place.point.size) for place in self.places.values()))
        unknown = sorted(set(scales) - set(self.places))
        if unknown:
            raise GatewayError(f"SunSpec model {model} has no scale factor {', '.join(unknown)}")
        self.put({"ID": model, "L": self.registers - 2, **scales, **counts})

    def put(self, values: Values) -> None:
        """Write points (engineering units, NaN: not implemented)."""
        places, data = self.places, self.data
        for path, value in values.items():
            place = places[path]
            point, start = place.point, 2 * place.offset
            raw = (codec.text(value, point.size) if isinstance(value, str)
                   else codec.encode(point.type, value, place.exponent))
            data[start:start + len(raw)] = raw

    def get(self, path: str) -> float | None:
        """Engineering value of a point; None where it is not implemented or no number."""
        place = self.places[path]
        return codec.decode(place.point.type, bytes(self.data[2 * place.offset:2 * (place.offset + place.point.size)]),
                            place.exponent)


def _placed(definition: GroupDef, counts: Mapping[str, int], scales: Mapping[str, int]) -> list[Place]:
    places: list[Place] = []
    offset = 0
    for path, point in _points(definition, "", counts):
        places.append(Place(path, point, offset, scales.get(point.sf, 0)))
        offset += point.size
    return places


def _points(group: GroupDef, prefix: str, counts: Mapping[str, int]) -> Iterator[tuple[str, PointDef]]:
    for point in group.points:
        yield prefix + point.name, point
    for inner in group.groups:
        if inner.count == 1:
            yield from _points(inner, f"{prefix}{inner.name}.", counts)
            continue
        for i in range(_count(inner, counts)):
            yield from _points(inner, f"{prefix}{inner.name}[{i + 1}].", counts)


def _count(group: GroupDef, counts: Mapping[str, int]) -> int:
    if isinstance(group.count, int):
        return group.count
    if group.count not in counts:
        raise GatewayError(f"SunSpec group {group.name} repeats {group.count} times, which is not given")
    return counts[group.count]
