"""Serial doors on pseudo-terminals: answers, timers, and a device that goes and comes back."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cosim.errors import GatewayError
from gateways import serial_line
from gateways.peer import Role
from gateways.serial_line import SerialDoor, SerialOptions
from tests.gateways.fakes import EchoSession, FakeHooks, until

pytestmark = pytest.mark.asyncio


class Line:
    """A pseudo-terminal behind a name of its own, as a USB adapter is behind /dev/ttyUSB0."""

    def __init__(self, folder: Path) -> None:
        self.device = folder / "ttyUSB0"
        self.plug()

    def plug(self) -> None:
        """The device is there."""
        self.master, slave = os.openpty()
        tty.setraw(self.master)
        os.set_blocking(self.master, False)
        self.device.symlink_to(os.ttyname(slave))
        os.close(slave)

    def unplug(self) -> None:
        """The device is gone."""
        self.device.unlink(missing_ok=True)
        os.close(self.master)
        self.master = -1

    async def read(self, size: int) -> bytes:
        """What came over the line."""
        data = b""
        async with asyncio.timeout(5):
            while len(data) < size:
                try:
                    data += os.read(self.master, size - len(data))
                except BlockingIOError:
                    await asyncio.sleep(0.002)
        return data


@pytest.fixture
def line(tmp_path):
    """A line that is plugged in."""
    line = Line(tmp_path)
    yield line
    if line.master >= 0:
        os.close(line.master)


@asynccontextmanager
async def opened(line, make=EchoSession, **changes):
    """A door on the line, and its hooks."""
    options = replace(SerialOptions(str(line.device), parity="N"), **changes)
    door, hooks = SerialDoor("line", options), FakeHooks()
    await door.open(make, hooks)
    try:
        yield door, hooks
    finally:
        async with asyncio.timeout(5):
            await door.close()


async def test_bytes_come_and_go_and_the_hooks_hear_of_it(line):
    """One line is one session."""
    async with opened(line, role=Role.ENGINEER) as (door, hooks):
        assert door.where() == f"{line.device} 19200 8N1"
        os.write(line.master, b"hello")
        assert await line.read(5) == b"hello"
        assert hooks.told == ["received", "sent"]
        peer = hooks.peers[0]
        assert (peer.listener, peer.address, peer.role) == ("line", str(line.device), Role.ENGINEER)
        assert door.counts() == {"sessions": 1, "lost": 0, "dropped": 0, "requests": 1, "open": 1}
    assert hooks.ended == [(peer, "the listener closed")]
    assert door.counts()["open"] == 0


class SilenceSession:
    """Answers what it has heard after 20 ms of silence, as RTU's end of frame does."""

    def __init__(self, peer, now_us: int) -> None:
        self.closing, self._heard, self._due_us = "", b"", None
        self.ends: list[int] = []

    def receive(self, data: bytes, now_us: int) -> bytes:
        """Nothing yet."""
        self._heard += data
        self._due_us = now_us + 20_000
        return b""

    def next_us(self) -> int | None:
        """The end of the silence."""
        return self._due_us

    def on_timer(self, now_us: int) -> bytes:
        """The frame is whole."""
        if self._due_us is None or now_us < self._due_us:
            return b""
        heard, self._heard, self._due_us = self._heard, b"", None
        self.ends.append(now_us)
        return b"<" + heard + b">"

    def counts(self) -> Mapping[str, int]:
        """Ends of frames."""
        return {"frames": len(self.ends)}


async def test_a_timer_of_the_session_fires_after_its_silence(line):
    """Bytes that come in pieces are one frame; each piece moves the timer."""
    async with opened(line, SilenceSession) as (door, _):
        for piece in (b"a", b"b", b"c"):
            os.write(line.master, piece)
            await asyncio.sleep(0.005)
        assert await line.read(5) == b"<abc>"
        os.write(line.master, b"d")
        assert await line.read(3) == b"<d>"
        assert door.counts()["frames"] == 2


async def test_the_turnaround_keeps_its_silence_before_an_answer(line):
    """Nothing for a while, then everything in order."""
    async with opened(line, turnaround_s=0.05):
        begin = asyncio.get_running_loop().time()
        os.write(line.master, b"one")
        await asyncio.sleep(0.01)
        os.write(line.master, b"two")
        assert await line.read(6) == b"onetwo"
        assert asyncio.get_running_loop().time() - begin >= 0.05


