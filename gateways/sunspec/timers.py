"""Reversion: controls that end by themselves when their time is over, unless they are written again.

Theory of operation
-------------------
Writing any point of a control restarts its timer when the control is on and its time is not 0, and stops it
otherwise.  At expiry 704 puts the ``…Rvrt`` values in force, 123 and 124 switch the control off, Conn (123) is let go
of, and a curve model adopts RvrtCrv, or without one lets go of its curve and its switch.  Time is simulation time.

The same happens to every control that is on when ControllerHb (715) has stood still for `heartbeat_s`; orders to
disconnect stay: an inverter that was told to cease does not come back because nobody talks to it any more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import isnan, nan

from gateways.sunspec import curves
from gateways.sunspec.curves import CURVE_MODELS
from gateways.sunspec.state import State
from gateways.sunspec.subject import Ratings

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Reversion:
    """One control with a timer: it is on while `switch` is not `off`; expiry puts `puts` (path, source or value)."""

    model: int
    switch: str
    seconds: str
    left: str
    """Point that counts down, "" where the model has none."""
    fields: tuple[str, ...]
    puts: tuple[tuple[str, str | float], ...]
    on_value: float | None = 1.0
    """Value of `switch` at which it is on; None: any that is written and not 0."""
    holds: bool = False
    """Stays on when the heartbeat is lost."""

    @property
    def name(self) -> str:
        """Unique: model and switch."""
        return f"{self.model}.{self.switch}"

    def is_on(self, state: State) -> bool:
        """Whether there is something to revert."""
        value = state.of(self.model).get(self.switch, nan)
        return value == self.on_value if self.on_value is not None else bool(value == value and value != 0.0)


def _basic(switch: str, seconds: str, *fields: str) -> Reversion:
    return Reversion(123, switch, seconds, "", (switch, seconds, *fields), ((switch, 0.0),))


def _advanced(name: str, *values: str) -> Reversion:
    """A control of 704; values in a group of their own (``PFWInj.PF``) revert to those of ``PFWInjRvrt``."""
    switch, seconds = f"{name}Ena", f"{name}RvrtTms"
    back = tuple((value, value.replace(f"{name}.", f"{name}Rvrt.") if "." in value else f"{value}Rvrt")
                 for value in values)
    extra = {"WSet": ("WSetMod",), "VarSet": ("VarSetMod",)}.get(name, ())
    return Reversion(704, switch, seconds, f"{name}RvrtRem", (switch, seconds, *values, *extra),
                     ((switch, f"{switch}Rvrt"), *back))


REVERSIONS = (
    Reversion(123, "Conn", "Conn_RvrtTms", "", ("Conn", "Conn_RvrtTms"), (("Conn", nan),), on_value=0.0, holds=True),
    _basic("WMaxLim_Ena", "WMaxLimPct_RvrtTms", "WMaxLimPct"),
    _basic("OutPFSet_Ena", "OutPFSet_RvrtTms", "OutPFSet"),
    _basic("VArPct_Ena", "VArPct_RvrtTms", "VArWMaxPct", "VArMaxPct", "VArPct_Mod"),
    Reversion(124, "StorCtl_Mod", "InOutWRte_RvrtTms", "", ("StorCtl_Mod", "InOutWRte_RvrtTms", "OutWRte", "InWRte"),
              (("StorCtl_Mod", 0.0),), on_value=None),
    _advanced("PFWInj", "PFWInj.PF", "PFWInj.Ext"),
    _advanced("WMaxLimPct", "WMaxLimPct"),
    _advanced("WSet", "WSet", "WSetPct"),
    _advanced("VarSet", "VarSet", "VarSetPct"),
    *(Reversion(model, "Ena", "RvrtTms", "RvrtRem", ("Ena", "AdptCrvReq", "RvrtTms", "RvrtCrv"), ())
      for model in CURVE_MODELS),
)


def restart(state: State, model: int, paths: Collection[str], t_us: int) -> None:
    """After a write of `paths` at `t_us`: start, restart or stop the timers that it concerns, in place."""
    for reversion in REVERSIONS:
        if reversion.model != model or not any(path in reversion.fields for path in paths):
            continue
        seconds = state.of(model).get(reversion.seconds, 0.0)
        if seconds > 0 and _runs(reversion, state):
            state.expiry_us[reversion.name] = t_us + round(seconds * SECOND_US)
        else:
            state.expiry_us.pop(reversion.name, None)


def next_us(state: State) -> int | None:
    """When the first timer ends."""
    return min(state.expiry_us.values(), default=None)


def expire(state: State, ratings: Ratings, t_us: int) -> tuple[str, ...]:
    """Revert, in place, every control whose time is over at `t_us`; gives their names."""
    due = [reversion for reversion in REVERSIONS if state.expiry_us.get(reversion.name, t_us + 1) <= t_us]
    for reversion in due:
        _revert(state, reversion, ratings, t_us)
    return tuple(reversion.name for reversion in due)


def revert_all(state: State, ratings: Ratings, t_us: int) -> tuple[str, ...]:
    """As if every timer had ended, of all controls that are on and do not hold; gives their names."""
    due = [reversion for reversion in REVERSIONS if _runs(reversion, state) and not reversion.holds]
    for reversion in due:
        _revert(state, reversion, ratings, t_us)
    return tuple(reversion.name for reversion in due)


def left_s(state: State, reversion: Reversion, t_us: int) -> float:
    """Seconds until expiry, rounded up; 0 where no timer runs."""
    expiry_us = state.expiry_us.get(reversion.name, t_us)
    return float(max(-(-(expiry_us - t_us) // SECOND_US), 0))


def _runs(reversion: Reversion, state: State) -> bool:
    """Whether there is something that expiry would change."""
    if reversion.model in CURVE_MODELS:
        return reversion.model in state.adopted or not isnan(state.of(reversion.model).get("Ena", nan))
    return reversion.is_on(state)


def _revert(state: State, reversion: Reversion, ratings: Ratings, t_us: int) -> None:
    state.expiry_us.pop(reversion.name, None)
    fields = state.staged[reversion.model]
    if reversion.model in CURVE_MODELS:
        _default_curve(state, reversion.model, ratings, t_us)
        return
    source = dict(fields)
    for path, back in reversion.puts:
        fields[path] = source[back] if isinstance(back, str) else back


def _default_curve(state: State, model: int, ratings: Ratings, t_us: int) -> None:
    """RvrtCrv comes into force; without one (0), or if it cannot be, what the scenario gives the device."""
    fields = state.staged[model]
    curve = CURVE_MODELS[model]
    if fields["RvrtCrv"] >= 2:
        fields["AdptCrvReq"] = fields["RvrtCrv"]
        if not curves.adopt(state, curve, ratings, t_us):
            return
    elif fields["RvrtCrv"] == 1:
        return
    fields["Ena"] = nan
    state.adopted.pop(model, None)
