"""Cross checks of a scenario: one small function a rule, each over plain data.

Rules see the data before validation (through `View`, which skips what is malformed), so that a wrong type in one
place does not hide a wrong reference in another.  A rule yields (path, message); its level says whether it stops the
run.  Add a rule by writing the function, listing it in `RULES`, and adding a failing fixture in
``tests/cosim/scenario/bad/<id>.yaml``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

from cosim.errors import Problem
from cosim.scenario.model import NAME_PATTERN
from cosim.scenario.problems import near

#: Most findings taken from one rule.
MAX_FINDINGS = 1_000

Finding = tuple[str, str]
Item = tuple[str, dict[str, Any]]
Names = dict[str, None]


class View:
    """Tolerant reading of a scenario's plain data."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.devices = self.items("devices")
        self.agents = self.items("agents")
        self.channels = self.items("channels")
        self.disturbances = self.items("disturbances")

    def items(self, key: str) -> list[Item]:
        """(path, mapping) of each mapping in a list of the top level."""
        values = self.data.get(key)
        if not isinstance(values, list):
            return []
        return [(f"{key}.{i}", value) for i, value in enumerate(values) if isinstance(value, dict)]

    def names(self, items: list[Item]) -> Names:
        """The names of items, templates included, in file order (a dict: asking for one is fast)."""
        return dict.fromkeys(name for _, item in items if (name := text(item, "name")) is not None)


def text(item: Any, key: str) -> str | None:
    """A value that is text, else None."""
    value = item.get(key) if isinstance(item, dict) else None
    return value if isinstance(value, str) else None


def number(item: Any, key: str) -> float | None:
    """A value that is a number (whole or not), else None."""
    value = item.get(key) if isinstance(item, dict) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def texts(item: Any, key: str) -> list[tuple[int, str]]:
    """(index, text) of the texts in a list."""
    value = item.get(key) if isinstance(item, dict) else None
    return [(i, v) for i, v in enumerate(value) if isinstance(v, str)] if isinstance(value, list) else []


@dataclass(frozen=True, slots=True)
class Rule:
    """One cross check; `is_warning` findings do not stop a run."""

    id: str
    check: Callable[[View], Iterator[Finding]]
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the rules found."""

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def judge(view: View) -> Judgement:
    """Every rule's findings (paths, no lines yet)."""
    errors: list[Problem] = []
    warnings: list[Problem] = []
    for rule in RULES:
        target = warnings if rule.is_warning else errors
        found = islice(rule.check(view), MAX_FINDINGS)
        target.extend(Problem(message, path, rule=rule.id) for path, message in found)
    return Judgement(tuple(errors), tuple(warnings))


def unique_names(view: View) -> Iterator[Finding]:
    """A name is used once in its family, and by no other family (points and files are named by it)."""
    seen: dict[str, str] = {}
    for path, item in [*view.devices, *view.agents, *view.channels]:
        name = text(item, "name")
        if name is None or "{}" in name:  # a template: what it makes is judged when it is made
            continue
        if name in seen:
            yield f"{path}.name", f"the name '{name}' is taken by {seen[name]}; choose another"
        else:
            seen[name] = path


def device_names(view: View) -> Iterator[Finding]:
    """Device and agent names (with {} filled in) are letters, digits, _ and -."""
    for path, item in [*view.devices, *view.agents]:
        name = text(item, "name")
        if name is None:
            continue
        each = item.get("each") is not None
        if "{}" in name and not each:
            yield f"{path}.name", f"the name '{name}' has {{}} but there is no `each` to fill it"
        elif each and "{}" not in name:
            yield f"{path}.name", f"`each` makes several, but the name '{name}' has no {{}} to tell them apart"
        elif not re.fullmatch(NAME_PATTERN, name.replace("{}", "x")):
            yield f"{path}.name", f"found {name!r}; expected letters, digits, _ and - (at most 64)"


def agent_channels(view: View) -> Iterator[Finding]:
    """The channels that agents name exist."""
    known = view.names(view.channels)
    for path, agent in view.agents:
        for part in ("telemetry", "messages"):
            name = text(agent.get(part), "channel")
            if name is not None and name not in known:
                yield f"{path}.{part}.channel", _no_channel(name, known)


def channel_hops(view: View) -> Iterator[Finding]:
    """Hops name channels that exist and are links themselves (so no route can contain itself)."""
    known = view.names(view.channels)
    routes = view.names([item for item in view.channels if item[1].get("hops") is not None])
    for path, channel in view.channels:
        for index, hop in texts(channel, "hops"):
            if hop == text(channel, "name"):
                yield f"{path}.hops.{index}", f"the route '{hop}' goes through itself"
            elif hop not in known:
                yield f"{path}.hops.{index}", _no_channel(hop, known)
            elif hop in routes:
                yield f"{path}.hops.{index}", f"'{hop}' is a route itself; expected a channel with rules of its own"


def message_peers(view: View) -> Iterator[Finding]:
    """Patterns of message peers match an agent other than the sender."""
    names = view.names(view.agents)
    for path, agent in view.agents:
        own = text(agent, "name")
        for index, pattern in texts(agent.get("messages"), "to"):
            if pattern in names and pattern != own:
                continue
            if not any(_matches(pattern, name) for name in names if name != own or "{}" in name):
                others = {name: None for name in names if name != own or "{}" in name}
                yield (f"{path}.messages.to.{index}",
                       f"'{pattern}' matches no other agent{near(pattern, others)}; known: {_listed(others)}")


