"""A lock that dies with its process, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
