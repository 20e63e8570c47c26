"""What devices and policies may ask of the run while it is built: places, profiles, random streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from cosim.datasets import Gaps, Interpolation, Profile, Sampler, Sampling, covers, find_profile, load_profile
from cosim.datasets.series import Series, make_series
from cosim.errors import PluginError, ProfileError
from cosim.grid import Network
from cosim.kernel import Kernel
from cosim.points import Vector
from cosim.profile_ref import ProfileRef

#: How a profile is read: one sampler serves all columns read alike.
_Key = tuple[str, str, str, bool]


#: What calendars of learners count from.
_MONDAY = datetime(2001, 1, 1)  # noqa: DTZ001  # local time: the hour of the day matters, not the zone


#: Most series that a store keeps.
MAX_SERIES = 10_000


class ProfileStore:
    """Profile files by name, each loaded once; several runs of one scenario share a store."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[str, Path], tuple[Path, Profile]] = {}
        self._series: dict[tuple[Any, ...], Series] = {}

    def get(self, file: str, base_dir: Path) -> tuple[Path, Profile]:
        """Where the file was found, and what it holds; raises ProfileError."""
        key = file, base_dir
        if key not in self._loaded:
            path = find_profile(file, base_dir)
            self._loaded[key] = path, load_profile(path)
        return self._loaded[key]

    def series(self, profile: Profile, columns: Sequence[str], sampling: Sampling) -> Series:
        """Mended columns of a profile of this store; raises ProfileError."""
        key = (id(profile), *columns, replace(sampling, start_us=0))  # a series does not know when a run starts
        if key not in self._series:
            if len(self._series) >= MAX_SERIES:
                self._series.clear()
            self._series[key] = make_series(profile, columns, sampling)
        return self._series[key]


class RunSite:
    """`cosim.plugins.Site` of one run.  Profile files are loaded once and shared; `files` lists them in order.

    `shift_us` is how far into the profiles t = 0 is; `base_dir` is where the scenario's relative files are, `shield`
    its settings of the shield (plain data).
    """

    def __init__(self, network: Network, kernel: Kernel, base_dir: Path, *, start: str | None, duration_us: int,
                 step_us: int, shift_us: int = 0, kept: ProfileStore | None = None,
                 shield: Mapping[str, Any] | None = None) -> None:
        self.network = network
        self.start_us = 0
        self.duration_us = duration_us
        self.step_us = step_us
        self.files: list[tuple[str, Path]] = []
        self.base_dir = base_dir
        self.shield: Mapping[str, Any] = {} if shield is None else shield
        self._kernel, self._start = kernel, start
        self._shift_us = shift_us
        self._profiles = ProfileStore() if kept is None else kept
        self._index: dict[str, dict[str, int]] = {}
        self._epoch_us: int | None = None

    def bus(self, name: str | int) -> int:
        """Index of a bus; raises PluginError naming close matches."""
        return self.element("bus", name)

    def element(self, table: str, name: str | int) -> int:
        """Index of a network element in `table` (bus, load, sgen, gen, line, trafo, switch, shunt)."""
        index = self._index.get(table)
        if index is None:
            names = getattr(self.network, f"{table}_names", None)
            if names is None:
                raise PluginError(f"unknown network table '{table}'")
            index = self._index[table] = {element: i for i, element in enumerate(names)}
        found = index.get(str(name))
        if found is None:
            raise PluginError(f"network {self.network.name} has no {table} '{name}'; {_hint(str(name), list(index))}")
        return found

    def profile(self, specs: Sequence[ProfileRef | None]) -> Callable[[int], Vector]:
        """A sampler t_us -> (len(specs),); None gives a constant 1.  Raises PluginError with the file's problem."""
        groups: dict[_Key, list[int]] = {}
        for i, spec in enumerate(specs):
            if spec is not None:
                groups.setdefault((spec.file, spec.interpolation, spec.gaps, spec.wrap), []).append(i)
        samplers = [(np.array(places), self._sampler(key, [spec for i in places if (spec := specs[i]) is not None]))
                    for key, places in groups.items()]
        n = len(specs)
        if len(samplers) == 1 and len(samplers[0][0]) == n:
            return samplers[0][1].at

        def at(t_us: int) -> Vector:
            values = np.ones(n)
            for places, sampler in samplers:
                values[places] = sampler.at(t_us)
            return values

        return at

    def clock_us(self, t_us: int) -> int:
        """Calendar time at `t_us`, microseconds since Monday 1 January 2001; without `start`, t = 0 is that day."""
        if self._epoch_us is None:
            self._epoch_us = 0 if self._start is None else round(
                (datetime.fromisoformat(self._start).replace(tzinfo=None) - _MONDAY) / timedelta(microseconds=1))
        return self._epoch_us + self._shift_us + t_us

    def rng(self, name: str) -> np.random.Generator:
        """A named random stream."""
        return self._kernel.rng(name)

    def _sampler(self, key: _Key, specs: Sequence[ProfileRef]) -> Sampler:
        file, interpolation, gaps, wrap = key
        try:
            profile = self._load(file)
            sampling = Sampling(Interpolation(interpolation), Gaps(gaps), self._offset_us(profile), wrap)
            missing = covers(profile, 0, self.duration_us, sampling)
            if missing is not None:
                raise ProfileError((missing,))
            columns = [spec.column for spec in specs]
            return Sampler(profile, columns, sampling=sampling, scale=[spec.scale for spec in specs],
                           series=self._profiles.series(profile, columns, sampling))
        except ProfileError as error:
            raise PluginError(str(error)) from error

    def _load(self, file: str) -> Profile:
        path, profile = self._profiles.get(file, self.base_dir)
        if all(name != file for name, _ in self.files):
            self.files.append((file, path))
        return profile

    def _offset_us(self, profile: Profile) -> int:
        dated = self._start is not None and profile.epoch_us is not None
        return self._shift_us + (profile.offset_us(str(self._start)) if dated else 0)


def _hint(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    return f"it has {len(known)}: {shown}" if known else "it has none"
