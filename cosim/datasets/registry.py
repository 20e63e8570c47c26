"""The profiles that ship with Gridloop, by name, and the way from a name or path in a scenario to a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cosim.datasets.columns import did_you_mean
from cosim.errors import ProfileError

SHIPPED = Path(__file__).resolve().parents[2] / "scenarios" / "profiles"
"""``scenarios`` lies beside ``cosim``, in the source tree and in an installation alike."""

INDEX = "datasets.json"
_KINDS = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A shipped profile: ``source`` is whose data it is, ``licence`` its SPDX name, ``file`` lies in the folder."""

    name: str
    file: str
    summary: str
    source: str
    licence: str
    columns: tuple[str, ...]


def datasets(folder: Path = SHIPPED) -> tuple[Dataset, ...]:
    """The shipped profiles, in the order of the index file; none where the folder has no index.

    Raises `ProfileError` where the index cannot be understood.
    """
    index = folder / INDEX
    if not _is_file(index):
        return ()
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))["datasets"]
        return tuple(Dataset(**{**entry, "columns": tuple(entry["columns"])}) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProfileError(f"{index}: is no index of profiles ({error!r}); run docs/data/make_profiles.py") from None


def find_profile(name_or_path: str, base_dir: Path, folder: Path = SHIPPED) -> Path:
    """The file a scenario means: a path from the scenario's own folder first, then a shipped profile by its name.

    ``base_dir`` is the folder of the scenario file.  Raises `ProfileError` with near names.
    """
    beside = base_dir / name_or_path
    if _is_file(beside):
        return beside
    known = {dataset.name: folder / dataset.file for dataset in datasets(folder)}
    files = {path.name: path for path in known.values()}
    found = known.get(name_or_path) or files.get(name_or_path)
    if found is not None and _is_file(found):
        return found
    near = did_you_mean(name_or_path, [*known, *_profiles_beside(beside.parent)])
    raise ProfileError(
        f"there is no profile {name_or_path!r}: neither a file from the scenario's folder nor a shipped profile; {near}"
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # A name too long for the file system, or with a NUL.
        return False


def _profiles_beside(folder: Path) -> list[str]:
    """Names of profile files in a folder, sorted, at most 200; none where it cannot be listed."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.suffix in _KINDS)[:200]
    except (OSError, ValueError):
        return []
