"""What a control centre knows: the tags' values and qualities, the alarms, and the events that come of them.

Sans-IO: it is told what was read and when, fills the trend buffer, and keeps its events until somebody takes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from cosim.errors import GatewayError
from hil.scada.alarms import Alarm, Change, Limits, Priority, State
from hil.scada.plans import CentrePlan, StationPlan, TagPlan
from hil.scada.readings import Reading, TagQuality, from_flags
from hil.scada.trend import TrendBuffer

#: Events kept until they are taken.
MAX_EVENTS = 100_000


@dataclass(frozen=True, slots=True)
class Event:
    """Something for the operator and for the log; `t_s` counts from the start."""

    t_s: float
    wall_ms: int
    kind: str
    subject: str
    text: str
    priority: str = ""


@dataclass(slots=True)
class Tag:
    """One tag's present state."""

    plan: TagPlan
    alarms: tuple[Alarm, ...]
    trend: int | None
    value: float = math.nan
    quality: TagQuality = TagQuality.BAD
    read_s: float = math.nan
    """When it was last read; NaN: never."""


@dataclass(slots=True)
class StationState:
    """Whether a station answers."""

    alarm: Alarm
    is_up: bool | None = None
    words: str = "not asked yet"
    tags: list[Tag] = field(default_factory=list)


class Board:
    """All tags and alarms of one control centre."""

    def __init__(self, plan: CentrePlan) -> None:
        trended = [tag.key for tag in plan.tags if tag.is_trended]
        index = {key: i for i, key in enumerate(trended)}
        self.trend = TrendBuffer(tuple(trended))
        self.tags = {tag.key: Tag(tag, tuple(Alarm(tag.key, limits) for limits in tag.limits), index.get(tag.key))
                     for tag in plan.tags}
        link = Limits(delay_s=plan.communication.alarm_delay_s, priority=Priority.HIGH)
        self.stations = {station.name: StationState(Alarm(f"{station.name}/communication", link))
                         for station in plan.stations}
        for tag in self.tags.values():
            self.stations[tag.plan.station].tags.append(tag)
        self._stale_scans = plan.communication.stale_scans
        self._flags: dict[str, TagQuality] = {}
        self._events: list[Event] = []
        self.lost_events = 0

    # -- told ---------------------------------------------------------------------------------------------------------

    def take(self, station: StationPlan, readings: Iterable[Reading], t_s: float, wall_ms: int) -> None:
        """One scan's readings."""
        readings = list(readings)
        prefix = station.name + "/"
        known = self._flags
        for reading in readings:
            if reading.entry.shows.value == "quality":
                known[prefix + reading.entry.tag] = from_flags(reading.value)
        for reading in readings:
            beside = station.companions.get(reading.entry.tag)
            quality = reading.quality
            if beside is not None and prefix + beside in known:
                quality = max(quality, known[prefix + beside])
            self._set(self.tags[prefix + reading.entry.tag], reading.value, quality, (t_s, wall_ms))

    def comm(self, station: str, problem: str, t_s: float, wall_ms: int) -> None:
        """Whether a station answered: `problem` is "" when it did."""
        state = self.stations[station]
        if problem:
            change = state.alarm.hold(problem, math.nan, t_s)
            for tag in state.tags if state.is_up is not False else ():
                self._grow_stale(tag, t_s, wall_ms)
            if state.is_up is not False:
                self._note(Event(t_s, wall_ms, "comm", station, f"not answering: {problem}"))
        else:
            change = state.alarm.hold("", math.nan, t_s)
            if state.is_up is False:
                self._note(Event(t_s, wall_ms, "comm", station, "answers again"))
        state.is_up, state.words = not problem, problem or "answers"
        self._changed(change, wall_ms)

    def tick(self, t_s: float, wall_ms: int) -> None:
        """Time has gone on: delays of alarms end, tags that nobody reads grow stale."""
        for alarm in self._all_alarms():
            self._changed(alarm.tick(t_s), wall_ms)
        for tag in self.tags.values():
            if t_s - tag.read_s > self._stale_scans * tag.plan.period_s:
                self._grow_stale(tag, t_s, wall_ms)

    def acknowledge(self, pattern: str, t_s: float, wall_ms: int) -> int:
        """Acknowledge every alarm that `pattern` names; returns how many there were."""
        changes = [alarm.acknowledge(t_s) for alarm in self._all_alarms() if fnmatchcase(alarm.name, pattern)]
        for change in changes:
            self._changed(change, wall_ms)
        return sum(change is not None for change in changes)

    def note(self, event: Event) -> None:
        """Something that happened elsewhere (an operator's write)."""
        self._note(event)

    # -- asked --------------------------------------------------------------------------------------------------------

    def shown_alarms(self) -> list[Alarm]:
        """Alarms that are not normal, the most urgent first, then the newest."""
        return sorted((alarm for alarm in self._all_alarms() if alarm.is_shown),
                      key=lambda a: (a.state is State.ACKNOWLEDGED, -a.limits.priority, -a.since_s, a.name))

    def find(self, name: str) -> Tag:
        """The tag of ``station/tag``, or of a tag that only one station has; raises GatewayError with suggestions."""
        if name in self.tags:
            return self.tags[name]
        found = [key for key in self.tags if key.partition("/")[2] == name]
        if len(found) == 1:
            return self.tags[found[0]]
        if found:
            raise GatewayError(f"'{name}' is a tag of {len(found)} stations; say which: {', '.join(found[:5])}")
        near = [key for key in self.tags if name.lower() in key.lower()][:5]
        raise GatewayError(f"no tag '{name}'; {'did you mean ' + ', '.join(near) if near else '`list` shows all'}")

    def take_events(self) -> list[Event]:
        """What has happened since this was last asked."""
        events, self._events = self._events, []
        return events

    # -- within -------------------------------------------------------------------------------------------------------

    def _set(self, tag: Tag, value: float, quality: TagQuality, when: tuple[float, int]) -> None:
        t_s, wall_ms = when
        tag.value, tag.quality, tag.read_s = value, quality, t_s
        if tag.trend is not None:
            self.trend.add(tag.trend, wall_ms, t_s, value, quality)
        if tag.alarms and quality <= TagQuality.SUBSTITUTED:
            for alarm in tag.alarms:
                self._changed(alarm.take(value, t_s), wall_ms)

    def _grow_stale(self, tag: Tag, t_s: float, wall_ms: int) -> None:
        if tag.quality >= TagQuality.STALE:
            return
        tag.quality = TagQuality.STALE
        if tag.trend is not None:
            self.trend.add(tag.trend, wall_ms, t_s, tag.value, TagQuality.STALE)

    def _all_alarms(self) -> Iterator[Alarm]:
        for state in self.stations.values():
            yield state.alarm
        for tag in self.tags.values():
            yield from tag.alarms

    def _changed(self, change: Change | None, wall_ms: int) -> None:
        if change is None:
            return
        limits = self.tags[change.alarm].alarms if change.alarm in self.tags else ()
        bound = next((a.limits.bound(change.verdict) for a in limits if a.verdict == change.verdict), math.nan)
        what = f"{change.verdict} {bound:g}" if not math.isnan(bound) else change.verdict
        value = "" if math.isnan(change.value) else f", value {change.value:.6g}"
        self._note(Event(change.t_s, wall_ms, "alarm", change.alarm,
                         f"{change.before.value} → {change.after.value} ({what}{value})", change.priority.name.lower()))

    def _note(self, event: Event) -> None:
        if len(self._events) >= MAX_EVENTS:
            self.lost_events += 1
            return
        self._events.append(event)
