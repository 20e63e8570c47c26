"""Where a scenario's text comes from: a file, or a scenario shipped with the package by name."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from cosim.errors import Problem, ScenarioError

#: Largest scenario file read, bytes.
MAX_BYTES = 2_000_000
SUFFIXES = (".yaml", ".yml")


def shipped_folder() -> Path | None:
    """The folder of the scenarios that ship with the package, or None where they are not on disk."""
    try:
        folder = Path(str(files("scenarios")))
    except ModuleNotFoundError:
        return None
    return folder if folder.is_dir() else None


def shipped_scenarios() -> dict[str, Path]:
    """Shipped scenarios by name, in name order."""
    folder = shipped_folder()
    if folder is None:
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES}


def find_scenario(name_or_path: str | Path) -> Path:
    """The file meant by a path or by the name of a shipped scenario; raises ScenarioError that says what exists."""
    asked = str(name_or_path)
    try:
        path = Path(asked).expanduser()
        if path.is_dir() and asked not in shipped_scenarios():  # a result folder called after its scenario, say
            raise ScenarioError((Problem("is a folder; expected a scenario file", file=asked),))
        if path.exists() and not path.is_dir():
            return path
    except (OSError, ValueError, RuntimeError) as error:
        raise ScenarioError((Problem(f"not a usable file name: {error}", file=_printable(asked)),)) from None
    shipped = shipped_scenarios()
    if asked in shipped:
        return shipped[asked]
    raise ScenarioError((Problem(_not_found(path, shipped), file=_printable(asked)),))


def read_text(path: Path) -> str:
    """The text of a scenario file; raises ScenarioError when it is no regular file, too large or not UTF-8."""
    file = str(path)
    try:
        if not path.is_file():
            raise ScenarioError((Problem("is not a regular file; expected a scenario file", file=file),))
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        size = path.stat().st_size
    except OSError as error:
        raise ScenarioError((Problem(f"cannot be read: {error.strerror or error}", file=file),)) from None
    if len(raw) > MAX_BYTES:
        raise ScenarioError((Problem(f"{size / 1e6:.1f} MB; a scenario file is at most {MAX_BYTES / 1e6:.0f} MB (put "
                                     f"long data into a CSV or Parquet profile)", file=file),))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        found = f"byte 0x{raw[error.start]:02x}"
        raise ScenarioError((Problem(f"not UTF-8 text: found {found}; expected a YAML file", "", file, line, column,
                                     "yaml"),)) from None


def _not_found(path: Path, shipped: dict[str, Path]) -> str:
    siblings = _names_beside(path)
    near = get_close_matches(path.name, [*siblings, *shipped], 1) or get_close_matches(path.stem, list(shipped), 1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"no such file, and no shipped scenario of that name; {hint}shipped: {', '.join(shipped) or 'none'}"


def _names_beside(path: Path) -> list[str]:
    try:
        return sorted(p.name for p in path.parent.iterdir() if p.suffix in SUFFIXES)[:1000]
    except OSError:
        return []


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")[:200]
