"""Models 705, 706 and 712: curves that masters write, adopt and enable.

Theory of operation
-------------------
Curve 1 is what is in force and read-only; curves 2 to `N_CURVES` are the masters' to write.  Writing them does
nothing.  AdptCrvReq = n checks curve n as a whole (as the models' notes demand) and asks the run for it; AdptCrvRslt
is IN_PROGRESS until the next publish, then COMPLETED, or FAILED for a curve that cannot be.  Ena switches the function.

Points are in per cent with two decimals.  The run's curves are per rated apparent power (volt-var, watt-var) and per
rated power (volt-watt); DeptRef says what the written ones are per.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isnan, nan

from gateways.sunspec.state import Adopted, Adoption, Staged, State
from gateways.sunspec.subject import CURVE_SIZE, CurvePoints, Ratings

#: Curves of each model: the one in force, and two to write.
N_CURVES = 3
#: DeptRef of 705 and 712: per cent of the active, the reactive, the apparent power rating (2, of what is available, is
#: not offered: it would change with every cloud).
W_MAX, VAR_MAX, VA_MAX = 0.0, 1.0, 3.0
#: Longest open-loop response time, s.
OLRT_MOST_S = 3600.0


@dataclass(frozen=True, slots=True)
class CurveModel:
    """A curve model: the run's function behind it, names of its axes, whether y is reactive power."""

    model: int
    function: str
    x: str
    y: str
    reactive: bool
    responds: bool
    """Whether it has an open-loop response time."""
    gap: float
    """Least distance in x between points that devices take (`cosim.devices.inverter_remote`)."""

    @property
    def size(self) -> int:
        """Points of a curve."""
        return CURVE_SIZE[self.function]

    @property
    def counts(self) -> dict[str, int]:
        """Repetitions of its groups."""
        return {"NPt": self.size, "NCrv": N_CURVES}

    @property
    def scales(self) -> dict[str, int]:
        """Hundredths of a per cent, tenths of a second."""
        return {f"{self.x}_SF": -2, "DeptRef_SF": -2} | ({"RspTms_SF": -1} if self.responds else {})


CURVE_MODELS: Mapping[int, CurveModel] = {
    705: CurveModel(705, "volt_var", "V", "Var", reactive=True, responds=True, gap=0.001),
    706: CurveModel(706, "volt_watt", "V", "W", reactive=False, responds=True, gap=0.001),
    712: CurveModel(712, "watt_var", "W", "Var", reactive=True, responds=False, gap=0.01),
}


def controllable(model: CurveModel, points: Container[str]) -> bool:
    """Whether the run has the outputs that this model acts on."""
    name = model.function
    return f"{name}_on" in points and all(f"{name}_{axis}{i + 1}" in points for axis in "xy" for i in range(model.size))


def initial(model: CurveModel, ratings: Ratings) -> Staged:
    """Control points at the start: every curve to be written begins as the device's own."""
    fields: Staged = {"Ena": nan, "AdptCrvReq": 0.0, "RvrtTms": 0.0, "RvrtCrv": 0.0}
    for number in range(2, N_CURVES + 1):
        fields |= _curve(model, number, own_curve(model, ratings), ratings)
    return fields


def own_curve(model: CurveModel, ratings: Ratings) -> Adopted:
    """The curve that the scenario gives the device."""
    function = ratings.functions[model.function]
    return Adopted(function.points, function.olrt_s, VA_MAX if model.reactive else W_MAX)


def legal(model: CurveModel, path: str, value: float, ratings: Ratings) -> bool:
    """Whether a single point may be written; a curve's conformance is judged when it is adopted."""
    name = path.rpartition(".")[2]
    if name in ("AdptCrvReq", "RvrtCrv"):
        return value <= N_CURVES and (value >= 1 or name == "RvrtCrv")
    if name == "ActPt":
        return 1 <= value <= model.size
    if name == "DeptRef":
        return value in ((W_MAX, VAR_MAX, VA_MAX) if model.reactive else (W_MAX,))
    if name == "Pri":
        return value == _priority(ratings)
    if name == "VRef":
        return value == 100.0
    if name == "VRefAutoEna":
        return value == 0.0
    if name == "RspTms":
        return value <= OLRT_MOST_S
    return abs(value) <= 300.0 if name in ("V", "W", "Var") else True


def adopt(state: State, model: CurveModel, ratings: Ratings, t_us: int) -> str:
    """Carry out a written AdptCrvReq; returns why it cannot be, "" where it can.  Changes `state` either way."""
    number = int(state.staged[model.model]["AdptCrvReq"])
    if number == 1:  # what is in force stays in force
        state.result[model.model] = (Adoption.COMPLETED, t_us)
        return ""
    curve, fault = written(state.of(model.model), model, number, ratings)
    if curve is None:
        state.result[model.model] = (Adoption.FAILED, t_us)
        return f"curve {number}: {fault}"
    state.adopted[model.model] = curve
    state.result[model.model] = (Adoption.IN_PROGRESS, t_us)
    return ""


