"""One call that runs a control centre, for the command line."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hil.pacer import Clock, MonotonicClock
from hil.scada.centre import Centre, CentreOptions
from hil.scada.console import LineEditor, listening, refreshing
from hil.scada.operate import parse_command
from hil.scada.plans import load_plan

#: Lines kept on the screen's log.
_SAID = 200


@dataclass(frozen=True, slots=True)
class ScadaRequest:
    """What `gridloop scada` was asked.  `with_screen`: where stdout is a terminal."""

    config: Path
    out: Path | None = None
    for_s: float | None = None
    commands: tuple[str, ...] = ()
    with_screen: bool = True
    with_stdin: bool = True


def run_scada(request: ScadaRequest, say: Callable[[str], None], clock: Clock | None = None) -> dict[str, Any]:
    """Run to the end of the time, `quit` or a signal; returns the summary.

    Raises ScenarioError for a configuration that cannot be used, GatewayError for a command that nobody understands,
    RecordError for a folder that cannot be written.
    """
    for line in request.commands:
        parse_command(line)
    plan = load_plan(request.config)
    options = CentreOptions(clock or MonotonicClock(), say, request.out, request.for_s, request.commands)
    return asyncio.run(_run(request, options, plan))


async def _run(request: ScadaRequest, options: CentreOptions, plan: Any) -> dict[str, Any]:
    is_screen = request.with_screen and sys.stdout.isatty()
    said: deque[str] = deque(maxlen=_SAID)
    if is_screen:
        options = replace(options, say=lambda text: said.extend(text.splitlines()), status_every_s=None)
    centre, editor = Centre(plan, options), LineEditor()
    drawing = asyncio.create_task(refreshing(centre, editor, said)) if is_screen else None
    with listening(centre.hear, editor) if request.with_stdin else contextlib.nullcontext():
        try:
            return await centre.run()
        finally:
            if drawing is not None:
                drawing.cancel()
                await asyncio.gather(drawing, return_exceptions=True)
