"""One row per message: who sent what to whom, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cosim.agents.field import Action
from cosim.agents.telemetry import Sample
from cosim.channel import Channel, Corrupted, Fate
from cosim.plugins import Message
from cosim.recorder import MessageRow, Recorder

FIELD = "field"
_WORDS = {int(fate): fate.name.lower() for fate in Fate}


def log_messages(channels: Iterable[Channel], recorder: Recorder) -> None:
    """Record every message of `channels` from now on."""
    for channel in channels:
        for link in channel.directions:
            link.on_fate = _writer(link.name.removeprefix("channel."), recorder)


def _writer(name: str, recorder: Recorder) -> Any:
    def write(sent_us: int, arrival_us: int, fate: int, size_bytes: int, payload: Any) -> None:
        sender, receiver = _ends(payload)
        recorder.message(MessageRow(sent_us, None if arrival_us < 0 else arrival_us, name, sender, receiver,
                                    size_bytes, _WORDS[int(fate)]))

    return write


def _ends(payload: Any) -> tuple[str, str]:
    if isinstance(payload, Corrupted):
        payload = payload.payload
    if isinstance(payload, Sample):
        return FIELD, payload.agent
    if isinstance(payload, Action):
        return payload.agent, FIELD
    if isinstance(payload, Message):
        return payload.sender, payload.receiver
    return "", ""
