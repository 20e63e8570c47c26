"""What the wall clock and the masters did in a served run, as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cosim.cli.summary import drawn

_SPANS = (("ingress_to_kernel", "write to kernel"), ("closed_loop", "write, solved, read back"))
_FLOORS = (("lateness", "noise floor, timer"), ("wakeup", "noise floor, wake-up"))


def served_table(realtime: Mapping[str, Any]) -> str:
    """The timing record in lines, aligned; each time beside the machine's noise floor."""
    return drawn([*_times_of(realtime), ("overruns", _overruns(realtime)), ("masters", _masters(realtime)),
                  *_denied(realtime)])


def _times_of(realtime: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    floor = realtime.get("floor") or {}
    for rate in realtime["rates"]:
        if rate["lateness"]["count"]:
            mean, most = 100 * rate["utilisation_mean"], 100 * rate["utilisation_max"]
            yield f"{rate['name']}, late by", f"{_times(rate['lateness'])}, {mean:.1f} % busy (at most {most:.1f} %)"
    for name, words in _SPANS:
        if realtime["spans"][name]["count"]:
            yield words, _times(realtime["spans"][name])
    for name, words in _FLOORS:
        if floor.get(name, {}).get("count"):
            yield words, _times(floor[name])


def _times(histogram: Mapping[str, Any]) -> str:
    return (f"{histogram['p50_ms']:.2f} ms at the median, p99 {histogram['p99_ms']:.2f}, "
            f"max {histogram['max_ms']:.2f}")


def _overruns(realtime: Mapping[str, Any]) -> str:
    overruns = realtime["overruns"]
    worst = f", the worst {overruns['worst_ms']:.1f} ms at t = {overruns['worst_t_s']:g} s" if overruns["count"] else ""
    return (f"{overruns['count']}{worst} ({realtime['policy']}; {realtime['skipped_scans']} scans skipped, "
            f"{realtime['slipped_s']:g} s slipped)")


def _masters(realtime: Mapping[str, Any]) -> str:
    writes, doors = realtime["writes"], realtime["doors"]
    requests = sum(int(door.get("requests", 0)) for door in doors["listeners"].values())
    return (f"{doors['sessions']} sessions, {requests:,} requests, {writes['writes']} writes "
            f"({writes['taken']} taken), {doors['refused']} connections refused")


def _denied(realtime: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    denied = [f"{name} {why}" for name, why in (realtime.get("profile") or {}).items() if why != "ok"]
    if denied:
        yield "real time", "; ".join(denied)
