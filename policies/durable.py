"""Folders that outlive a kill: files written through to the disk, and a lock that the system lets go of.

A lock is on a file, held by the process: when that dies, however it dies, the system releases it.  The file is removed
at the end; whoever locks it then makes sure that it is still the one with that name.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cosim.errors import FolderError, GridloopError
from cosim.locks import is_locked

#: The file that is locked while somebody trains into its folder.
LOCK = ".training.lock"
#: Tries to lock a file that others are just removing.
_TRIES = 100


class LockedError(GridloopError):
    """A folder that another process is working in."""


def write_through(file: Path, data: bytes) -> None:
    """Written through to the disk: a renamed folder is a whole one."""
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_names(folder: Path) -> None:
    """Put a folder's names, say after a rename, on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, made if there is none, for this process alone; LockedError where another one has it.

    Folders that were made for the lock and are empty at the end are removed again.  FolderError where nothing can be
    written there.
    """
    try:
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(folder)
    except OSError as error:
        raise FolderError(f"{folder}: cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        with suppress(OSError):  # the folder may be gone, or moved
            (folder / LOCK).unlink()
        os.close(descriptor)
        with suppress(OSError):  # not empty: as it should be
            for place in made:
                place.rmdir()


def at_work(folder: Path) -> bool:
    """Whether some process holds the lock of a folder now."""
    return is_locked(folder / LOCK)


def _lock(folder: Path) -> int:
    """The descriptor that holds the lock."""
    for _ in range(_TRIES):
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), (folder / LOCK).stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            break
        except FileNotFoundError:  # removed between the two looks
            pass
        os.close(descriptor)
    raise LockedError(f"{folder}: another process is training into this folder; wait for it or stop it first")
