"""Which folder a run writes into, and what happens to a result that is there already."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

from cosim.cli.outcome import UsageError

#: Default names tried.
_MAX_RESULTS = 10_000
_MARK = "manifest.json"

#: What commands write into a result besides its tables, as patterns of relative names, ``**`` for whatever is below: a
#: run, a served one, its report; and a control centre's trends and events, which may have been sent there.
_WRITTEN = (*(pattern for name in (_MARK, "scenario.yaml", "report.html", "access.seal")
              for pattern in (name, f".{name}.tmp")),
            "commits.jsonl", "audit.jsonl", "inputs/**", "access.jsonl", "realtime.json", "wire.log",
            "trend/trend-*.parquet", "trend/.trend-*.parquet.part", "events.jsonl")


def next_result(name: str, parent: Path = Path("results")) -> Path:
    """``results/<name>-001`` or the first number after it that is free."""
    for number in range(1, _MAX_RESULTS):
        folder = parent / f"{name}-{number:03d}"
        if not folder.exists():
            return folder
    raise UsageError(f"{parent}/{name}-001 to -{_MAX_RESULTS - 1} exist all; remove some, or name one with --out")


def check_free(folder: Path, *, force: bool) -> None:
    """Raises UsageError unless a result may be written into `folder`."""
    try:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is a file; expected a folder")
        if not folder.exists() or not any(folder.iterdir()) or _is_stillborn(folder):
            return
    except OSError as error:  # a name too long, a folder that may not be read
        raise UsageError(f"{str(folder)[:200]}: cannot be used: {error.strerror or error}") from None
    if not (folder / _MARK).is_file():
        raise UsageError(f"{folder}: holds files that are no result; name another folder")
    if not force:
        raise UsageError(f"{folder}: holds a result already; name another folder, or --force to replace it, or "
                         f"--resume to go on with it")
    from cosim.recorder.folder import being_written

    refuse_foreign(folder, _own())
    if being_written(folder):
        raise UsageError(f"{folder}: another process is recording into this folder; stop it first")


def _own() -> tuple[str, ...]:
    """Patterns of everything in a result, and in the one without the shield in it."""
    from cosim.recorder.folder import COUNTERFACTUAL
    from cosim.recorder.tables import TABLES

    parts = (f"{table}/{name}" for table in TABLES for name in ("part-*.parquet", ".part-*.parquet.tmp"))
    one = (*_WRITTEN, *parts)
    return (*one, *(f"{COUNTERFACTUAL}/{pattern}" for pattern in one))


def refuse_foreign(folder: Path, own: Sequence[str]) -> None:
    """UsageError for the first entry of a folder that no command writes there: that has none of the patterns `own`."""
    try:
        foreign = _first_foreign(folder, own)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be replaced: {error.strerror or error}") from None
    if foreign is not None:
        raise UsageError(f"{foreign}: was not written by gridloop, and --force would remove it; move it away, or name "
                         f"another folder")


def _first_foreign(folder: Path, own: Sequence[str]) -> Path | None:
    for place, folders, files in os.walk(folder, onerror=_raised):
        folders.sort()
        inner = Path(place).relative_to(folder).parts
        for name in sorted((*folders, *files)):
            if not _is_own((*inner, name), own, is_folder=name in folders):
                return Path(place, name)
    return None


def _is_own(parts: tuple[str, ...], own: Sequence[str], *, is_folder: bool) -> bool:
    """Whether some pattern is of this entry, or of something in this folder."""
    for pattern in own:
        wanted = pattern.split("/")
        deep = wanted[-1] == "**" and len(parts) >= len(wanted)
        if not deep and (len(parts) >= len(wanted) if is_folder else len(parts) != len(wanted)):
            continue
        if all(fnmatchcase(part, want) for part, want in zip(parts, wanted, strict=False)):
            return True
    return False


def _raised(error: OSError) -> None:
    raise error


def _is_stillborn(folder: Path) -> bool:
    """Whether a run was killed here before its manifest said that there is a result: nothing is recorded yet."""
    first = frozenset(("commits.jsonl", "scenario.yaml", "inputs", "audit.jsonl", f".{_MARK}.tmp",
                       ".scenario.yaml.tmp"))
    names = [path.name for path in folder.iterdir()]
    return "commits.jsonl" in names and first.issuperset(names) and (folder / "commits.jsonl").stat().st_size == 0


def replacing(folder: Path) -> AbstractContextManager[None]:
    """Put an existing result aside while a new one is made; it comes back when nothing new was written."""
    return put_aside(folder, _holds_result, _holds_result)


def _holds_result(folder: Path) -> bool:
    return (folder / _MARK).is_file()


@contextmanager
def put_aside(folder: Path, is_there: Callable[[Path], bool], has_begun: Callable[[Path], bool]) -> Iterator[None]:
    """Put what `is_there` aside while something new is made; it comes back unless the new one `has_begun`.

    The folder itself stays, only what is in it moves: it may be the one that the process, or a shell, works in.
    """
    if not is_there(folder):
        yield
        return
    folder = folder.resolve()
    aside = folder.with_name(f".{folder.name}.replaced")
    try:
        aside.mkdir()
    except FileExistsError:  # nobody else's to put back
        raise UsageError(f"{aside} is in the way (another --force is at work, or one was killed); move it, then try "
                         f"again") from None
    except OSError as error:
        raise UsageError(f"{folder}: cannot be replaced: {error.strerror or error}") from None
    try:
        _move(folder, aside)
    except OSError as error:
        _put_back(aside, folder)
        raise UsageError(f"{folder}: cannot be replaced: {error.strerror or error}") from None
    try:
        yield
    finally:
        if not has_begun(folder):
            folder.mkdir(exist_ok=True)
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            _move(aside, folder)
        shutil.rmtree(aside)


def _put_back(aside: Path, folder: Path) -> None:
    """As far as that goes: what could not be moved is where it was."""
    with suppress(OSError):
        _move(aside, folder)
        aside.rmdir()


def _move(source: Path, target: Path) -> None:
    """What is in one folder into another one beside it."""
    for path in sorted(source.iterdir()):
        path.rename(target / path.name)
