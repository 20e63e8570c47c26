"""Finding and reading scenario files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cosim.errors import ScenarioError
from cosim.scenario import find
from cosim.scenario.find import MAX_BYTES, find_scenario, read_text


def message(call: object, *args: object) -> str:
    """What a refused call says."""
    with pytest.raises(ScenarioError) as caught:
        call(*args)  # type: ignore[operator]
    return str(caught.value)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped scenarios with one in it."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    (folder / "tour.yaml").write_text("name: tour\n")
    monkeypatch.setattr(find, "shipped_folder", lambda: folder)
    return folder


def test_shipped_scenarios_are_found_by_name(shipped: Path) -> None:
    """A bare name means a shipped scenario."""
    assert find_scenario("tour") == shipped / "tour.yaml"


def test_a_file_comes_before_a_shipped_name(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of that name wins."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tour").write_text("name: mine\n")
    assert find_scenario("tour") == Path("tour")


def test_a_folder_does_not_hide_a_shipped_name(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``gridloop run tour --out tour`` can be followed by another ``gridloop run tour``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tour").mkdir()
    assert find_scenario("tour") == shipped / "tour.yaml"


def test_unknown_name_suggests(shipped: Path) -> None:
    """An unknown name lists what exists and what was probably meant."""
    assert message(find_scenario, "tuor") == (
        "tuor: no such file, and no shipped scenario of that name; did you mean 'tour'? shipped: tour")


def test_unknown_path_suggests_its_neighbours(shipped: Path) -> None:
    """A mistyped path names the file beside it."""
    assert "did you mean 'tour.yaml'?" in message(find_scenario, shipped / "tourr.yaml")


def test_folder_is_refused(tmp_path: Path) -> None:
    """A folder is no scenario."""
    assert "is a folder" in message(find_scenario, tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_impossible_names_are_refused(name: str) -> None:
    """Names that the system refuses are an error of ours."""
    assert message(find_scenario, name)


def test_large_file_is_refused_unread(tmp_path: Path) -> None:
    """A 100 MB file is refused after its first 2 MB."""
    path = tmp_path / "large.yaml"
    with path.open("wb") as stream:
        stream.truncate(100_000_000)
    assert message(read_text, path).startswith(f"{path}: 100.0 MB; a scenario file is at most 2 MB")


def test_limit_itself_is_accepted(tmp_path: Path) -> None:
    """Exactly the limit is read."""
    path = tmp_path / "full.yaml"
    path.write_bytes(b"#" * MAX_BYTES)
    assert len(read_text(path)) == MAX_BYTES


def test_garbage_is_refused_with_a_place(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are named with their line and column."""
    path = tmp_path / "garbage.yaml"
    path.write_bytes(b"name: x\nab\xff\xfe")
    assert message(read_text, path) == f"{path}:2:3: not UTF-8 text: found byte 0xff; expected a YAML file"


def test_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    """A UTF-8 byte order mark is skipped."""
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\n")
    assert read_text(path) == "name: x\n"


def test_device_files_are_refused() -> None:
    """An endless device is not read."""
    assert "not a regular file" in message(read_text, Path("/dev/zero"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    """A file without permission says so."""
    path = tmp_path / "secret.yaml"
    path.write_text("name: x\n")
    path.chmod(0)
    assert "cannot be read" in message(read_text, path)
