"""What devices and policies may ask of the run while it is built: places, profiles, random streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from cosim.datasets import Gaps, Interpolation, Profile, Sampler, Sampling, covers, find_profile, load_profile
from cosim.errors import PluginError, ProfileError
from cosim.grid import Network
from cosim.kernel import Kernel
from cosim.points import Vector
from cosim.profile_ref import ProfileRef

#: How a profile is read: one sampler serves all columns read alike.
_Key = tuple[str, str, str]


class RunSite:
    """`cosim.plugins.Site` of one run.  Profile files are loaded once and shared; `files` lists them in order."""

    def __init__(self, network: Network, kernel: Kernel, base_dir: Path, *, start: str | None, duration_us: int,
                 step_us: int) -> None:
        self.network = network
        self.start_us = 0
        self.duration_us = duration_us
        self.step_us = step_us
        self.files: list[tuple[str, Path]] = []
        self._kernel, self._base_dir, self._start = kernel, base_dir, start
        self._profiles: dict[str, Profile] = {}
        self._index: dict[str, dict[str, int]] = {}

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
                groups.setdefault((spec.file, spec.interpolation, spec.gaps), []).append(i)
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

    def rng(self, name: str) -> np.random.Generator:
        """A named random stream."""
        return self._kernel.rng(name)

    def _sampler(self, key: _Key, specs: Sequence[ProfileRef]) -> Sampler:
        file, interpolation, gaps = key
        try:
            profile = self._load(file)
            sampling = Sampling(Interpolation(interpolation), Gaps(gaps), self._offset_us(profile))
            missing = covers(profile, 0, self.duration_us, sampling)
            if missing is not None:
                raise ProfileError((missing,))
            return Sampler(profile, [spec.column for spec in specs], sampling=sampling,
                           scale=[spec.scale for spec in specs])
        except ProfileError as error:
            raise PluginError(str(error)) from error

    def _load(self, file: str) -> Profile:
        if file not in self._profiles:
            path = find_profile(file, self._base_dir)
            self._profiles[file] = load_profile(path)
            self.files.append((file, path))
        return self._profiles[file]

    def _offset_us(self, profile: Profile) -> int:
        return profile.offset_us(self._start) if self._start is not None and profile.epoch_us is not None else 0


def _hint(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    return f"it has {len(known)}: {shown}" if known else "it has none"