def written(fields: Mapping[str, float], model: CurveModel, number: int, ratings: Ratings) -> tuple[
        Adopted | None, str]:
    """Curve `number` in the run's units, or None and what is wrong with it."""
    at = f"Crv[{number}]."
    if fields[f"{at}ActPt"] != model.size:
        return None, f"ActPt is {fields[f'{at}ActPt']:g}; expected {model.size}, which is what the device has"
    reference = fields[f"{at}DeptRef"]
    share = _per_rating(model, reference, ratings)
    points = tuple((fields[f"{at}Pt[{i}].{model.x}"] / 100.0, fields[f"{at}Pt[{i}].{model.y}"] / 100.0 * share)
                   for i in range(1, model.size + 1))
    fault = _fault(points, model, ratings)
    return (None, fault) if fault else (Adopted(points, fields.get(f"{at}RspTms", nan), reference), "")


def demands(state: State, model: CurveModel) -> dict[str, float]:
    """What is asked of the run's points for this function; NaN: nothing."""
    name, curve = model.function, state.adopted.get(model.model)
    asked = {f"{name}_on": state.of(model.model).get("Ena", nan)}
    for i in range(model.size):
        asked[f"{name}_x{i + 1}"], asked[f"{name}_y{i + 1}"] = (nan, nan) if curve is None else curve.points[i]
    if model.responds:
        asked[f"{name}_olrt_s"] = nan if curve is None else curve.olrt_s
    return asked


def shown(state: State, model: CurveModel, ratings: Ratings, reading: Mapping[str, float], t_us: int) -> dict[
        str, float]:
    """Points of the model that change: what is staged, what is in force, and how the last adoption went."""
    fields = dict(state.of(model.model))
    standing = reading.get(f"{model.function}_on", nan)
    configured = float(ratings.functions[model.function].on)
    if isnan(fields.get("Ena", nan)):
        fields["Ena"] = configured if isnan(standing) else standing
    result, asked_us = state.result.get(model.model, (Adoption.COMPLETED, -1))
    if result is Adoption.IN_PROGRESS and t_us > asked_us:
        result = Adoption.COMPLETED
    fields["AdptCrvRslt"] = float(result)
    reference = state.adopted[model.model].reference if model.model in state.adopted else (
        VA_MAX if model.reactive else W_MAX)
    return fields | _curve(model, 1, _in_force(model, ratings, reading, reference), ratings)


def fixed(model: CurveModel, ratings: Ratings, *, writable: bool) -> dict[str, float]:
    """Points that never change."""
    values = {}
    for number in range(1, N_CURVES + 1):
        at = f"Crv[{number}]."
        values[f"{at}ReadOnly"] = float(number == 1 or not writable)
        if model.reactive:
            values[f"{at}Pri"] = _priority(ratings)
        if model.model == 705:
            values |= {f"{at}VRef": 100.0, f"{at}VRefAutoEna": 0.0}
    return values


def _in_force(model: CurveModel, ratings: Ratings, reading: Mapping[str, float], reference: float) -> Adopted:
    """The curve as the run's points say it; the device's own where they say nothing."""
    name, own = model.function, own_curve(model, ratings)
    points = tuple((reading.get(f"{name}_x{i + 1}", nan), reading.get(f"{name}_y{i + 1}", nan))
                   for i in range(model.size))
    if any(isnan(x) or isnan(y) for x, y in points):
        points = own.points
    olrt_s = reading.get(f"{name}_olrt_s", nan)
    return Adopted(points, own.olrt_s if isnan(olrt_s) else olrt_s, reference)


def _curve(model: CurveModel, number: int, curve: Adopted, ratings: Ratings) -> Staged:
    """A curve as the model's points."""
    at, share = f"Crv[{number}].", _per_rating(model, curve.reference, ratings)
    points = curve.points[:model.size]
    fields = {f"{at}ActPt": float(len(points)), f"{at}DeptRef": curve.reference}
    if model.responds:
        fields[f"{at}RspTms"] = curve.olrt_s
    for i in range(model.size):
        x, y = points[i] if i < len(points) else (nan, nan)
        fields |= {f"{at}Pt[{i + 1}].{model.x}": 100.0 * x, f"{at}Pt[{i + 1}].{model.y}": 100.0 * y / share}
    return fields


def _per_rating(model: CurveModel, reference: float, ratings: Ratings) -> float:
    """The run's per-unit y for a written y of 1."""
    if not model.reactive or reference == VA_MAX:
        return 1.0
    return (ratings.p_max_kw if reference == W_MAX else ratings.q_max_kvar) / ratings.s_kva or 1.0


def _priority(ratings: Ratings) -> float:
    return 0.0 if ratings.priority == "p" else 1.0


def _fault(points: CurvePoints, model: CurveModel, ratings: Ratings) -> str:
    """Why a device cannot follow this curve; "" where it can."""
    if any(isnan(x) or isnan(y) for x, y in points):
        return "a point of it is not implemented"
    if any(b[0] - a[0] < model.gap - 1e-9 for a, b in pairwise(points)):
        return f"{model.x} must rise by {100 * model.gap:g} % from point to point"
    if any(b[1] > a[1] for a, b in pairwise(points)):
        return f"{model.y} must not rise from point to point"
    low, high = (-ratings.q_max_kvar / ratings.s_kva, ratings.q_max_kvar / ratings.s_kva) if model.reactive else (0, 1)
    if any(not low - 1e-9 <= y <= high + 1e-9 for _, y in points):
        return f"{model.y} beyond the rating"
    return ""
