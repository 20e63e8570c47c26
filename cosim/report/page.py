"""The page: sections in order, put into page.html with style, script and plotly.js, so that it needs no network.

plotly.js (MIT) is embedded once, though it is 4.8 MB: zooming one plot zooms all, values are read off by pointing, and
any plot is saved as a picture, in 90 lines of script of ours.  The same in hand-made SVG would be a plotting library.
Of the Python package only that file is used: figures are plain data (`cosim.report.plot`), so a day at 1 min takes well
under a second.

A page is opened by people who trust it and shows names that anybody may have chosen.  So every string is escaped, and
a content security policy lets nothing run but the three scripts whose hashes it lists, and nothing be loaded at all.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from cosim.errors import GridloopError, RecordError
from cosim.recorder import RunResult
from cosim.report.markup import Chart, Section, text
from cosim.report.record import Record
from cosim.report.samples import MAX_BUCKETS
from cosim.report.sections.channels import channels
from cosim.report.sections.control import control
from cosim.report.sections.devices import devices
from cosim.report.sections.events import events
from cosim.report.sections.execution import execution
from cosim.report.sections.loadings import loadings
from cosim.report.sections.overview import cards, head
from cosim.report.sections.realtime import realtime
from cosim.report.sections.shield import shield
from cosim.report.sections.voltages import voltages

_SECTIONS = (events, voltages, loadings, devices, control, shield, channels, realtime, execution)


def write_report(result_folder: Path, out: Path | None = None) -> Path:
    """Write the page of a result (default: RESULT/report.html) and return where it is.

    Raises RecordError for a folder that holds no readable result or a file that cannot be written, and GridloopError
    when plotly is not installed.
    """
    out = result_folder / "report.html" if out is None else out
    page = build_report(RunResult.load(result_folder))
    beside = out.with_name(f".{out.name}.tmp")
    try:
        # Written beside and put in place: a link under that name, in a folder from elsewhere, is not followed.
        beside.unlink(missing_ok=True)
        with beside.open("x", encoding="utf-8") as file:
            file.write(page)
        beside.replace(out)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise RecordError(f"{out}: the report cannot be written: {error.strerror}") from error
    return out


def build_report(result: RunResult) -> str:
    """The page as text, for a result in whatever state; GridloopError when plotly is not installed."""
    plotly_js = _plotly_js()
    record = Record(result)
    sections = [section for make in _SECTIONS if (section := make(record)) is not None]
    charts: list[Mapping[str, Any]] = []
    body = "".join(_section(section, charts) for section in sections)
    script = _asset("page.js")
    return Template(_asset("page.html")).substitute(
        title=text(record.manifest.get("name") or "run"), style=_asset("page.css"), plotly=plotly_js, script=script,
        policy=f"default-src 'none'; script-src {_hash(plotly_js)} {_hash(script)}; style-src 'unsafe-inline'; "
               f"img-src data: blob:; base-uri 'none'; form-action 'none'",
        head=head(record), cards=cards(record), sections=body, figures=_data(charts), downsampled=_downsampled(record),
        links="".join(f'<a href="#{section.anchor}">{section.title}</a>' for section in sections))


def _section(section: Section, charts: list[Mapping[str, Any]]) -> str:
    parts = "".join(_chart(part, charts) if isinstance(part, Chart) else part for part in section.parts)
    return f'<section id="{section.anchor}"><h2>{section.title}</h2>{parts}</section>'


def _chart(chart: Chart, charts: list[Mapping[str, Any]]) -> str:
    """A figure's place on the page; its data go into `charts`."""
    name = f"chart-{len(charts)}"
    charts.append({"id": name, **chart.figure})
    caption = f"<p class=caption>{chart.caption}</p>" if chart.caption else ""
    return (f'<figure><figcaption><h3>{chart.finding}</h3></figcaption><div id="{name}" class=chart role=img '
            f'aria-label="{chart.finding}" style="height:{chart.height}px"></div>{caption}</figure>')


def _downsampled(record: Record) -> str:
    if not record.samples.downsampled:
        return "Every sample is drawn."
    rows = len(record.samples.t_s)
    return (f"{rows:,} samples are drawn as {MAX_BUCKETS} stretches, each by its smallest and its largest value: no "
            f"spike is lost, times within a stretch are.")


def _data(charts: Sequence[Mapping[str, Any]]) -> str:
    """JSON that can stand inside a script element whatever strings it holds."""
    words = json.dumps(charts, separators=(",", ":"), allow_nan=False)
    return words.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return files("cosim.report").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    # Browsers hash the element's text with line ends as they parse it.
    return f"'sha256-{b64encode(sha256(script.replace(chr(13), '').encode()).digest()).decode()}'"


def _plotly_js() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise GridloopError("a report needs plotly, which is not installed; install it with: "
                            "pip install 'gridloop[report]'") from None
    return str(get_plotlyjs()).replace("\r\n", "\n").replace("</script", "<\\/script")
