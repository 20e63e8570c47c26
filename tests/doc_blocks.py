"""Fenced blocks of a Markdown page, and how each kind is tried out, so that no example in the documents is only text.

A page is tried top to bottom in one empty folder, as a reader would:

* a block after ``<!-- file: PATH -->`` is written to that file;
* ``yaml`` that is a whole scenario (it has `grid`) must pass `gridloop check`, a piece of one must fit into `BASE`;
* ``python`` runs as a script;
* in ``sh``, each line that starts with ``gridloop`` runs and must end with exit code 0; other lines are for people;
* ``gridloop serve … &`` runs beside what follows, at free ports of its own (`Beside`), until ``kill -INT %1``, and must
  then end with exit code 0; a line of ``mbpoll`` runs where that is installed;
* ``text``, ``toml`` and the rest are pictures of something: not tried.

All in this process: starting Python and importing pandapower for each line would take most of the time.
"""

from __future__ import annotations

import io
import re
import runpy
import shlex
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from cosim.cli import main
from tests.beside import Beside

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^(?:<!-- file: (?P<file>\S+) -->\n+)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
                   re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")

#: What a piece of a scenario is tried in: it replaces the keys it has.
BASE: dict[str, Any] = {
    "name": "base", "duration_s": 600, "step_s": 1, "grid": {"network": "case33bw"},
    "devices": [
        {"kind": "pv", "name": "pv_18", "bus": "18", "p_rated_kw": 500, "s_rated_kva": 550},
        {"kind": "pv", "name": "pv_33", "bus": "33", "p_rated_kw": 500, "s_rated_kva": 550},
        {"kind": "battery", "name": "store", "bus": "17", "p_max_kw": 200, "e_rated_kwh": 400}],
    "channels": [{"name": name, "rules": [{"kind": "loss", "probability": 0.1}]} for name in ("wan", "radio", "lan")],
}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: where it stands, its language, the file it is written to ("": none), its text."""

    place: str
    language: str
    file: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    content = page.read_text(encoding="utf-8")
    return [Block(f"{page.relative_to(ROOT)}:{content.count(chr(10), 0, match.start()) + 1}", match["language"],
                  match["file"] or "", match["text"]) for match in FENCE.finditer(content)]


def links(page: Path) -> list[str]:
    """Targets of a page's links, those inside blocks left out."""
    return LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))


def broken_links(page: Path) -> list[str]:
    """Links of a page to files that are not there, or to headings that a page does not have."""
    broken = []
    for link in links(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, heading = link.partition("#")
        target = page if not path else (page.parent / path).resolve()
        is_there = target.exists()
        if is_there and heading and target.suffix == ".md":
            is_there = heading in anchors(target)
        if not is_there:
            broken.append(link)
    return broken


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def try_out(page: Path, folder: Path) -> None:
    """Try every block of a page in `folder`."""
    with Beside(folder) as beside:
        _try_blocks(page, folder, beside)


def _try_blocks(page: Path, folder: Path, beside: Beside) -> None:
    for number, block in enumerate(blocks(page)):
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        if block.language == "yaml":
            _try_yaml(block, folder, folder / (block.file or f"piece_{number}.yaml"))
        elif block.language == "python" and not block.file:
            text = beside.with_ports(block.text)
            _run_python(replace(block, text=text), folder, folder / f"python_{number}.py")
        elif block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                if not beside.takes(line):
                    for command in commands(replace(block, text=beside.with_ports(line))):
                        _run_command(block, command, folder)


def commands(block: Block) -> Iterator[list[str]]:
    """The arguments of every ``gridloop`` line (also of one in a virtual environment, or after ``&&``)."""
    for line in block.text.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words and Path(words[0]).name == "gridloop":
                yield words[1:]


def _try_yaml(block: Block, folder: Path, path: Path) -> None:
    data = yaml.safe_load(block.text)
    assert isinstance(data, dict), f"{block.place}: expected a mapping"
    if not block.file:
        whole = data if "grid" in data and "devices" in data else {**BASE, **data}
        path.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    extra = ["--allow-plugins"] if "plugins" in data else []
    _run_command(block, ["check", str(path), *extra], folder)


def _run_command(block: Block, command: list[str], folder: Path) -> None:
    said = io.StringIO()
    with chdir(folder), redirect_stdout(said), redirect_stderr(said):
        code = main(command)
    assert code == 0, f"{block.place}: gridloop {shlex.join(command)}\n{said.getvalue()}"


def _run_python(block: Block, folder: Path, path: Path) -> None:
    path.write_text(block.text, encoding="utf-8")
    try:
        with chdir(folder), redirect_stdout(io.StringIO()):
            runpy.run_path(str(path), run_name="__main__")
    except Exception as error:  # whatever the example raises
        raise AssertionError(f"{block.place}: {type(error).__name__}: {error}") from error
