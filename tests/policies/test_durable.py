"""A lock that dies with its process, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cosim.errors import FolderError
from policies.durable import LOCK, LockedError, at_work, locked, write_through


def test_a_folder_is_for_one(tmp_path: Path) -> None:
    """A second one is refused while the first works; folders made for it are gone afterwards unless they hold
    something."""
    place = tmp_path / "a" / "b"
    with locked(place):
        assert at_work(place)
        with pytest.raises(LockedError, match="another process is training into this folder"), locked(place):
            pass
        assert at_work(place)
    assert not (tmp_path / "a").exists()
    with locked(place):
        write_through(place / "x", b"1")
    assert [path.name for path in place.iterdir()] == ["x"]


def test_a_place_where_nothing_can_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason: below a file, and where a file may not be made."""
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="x: cannot be written: Not a directory"), locked(tmp_path / "file" / "x"):
        pass

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(FolderError, match="y: cannot be written: Permission denied"), locked(tmp_path / "y"):
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    """Its file stays, the lock does not."""
    code = ("import sys, time; from pathlib import Path; from policies.durable import locked\n"
            "with locked(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE,
                          stdin=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        assert at_work(tmp_path)
        process.kill()
        process.wait()
    assert (tmp_path / LOCK).exists()
    assert not at_work(tmp_path)
    with locked(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()
