"""The registry that finds plugins: by entry point, or in a folder that the person who runs allowed."""

from __future__ import annotations

import importlib.util
import sys
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import crc32

from cosim.errors import PluginError
from cosim.plugins.config import FAMILIES, PluginConfig


class Registry:
    """Plugins of every family by kind.  Entry points are read once and imported when first asked for."""

    def __init__(self, *, installed: bool = True) -> None:
        self._found: dict[str, dict[str, EntryPoint | type[Any]]] = {family: {} for family in FAMILIES}
        self._files: dict[Path, tuple[bytes, tuple[str, ...]]] = {}
        if installed:
            for family, group in FAMILIES.items():
                for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
                    self._add_installed(family, point)

    def _add_installed(self, family: str, point: EntryPoint) -> None:
        # The same line twice is one package that is found twice on the path.
        other = self._found[family].setdefault(point.name, point)
        if isinstance(other, EntryPoint) and other.value != point.value:
            raise PluginError(f"{family} kind '{point.name}' is offered twice by what is installed: {other.value} and "
                              f"{point.value}; uninstall one")

    def kinds(self, family: str) -> tuple[str, ...]:
        """Names known in a family, sorted."""
        return tuple(sorted(self._found[family]))

    def get(self, family: str, kind: str) -> Any:
        """The plugin class; raises PluginError that lists the known kinds."""
        entry = self._found[family].get(kind)
        if entry is None:
            raise PluginError(self.unknown(family, kind))
        if isinstance(entry, EntryPoint):
            entry = self._load(family, kind, entry)
        return entry

    def unknown(self, family: str, kind: str) -> str:
        """The message for a kind that does not exist."""
        known = self.kinds(family)
        near = get_close_matches(str(kind), known, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return f"unknown {family} kind '{kind}'; {hint}known: {', '.join(known) or 'none'}"

    def add(self, plugin: type[Any], *, origin: str) -> None:
        """Register a class by its `family` and `kind`; a second of the same name is an error."""
        family, kind = getattr(plugin, "family", None), getattr(plugin, "kind", None)
        if not isinstance(family, str) or family not in FAMILIES or not isinstance(kind, str):
            raise PluginError(f"{origin}: {plugin.__name__} needs `family` (one of {', '.join(FAMILIES)}) and `kind`")
        if kind in self._found[family]:
            raise PluginError(f"{origin}: {family} kind '{kind}' exists already; choose another name")
        self._found[family][kind] = _checked(plugin, origin)

    def add_folder(self, folder: Path) -> tuple[str, ...]:
        """Import every ``*.py`` of a folder (or one file) and register its plugin classes; returns ``family:kind``s.

        This runs the code it finds: call it only when the person who runs the scenario allowed it.  A file that is in
        this registry already stays as it is; one that has changed since is an error.
        """
        files = sorted(folder.glob("*.py")) if folder.is_dir() else [folder]
        added: list[str] = []
        for file in files:
            added += self._add_file(file)
        if not added:
            raise PluginError(f"{folder}: no plugin class found (a public class with `family` and `kind`)")
        return tuple(added)

    def _add_file(self, file: Path) -> tuple[str, ...]:
        if not file.is_file():
            raise PluginError(f"{file}: plugin file not found")
        place, content = file.resolve(), file.read_bytes()
        before, kinds = self._files.get(place, (content, ()))
        if before != content:
            raise PluginError(f"{file}: changed since this registry loaded it; load the scenario with a new Registry()")
        if place not in self._files:
            found = _plugins_in(_import_file(file))
            for plugin in found:
                self.add(plugin, origin=str(file))
            kinds = tuple(f"{plugin.family}:{plugin.kind}" for plugin in found)
            self._files[place] = content, kinds
        return kinds

    def _load(self, family: str, kind: str, entry: EntryPoint) -> type[Any]:
        try:
            plugin = entry.load()
        except Exception as error:  # whatever a foreign module raises at import
            raise PluginError(f"{family} kind '{kind}' ({entry.value}) cannot be loaded: {error}") from error
        self._found[family][kind] = _checked(plugin, entry.value)
        return plugin  # type: ignore[no-any-return]  # an entry point loads anything


def _checked(plugin: type[Any], origin: str) -> type[Any]:
    config = getattr(plugin, "Config", None)
    if not (isinstance(config, type) and issubclass(config, PluginConfig)):
        name = getattr(plugin, "__name__", repr(plugin))
        raise PluginError(f"{origin}: {name} needs a `Config` derived from cosim.plugins.PluginConfig")
    if not hasattr(plugin, "build"):
        raise PluginError(f"{origin}: {plugin.__name__} needs a `build` class method")
    return plugin


def _plugins_in(module: ModuleType) -> list[Any]:
    """Public classes that a module defines (not what it imports) and that say what they are; aliases once."""
    found: list[Any] = []
    for name, value in vars(module).items():
        own = isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
        if own and getattr(value, "family", None) and getattr(value, "kind", None) and value not in found:
            found.append(value)
    return found


def _import_file(file: Path) -> ModuleType:
    # The path is part of the name: two folders may hold files of one name.
    name = f"gridloop_plugin_{file.stem}_{crc32(str(file.resolve()).encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"{file}: not a Python file; expected a folder or a file named *.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a foreign module raises at import
        del sys.modules[name]
        raise PluginError(f"{file}: cannot be imported: {type(error).__name__}: {error}") from error
    return module
