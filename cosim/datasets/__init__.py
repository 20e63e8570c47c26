"""Profiles of real data: loading and checking files, sampling them fast, and the ones that ship."""

from cosim.datasets.columns import unit_of
from cosim.datasets.findings import Limits
from cosim.datasets.model import Gaps, Profile
from cosim.datasets.profiles import load_profile
from cosim.datasets.registry import Dataset, datasets, find_profile
from cosim.datasets.sampler import Sampler
from cosim.datasets.series import Interpolation, Sampling, covers

__all__ = [
    "Dataset",
    "Gaps",
    "Interpolation",
    "Limits",
    "Profile",
    "Sampler",
    "Sampling",
    "covers",
    "datasets",
    "find_profile",
    "load_profile",
    "unit_of",
]
