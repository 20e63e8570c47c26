"""Locks on files, which the system lets go of when the process that holds them dies, however it dies."""

from __future__ import annotations

import fcntl
from pathlib import Path


def is_locked(file: Path) -> bool:
    """Whether some process holds the lock of a file now; a file that is not there is nobody's."""
    try:
        with file.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
