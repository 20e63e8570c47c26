"""Every example in the documents is tried out, and every link leads somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doc_blocks import BASE, ROOT, anchors, blocks, broken_links, commands, try_out

PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "scenarios" / "README.md", ROOT / "CHANGELOG.md"]
TRIED = [page for page in PAGES if page.parent.name != "reference"]


def name(page: Path) -> str:
    """Path below the root."""
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", TRIED, ids=name)
def test_examples_work(page: Path, tmp_path: Path) -> None:
    """Files, scenarios, Python and commands of a page work, top to bottom in an empty folder."""
    try_out(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page: Path) -> None:
    """Links to files and headings lead somewhere."""
    assert broken_links(page) == []


def test_every_shipped_scenario_is_in_the_table() -> None:
    """scenarios/README.md names each shipped scenario."""
    text = (ROOT / "scenarios" / "README.md").read_text(encoding="utf-8")
    missing = [path.stem for path in (ROOT / "scenarios").glob("*.yaml") if f"({path.name})" not in text]
    assert missing == []


def test_a_broken_example_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above fails for a wrong command, a wrong key and Python that raises; and a broken link is named."""
    monkeypatch.setattr("tests.doc_blocks.ROOT", tmp_path)
    page = tmp_path / "page.md"
    for language, text in (("sh", "gridloop chek tour"), ("yaml", "grid: {netwrk: case33bw}"), ("python", "1 / 0")):
        page.write_text(f"# T\n\n```{language}\n{text}\n```\n", encoding="utf-8")
        with pytest.raises(AssertionError, match=r"page\.md:3"):
            try_out(page, tmp_path)
    page.write_text("# A heading, here\n[a](#a-heading-here) [b](gone.md) [c](https://example.org)\n", encoding="utf-8")
    assert broken_links(page) == ["gone.md"]
    assert anchors(page) == {"a-heading-here"}


def test_blocks_and_commands_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File names, languages and the gridloop lines of a page are read; the base scenario is one of ours."""
    monkeypatch.setattr("tests.doc_blocks.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("<!-- file: a/b.py -->\n```python\nx = 1\n```\n\n```sh\nls  # a\n.venv/bin/gridloop list && "
                    "gridloop check tour  # b\n```\n", encoding="utf-8")
    first, second = blocks(page)
    assert (first.file, first.language, first.text) == ("a/b.py", "python", "x = 1\n")
    assert list(commands(second)) == [["list"], ["check", "tour"]]
    assert BASE["grid"] == {"network": "case33bw"}
