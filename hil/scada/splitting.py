"""A block read whole, or in halves where the device refuses it for the sake of one address or one value of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hil.scada.blocks import Block
from hil.scada.link import Outcome, Reply

#: Exceptions after which a smaller read may do better.
_SPLIT = (2, 4)
#: Exceptions that a gateway gives in place of a unit that does not answer.
_ABSENT = (10, 11)

Piece = tuple[Block, Reply]


def is_answer(reply: Reply) -> bool:
    """Whether the unit itself said something, if only an exception."""
    return reply.is_done or (reply.outcome is Outcome.REFUSED and reply.code not in _ABSENT)


async def read_split(ask: Callable[[Block], Awaitable[Reply]], block: Block) -> list[Piece]:
    """Every part of a block with its reply: done, or refused for one entry alone.

    Ends with the first part that got no answer at all; costs at most two requests an entry.
    """
    reply = await ask(block)
    halves = block.halves() if reply.outcome is Outcome.REFUSED and reply.code in _SPLIT else None
    if halves is None:
        return [(block, reply)]
    first = await read_split(ask, halves[0])
    return first if not is_answer(first[-1][1]) else first + await read_split(ask, halves[1])
