"""The operator's desk: commands carried out one after the other, each with its outcome said and logged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cosim.errors import GatewayError
from hil.scada.board import Board, Event, Tag
from hil.scada.link import Link
from hil.scada.operate import Command, parse_command, send, why_not
from hil.scada.polling import Times
from hil.scada.readings import reading
from hil.scada.words import alarm_lines, tag_lines

#: How long a write waits for a station that has not been asked yet.
_FIRST_ANSWER_S = 10.0
#: Longest wait before a value that was written is read back.
_READ_BACK_S = 5.0
#: Commands that wait for the one before them.
_MOST_WAITING = 1_000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a desk needs of its control centre; `link_of` gives a station's connection by its name."""

    board: Board
    times: Times
    link_of: Callable[[str], Link]
    say: Callable[[str], None]
    status: Callable[[], str]
    tell: Callable[[], None]
    """Say and log the board's new events."""
    stop: Callable[[], None]


class Desk:
    """Takes lines, does what they say."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._waiting: asyncio.Queue[str] = asyncio.Queue(_MOST_WAITING)
        self._reading: set[asyncio.Task[None]] = set()
        self.writes = 0

    def hear(self, line: str) -> None:
        """A line that somebody typed or gave beforehand."""
        try:
            self._waiting.put_nowait(line)
        except asyncio.QueueFull:
            self._around.say(f"more than {_MOST_WAITING} commands are waiting; this one is not taken")

    async def run(self) -> None:
        """Carry out lines until cancelled."""
        while True:
            line = await self._waiting.get()
            try:
                command = parse_command(line)
                if command is not None:
                    await self._do(command)
            except GatewayError as error:
                self._around.say(str(error))
            self._around.tell()

    async def _do(self, command: Command) -> None:
        say, board = self._around.say, self._around.board
        match command.word:
            case "set":
                await self._set(board.find(command.argument), command.value)
            case "ack":
                times = self._around.times
                say(f"{board.acknowledge(command.argument, times.now_s(), times.wall_ms())} acknowledged")
            case "list":
                say("\n".join(tag_lines(board, command.argument)))
            case "alarms":
                say("\n".join(alarm_lines(board)) or "no alarms")
            case "status":
                say(self._around.status())
            case _:
                await asyncio.gather(*self._reading)  # what was written is still to be read back
                self._around.stop()

    async def _set(self, tag: Tag, value: float) -> None:
        entry, link = tag.plan.entry, self._around.link_of(tag.plan.station)
        refusal = why_not(entry, value)
        if not refusal:
            await self._first_answer(tag.plan.station)
            before = tag.value
            refusal = (await send(link, entry, value)).words
            self._note(tag, f"set {value:g} {entry.units}".rstrip() + f" (was {before:g}): {refusal or 'taken'}")
        else:
            self._note(tag, f"set {value:g}: not sent: {refusal}")
        if not refusal:
            self.writes += 1
            task = asyncio.create_task(self._read_back(tag, link))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)

    async def _first_answer(self, station: str) -> None:
        until_s = self._around.times.now_s() + _FIRST_ANSWER_S
        while self._around.board.stations[station].is_up is None and self._around.times.now_s() < until_s:
            await asyncio.sleep(0.05)

    async def _read_back(self, tag: Tag, link: Link) -> None:
        """What the station shows a little later: taken is not yet done."""
        entry = tag.plan.entry
        await asyncio.sleep(min(2 * tag.plan.period_s, _READ_BACK_S))
        reply = await link.read(entry.unit, entry.table, entry.address, entry.registers)
        shown = f"{reading(entry, reply.data).value:g} {entry.units}".rstrip() if reply.is_done else reply.words
        self._note(tag, f"reads back {shown}")

    def _note(self, tag: Tag, text: str) -> None:
        times = self._around.times
        self._around.board.note(Event(times.now_s(), times.wall_ms(), "write", tag.plan.key, text))