async def test_a_device_that_vanishes_is_one_line_and_goes_on_when_it_is_back(line, monkeypatch, caplog):
    """The session ends with a reason; tries in between say nothing; a new session begins by itself."""
    monkeypatch.setattr(serial_line, "FIRST_RETRY_S", 0.02)
    async with opened(line) as (door, hooks):
        line.unplug()
        await until(lambda: len(hooks.ended) == 1)
        assert hooks.ended[0][1].startswith("the device is gone (")
        await asyncio.sleep(0.2)
        assert len(caplog.records) == 1
        assert caplog.records[0].message.startswith(f"listener line: {line.device} is gone (")
        line.plug()
        await until(lambda: len(hooks.peers) == 2)
        os.write(line.master, b"again")
        assert await line.read(5) == b"again"
        assert (door.counts()["lost"], door.counts()["sessions"]) == (1, 2)
        assert hooks.peers[1].session == 2


class Waits:
    """A loop that notes how long it is to wait, and never calls."""

    def __init__(self, loop, waits: list[float]) -> None:
        self._loop, self._waits = loop, waits

    def __getattr__(self, name):
        return getattr(self._loop, name)

    def call_later(self, delay, call, *args):
        """Noted."""
        self._waits.append(delay)


async def test_retries_are_bounded_in_rate(line):
    """The wait doubles up to its limit and begins anew once the device is back."""
    waits = []
    async with opened(line) as (door, hooks):
        door._loop = Waits(door._loop, waits)
        line.unplug()
        await until(lambda: len(hooks.ended) == 1)
        for _ in range(7):
            door._try()
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]


async def test_a_hundred_unpluggings_leave_no_files_behind(line, monkeypatch):
    """Descriptors as before."""
    monkeypatch.setattr(serial_line, "FIRST_RETRY_S", 0.001)
    async with opened(line) as (_, hooks):
        before = len(os.listdir("/proc/self/fd"))
        for times in range(1, 101):
            line.unplug()
            line.plug()
            await until(lambda times=times: len(hooks.peers) == times + 1)
        assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_line_that_takes_nothing_drops_answers_instead_of_growing(line):
    """What waits is bounded and what does not fit is counted; once it is read, the rest comes out whole."""
    async with opened(line, lambda peer, now_us: EchoSession(peer, now_us, times=100)) as (door, _):
        async with asyncio.timeout(5):
            while not door.counts()["dropped"]:
                os.write(line.master, b"0123456789")
                await asyncio.sleep(0.001)
        assert len(door._out) <= serial_line.WRITE_LIMIT
        got = await _drain(line)
        await until(lambda: not door._out)
        got += await _drain(line)
        assert got == b"0123456789" * (len(got) // 10)
        os.write(line.master, b"x")
        assert (await line.read(100)) == b"x" * 100


async def _drain(line) -> bytes:
    got = b""
    for _ in range(50):
        with suppress(BlockingIOError):
            got += os.read(line.master, 65536)
        await asyncio.sleep(0.001)
    return got


async def test_a_device_missing_at_the_start_is_one_clear_line(tmp_path):
    """Which, and that it is not there."""
    door = SerialDoor("line", SerialOptions(str(tmp_path / "ttyUSB7")))
    with pytest.raises(GatewayError) as caught:
        await door.open(EchoSession, FakeHooks())
    assert str(caught.value) == f"listener line: no such serial device {tmp_path / 'ttyUSB7'}"


async def test_a_file_that_is_no_serial_line_is_one_clear_line(tmp_path):
    """It exists, but it is no tty."""
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(GatewayError, match=r"notes\.txt cannot be opened as a serial line"):
        await SerialDoor("line", SerialOptions(str(tmp_path / "notes.txt"))).open(EchoSession, FakeHooks())


async def test_a_device_in_use_is_one_clear_line(line):
    """Two listeners on one line would steal each other's bytes."""
    async with opened(line):
        with pytest.raises(GatewayError, match="is in use by another program"):
            await SerialDoor("other", SerialOptions(str(line.device))).open(EchoSession, FakeHooks())


async def test_a_device_may_be_waited_for(line, monkeypatch, caplog):
    """wait: it is missing at the start, and served once it is there."""
    monkeypatch.setattr(serial_line, "FIRST_RETRY_S", 0.01)
    line.unplug()
    async with opened(line, wait=True) as (door, hooks):
        assert "no such serial device" in caplog.records[0].message
        assert door.counts()["open"] == 0
        line.plug()
        await until(lambda: len(hooks.peers) == 1)
        os.write(line.master, b"late")
        assert await line.read(4) == b"late"
