"""The models that a station serves: which by default, how each is filled, and what of each moves.

707 to 711 (trip curves, frequency droop) and 714 (DC side) can be served so that a client finds the whole set of IEEE
1547-2018, but the simulated inverter has neither: they say disabled, read-only, not implemented.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan, nan

from gateways.sunspec import curves, measured, nameplate
from gateways.sunspec.config import METER_MODELS, SunSpecConfig
from gateways.sunspec.controls import missing
from gateways.sunspec.curves import CURVE_MODELS
from gateways.sunspec.layout import ModelImage, Values
from gateways.sunspec.state import State
from gateways.sunspec.subject import Ratings
from gateways.sunspec.timers import REVERSIONS, left_s

_DEFAULT = (1, 103, 120, 121, 122, 123, 701, 702, 703, 704, 705, 706, 712, 715)
_DEFAULT_STORE = (1, 103, 120, 121, 122, 123, 124, 701, 702, 703, 704, 705, 706, 712, 713, 715)
#: Repetitions in models that are there and do nothing.
_IDLE_COUNTS: Mapping[int, dict[str, int]] = {
    **{model: {"NPt": 5, "NCrvSet": 1} for model in (707, 708, 709, 710)}, 711: {"NCtl": 1}, 714: {"NPrt": 1}}
_CONNECTED = ("Conn", "ES")


@dataclass(frozen=True, slots=True)
class Moment:
    """What moving points are made from: the run's values of one instant, and what masters have staged."""

    t_us: int
    reading: Mapping[str, float]
    ratings: Ratings
    state: State


def served(config: SunSpecConfig, ratings: Ratings, controls: tuple[str, ...]) -> tuple[int, ...]:
    """The station's models in order; by default, none that is about control only and controls nothing here."""
    if config.models is not None:
        return config.models
    if config.meter is not None:
        return METER_MODELS
    known = _DEFAULT_STORE if ratings.stores else _DEFAULT
    return tuple(model for model in known if not missing(model, ratings, controls))


def image(model: int, config: SunSpecConfig, ratings: Ratings, controls: tuple[str, ...]) -> ModelImage:
    """The registers of a model with everything in it that never changes."""
    counts = CURVE_MODELS[model].counts if model in CURVE_MODELS else _IDLE_COUNTS.get(model, {})
    made = ModelImage(model, counts, nameplate.scales(model, ratings))
    made.put(_fixed(model, config, ratings, controls))
    if model in _IDLE_COUNTS:
        made.put({path: _IDLE[path.rpartition(".")[2]] for path in made.places if path.rpartition(".")[2] in _IDLE})
    return made


#: What models that do nothing say.
_IDLE = {"Ena": 0.0, "AdptCrvReq": 0.0, "AdptCrvRslt": 1.0, "AdptCtlReq": 0.0, "AdptCtlRslt": 1.0, "ReadOnly": 1.0}


def _fixed(model: int, config: SunSpecConfig, ratings: Ratings, controls: tuple[str, ...]) -> Values:
    """Points that never change."""
    if model in CURVE_MODELS:
        works = curves.controllable(CURVE_MODELS[model], controls)
        return curves.fixed(CURVE_MODELS[model], ratings, writable=works and config.writable)
    if model == 1:
        return nameplate.common(config)
    if model == 702:
        modelled = {number: curves.controllable(curve, controls) for number, curve in CURVE_MODELS.items()}
        return nameplate.capacity(ratings, modelled, factor="pf_set" in controls)
    if model == 715:
        return {"LocRemCtl": 0.0 if config.writable else 1.0}
    return _STANDING[model](ratings) if model in _STANDING else {}


_STANDING: Mapping[int, Callable[[Ratings], Values]] = {
    120: nameplate.nameplate, 121: nameplate.settings, 124: nameplate.store_settings,
    701: lambda _: {"ACType": 2.0},
    704: lambda ratings: {"VarSetPri": 0.0 if ratings.priority == "p" else 1.0},
    713: lambda ratings: {"WHRtg": 1000.0 * ratings.e_kwh, "SoH": 100.0 if ratings.stores else nan},
    714: lambda ratings: {"Prt[1].PrtTyp": 1.0 if ratings.stores else 0.0, "Prt[1].ID": 1.0},
}


def moving(model: int, moment: Moment) -> Values:
    """What changes from one instant, or one write, to the next."""
    if model in _MEASURED:
        return _MEASURED[model](moment.reading, moment.ratings)
    if model in CURVE_MODELS:
        shown = curves.shown(moment.state, CURVE_MODELS[model], moment.ratings, moment.reading, moment.t_us)
        return {**shown, **_left(model, moment)}
    if model == 715:
        return _supervision(moment)
    extra = measured.basic_storage(moment.reading, moment.ratings) if model == 124 and moment.ratings.stores else {}
    return {**_staged(model, moment), **_left(model, moment), **extra}


def moves(model: int) -> bool:
    """Whether anything in the model ever changes."""
    return model in _MEASURED or model in CURVE_MODELS or model in (123, 124, 703, 704, 715)


_MEASURED: Mapping[int, Callable[[Mapping[str, float], Ratings], Mapping[str, float]]] = {
    103: measured.legacy, 113: measured.legacy, 122: measured.status, 203: measured.meter, 701: measured.advanced,
    713: measured.storage}


def _staged(model: int, moment: Moment) -> dict[str, float]:
    """Control points as they were written; whether it may connect, where nobody has, as it is."""
    fields = dict(moment.state.of(model))
    standing = moment.reading.get("connect", nan)
    for path in _CONNECTED:
        if isnan(fields.get(path, 0.0)):
            fields[path] = 1.0 if isnan(standing) else standing
    return fields


def _left(model: int, moment: Moment) -> dict[str, float]:
    """Points that count down."""
    return {reversion.left: left_s(moment.state, reversion, moment.t_us) for reversion in REVERSIONS
            if reversion.model == model and reversion.left and reversion.seconds in moment.state.of(model)}


def _supervision(moment: Moment) -> dict[str, float]:
    """Model 715: the heartbeat counts seconds of simulation time (never the value that means "not implemented")."""
    fields = dict(moment.state.of(715))
    if isnan(fields.get("ControllerHb", 0.0)):
        fields["ControllerHb"] = 0.0
    if isnan(fields.get("OpCtl", 0.0)):
        fields["OpCtl"] = 0.0 if moment.reading.get("connect", nan) == 0.0 else 1.0
    return {**fields, "DERHb": float(max(moment.t_us, 0) // 1_000_000 % 0xFFFF_FFFF)}