def starts_within_run(view: View) -> Iterator[Finding]:
    """An agent's first decision and its first report fall within the run."""
    duration_s = number(view.data, "duration_s")
    if duration_s is None:
        return
    for path, agent in view.agents:
        for place, item in ((path, agent), (f"{path}.telemetry", agent.get("telemetry"))):
            offset_s = number(item, "offset_s")
            if offset_s is not None and offset_s >= duration_s:
                yield f"{place}.offset_s", f"found {offset_s:g} s; the run ends at {duration_s:g} s"


def disturbance_times(view: View) -> Iterator[Finding]:
    """What is to happen at a set time happens within the run, and ends after it began."""
    duration_s = number(view.data, "duration_s")
    for path, item in view.disturbances:
        for place, at_s in _times(item, "at_s"):
            if duration_s is not None and at_s > duration_s:
                yield f"{path}.{place}", f"found {at_s:g} s; the run ends at {duration_s:g} s"
        start_s, end_s = number(item.get("random"), "start_s"), number(item.get("random"), "end_s")
        if start_s is not None and duration_s is not None and start_s > duration_s:
            yield f"{path}.random.start_s", f"found {start_s:g} s; the run ends at {duration_s:g} s"
        if end_s is not None and end_s <= (start_s or 0.0):
            yield f"{path}.random.end_s", f"found {end_s:g} s; expected more than start_s = {start_s or 0.0:g} s"


def disturbance_targets(view: View) -> Iterator[Finding]:
    """The `channel` and the `device` that a disturbance names exist."""
    channels, devices = view.names(view.channels), view.names(view.devices)
    for path, item in view.disturbances:
        channel, device = text(item, "channel"), text(item, "device")
        if channel is not None and channel not in channels:
            yield f"{path}.channel", _no_channel(channel, channels)
        if device is not None and not any(fnmatchcase(device, name.replace("{}", "*")) for name in devices):
            yield f"{path}.device", f"no device '{device}'{near(device, devices)}; known: {_listed(devices)}"


def record_period(view: View) -> Iterator[Finding]:
    """Values are published at scans, so they cannot be sampled more often."""
    step_s, period_s = _step_s(view), number(view.data.get("record"), "period_s")
    if period_s is not None and 0 < period_s < step_s:
        yield "record.period_s", f"found {period_s:g} s; values change at scans, every step_s = {step_s:g} s"


def agent_period(view: View) -> Iterator[Finding]:
    """Agents that decide more often than the grid is scanned repeat themselves (on_scan)."""
    commands = view.data.get("commands")
    if text(commands, "timing") == "on_arrival":
        return
    step_s = _step_s(view)
    for path, agent in view.agents:
        period_s = number(agent, "period_s")
        if period_s is not None and 0 < period_s < step_s:
            message = f"decides every {period_s:g} s, but commands take effect only every step_s = {step_s:g} s"
            yield f"{path}.period_s", message


def shared_actuation(view: View) -> Iterator[Finding]:
    """Two agents commanding one point at one authority overwrite each other."""
    owners: dict[tuple[str, str], str] = {}
    for path, agent in view.agents:
        if agent.get("each") is not None:
            continue
        authority, name = text(agent, "authority") or "agent", text(agent, "name") or path
        for index, point in texts(agent, "actuate"):
            other = owners.setdefault((point, authority), name)
            if other != name:
                message = f"'{point}' is commanded by '{other}' too, at authority {authority}: the later command wins"
                yield f"{path}.actuate.{index}", message


def _times(item: dict[str, Any], key: str) -> list[tuple[str, float]]:
    """(path, seconds) of one time or a list of them."""
    values = item.get(key)
    if isinstance(values, list):
        return [(f"{key}.{i}", t) for i, v in enumerate(values) if (t := number({key: v}, key)) is not None]
    single = number(item, key)
    return [] if single is None else [(key, single)]


def _step_s(view: View) -> float:
    step_s = number(view.data, "step_s")
    return 1.0 if step_s is None else step_s


def _no_channel(name: str, known: Names) -> str:
    return f"no channel '{name}'{near(name, known)}; known: {_listed(known)}"


def _matches(pattern: str, name: str) -> bool:
    """Whether a peer pattern may match an agent's name; a template's {} stands for anything."""
    return fnmatchcase(name.replace("{}", "*"), pattern) or fnmatchcase(pattern, name.replace("{}", "*"))


def _listed(names: Names) -> str:
    return (", ".join(islice(names, 20)) + (" …" if len(names) > 20 else "")) or "none"


RULES: tuple[Rule, ...] = (
    Rule("unique-names", unique_names),
    Rule("device-names", device_names),
    Rule("agent-channels", agent_channels),
    Rule("channel-hops", channel_hops),
    Rule("message-peers", message_peers),
    Rule("starts-within-run", starts_within_run),
    Rule("disturbance-times", disturbance_times),
    Rule("disturbance-targets", disturbance_targets),
    Rule("record-period", record_period),
    Rule("agent-period", agent_period, is_warning=True),
    Rule("shared-actuation", shared_actuation, is_warning=True),
)
