"""A trained policy as a folder: weights, what it sees and does, and where it comes from.

* ``bundle.json``: ``format``, ``groups`` (name → ``spec``, the `LearnerSpec` with a normalised action, ``members``, the
  same of others that it was trained with, ``network``, the `Description`), ``scenario`` (name, digest), ``shield``
  (settings it was trained with), ``discount``, ``training`` (command, algorithm, configuration, seed, steps, versions,
  returns: whatever the trainer writes);
* ``weights.safetensors``: float32 arrays ``<group>/actor/<name>``, and whatever else a group keeps, say
  ``<group>/critic/<name>``, for training to go on;
* ``actor.<group>.onnx``, after `policies.export`.

Nothing here needs torch, and nothing that is read is code.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from cosim.encoding import LearnerSpec
from cosim.errors import GridloopError
from cosim.scenario.learning import Discount
from cosim.scenario.loader import LoadedScenario
from policies.description import Description, NetworkError
from policies.durable import sync_names, write_through

FORMAT = 1
ABOUT, WEIGHTS = "bundle.json", "weights.safetensors"
#: Most that is read: an actor of a thousand points and actions is below 10 MB.
MAX_ABOUT_BYTES, MAX_WEIGHTS_BYTES, MAX_GROUPS = 16 * 2**20, 512 * 2**20, 1_000

Arrays = Mapping[str, NDArray[np.float32]]

_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-]{0,63}")
_SPEC, _SPECS = TypeAdapter(LearnerSpec), TypeAdapter(tuple[LearnerSpec, ...])


class BundleError(GridloopError):
    """A bundle that cannot be read or written."""


@dataclass(frozen=True, slots=True)
class GroupBundle:
    """One group's policy: `weights` of the actor, and `others` (``critic/…``) that only training needs.

    `spec` is that of one agent, `members` those of others that it was trained with: agents of one group see and do the
    same, each in the range of its own device.
    """

    spec: LearnerSpec
    network: Description
    weights: Arrays = field(default_factory=dict)
    others: Arrays = field(default_factory=dict)
    members: tuple[LearnerSpec, ...] = ()

    def differences(self, here: LearnerSpec) -> list[str]:
        """Where `here` differs from the agent of the training that is most like it; one line each."""
        return min((spec.differences(here) for spec in (self.spec, *self.members)), key=len)

    def distinct(self) -> tuple[LearnerSpec, ...]:
        """Specifications of members that differ from `spec` and from each other in more than the agent's name."""
        found: dict[str, LearnerSpec] = {}
        for spec in (self.spec, *self.members):
            found.setdefault(repr(replace(spec, agent="")), spec)
        return tuple(found.values())[1:]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A trained policy; the mappings are plain data as in ``bundle.json``."""

    groups: Mapping[str, GroupBundle]
    scenario: Mapping[str, Any] = field(default_factory=dict)
    shield: Mapping[str, Any] = field(default_factory=dict)
    discount: Mapping[str, Any] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, *, weights: bool = True) -> Self:
        """Read and check a bundle; without `weights` only what it is.  Raises BundleError for anything else.

        One that a killed `save` had put aside and not yet replaced is still the bundle of that folder.
        """
        folder = standing(folder)
        about = _about(folder)
        file = folder / ABOUT
        groups = {name: _group(file, name, data) for name, data in about["groups"].items()}
        if weights:
            arrays = _arrays(folder / WEIGHTS)
            groups = {name: _filled(folder / WEIGHTS, name, group, arrays) for name, group in groups.items()}
        return cls(groups, about["scenario"], about["shield"], about["discount"], about["training"])

    def save(self, folder: Path) -> None:
        """Write the whole bundle; one that stands there is replaced when the new one is complete.

        Raises BundleError for weights that are not those of the network or not finite, for a name that is none, and for
        a folder that holds something else.
        """
        file = folder / WEIGHTS
        arrays: dict[str, NDArray[np.float32]] = {}
        for name, group in self.groups.items():
            if not _GROUP.fullmatch(name):
                raise BundleError(f"{folder}: a group is called {name!r:.40}; expected letters, digits, _ and -")
            for spec in (group.spec, *group.members):
                _check_spec(folder / ABOUT, name, spec, group.network)
            own = {f"{name}/actor/{key}": np.asarray(value, np.float32) for key, value in group.weights.items()}
            own |= {f"{name}/{key}": np.asarray(value, np.float32) for key, value in group.others.items()}
            _filled(file, name, group, own)
            arrays |= own
        _write(folder, self._about(), arrays)

    def group(self, name: str) -> GroupBundle:
        """A group by name; raises BundleError with the names that there are."""
        if name not in self.groups:
            raise BundleError(f"the bundle has no group '{name}'; it has {', '.join(self.groups)}")
        return self.groups[name]

    def group_for(self, own: str, wanted: str | None = None) -> str:
        """Which group acts for an agent of the group `own`: the `wanted` one, its own, or the only one there is."""
        if wanted is not None:
            return wanted
        if own in self.groups:
            return own
        if len(self.groups) == 1:
            return next(iter(self.groups))
        raise BundleError(f"the agent's group is '{own}', and the bundle has {', '.join(self.groups)}; say which with "
                          f"`group`")

    def _about(self) -> dict[str, Any]:
        groups = {name: {"spec": group.spec.to_dict(), "members": [spec.to_dict() for spec in group.distinct()],
                         "network": group.network.to_dict()} for name, group in self.groups.items()}
        return {"format": FORMAT, "groups": groups, "scenario": dict(self.scenario), "shield": dict(self.shield),
                "discount": None if self.discount is None else dict(self.discount), "training": dict(self.training)}


def normalised(spec: LearnerSpec) -> LearnerSpec:
    """The specification with a normalised action: networks always answer in [-1, 1], whatever the scenario says."""
    return spec if spec.action.is_normalised else replace(spec, action=replace(spec.action, is_normalised=True))


def scenario_digest(loaded: LoadedScenario) -> str:
    """What a scenario is, for a bundle: SHA-256 of its text and overrides."""
    text = json.dumps([loaded.text, list(loaded.overrides)], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def onnx_file(folder: Path, group: str) -> Path:
    """Where the network of a group is kept for runs without torch."""
    return folder / f"actor.{group}.onnx"


def standing(folder: Path) -> Path:
    """Where the bundle of a folder is: there, or put aside where a `save` was killed between its two renames."""
    aside = _beside(folder, "old")
    return aside if not folder.exists() and (aside / ABOUT).is_file() else folder


def bring_back(folder: Path) -> None:
    """Put a bundle back in its place that a killed `save` left aside; only for who alone writes there."""
    place = standing(folder)
    if place != folder:
        place.rename(folder)


def _beside(folder: Path, what: str) -> Path:
    folder = folder if folder.name else folder.absolute()
    return folder.with_name(f".{folder.name}.{what}")


def read_limited(file: Path, most: int) -> bytes:
    """A file's bytes; raises BundleError when it is missing or larger than `most`."""
    try:
        size = file.stat().st_size
        if size > most:
            raise BundleError(f"{file}: {size:,} bytes; expected at most {most:,}")
        return file.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"{file}: cannot be read ({reason}); a bundle is a folder with {ABOUT} and "
                          f"{WEIGHTS}") from None


# -- reading ----------------------------------------------------------------------------------------------------------


def _about(folder: Path) -> dict[str, Any]:
    """The parsed and outwardly checked ``bundle.json``."""
    file = folder / ABOUT
    try:
        about = json.loads(read_limited(file, MAX_ABOUT_BYTES), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{file}: not JSON, or cut off ({error})") from None
    if not isinstance(about, dict) or "format" not in about:
        raise BundleError(f"{file}: no `format`; expected the description of a bundle")
    if about["format"] != FORMAT:
        raise BundleError(f"{file}: format {about['format']!r:.40}; this version reads format {FORMAT}")
    kinds: dict[str, tuple[type, ...]] = {"groups": (dict,), "scenario": (dict,), "shield": (dict,),
                                          "discount": (dict, type(None)), "training": (dict,)}
    for key, expected in kinds.items():
        if not isinstance(about.get(key), expected):
            raise BundleError(f"{file}: `{key}` is {about.get(key)!r:.40}; expected a mapping")
    if about["discount"] is not None:
        try:
            Discount.model_validate(about["discount"])
        except ValidationError as error:
            first = error.errors()[0]
            raise BundleError(f"{file}: discount.{'.'.join(map(str, first['loc']))}: {first['msg']}; found "
                              f"{first['input']!r:.40}") from None
    if not 1 <= len(about["groups"]) <= MAX_GROUPS:
        raise BundleError(f"{file}: {len(about['groups'])} groups; expected 1 to {MAX_GROUPS}")
    return about


def _no_number(found: str) -> NoReturn:
    raise ValueError(f"found {found}; expected a number")


def _group(file: Path, name: str, data: Any) -> GroupBundle:
    if not _GROUP.fullmatch(name) or not isinstance(data, dict) or not {"spec", "members", "network"} <= set(data):
        raise BundleError(f"{file}: groups: {name!r:.40} is no group; expected a name of letters, digits, _ and -, "
                          f"with `spec`, `members` and `network`")
    try:
        spec, members = _SPEC.validate_python(data["spec"]), _SPECS.validate_python(data["members"])
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleError(f"{file}: groups.{name}: specification: {'.'.join(map(str, first['loc']))}: {first['msg']} "
                          f"({error.error_count()} such problems)") from None
    try:
        network = Description.of(data["network"])
    except NetworkError as error:
        raise BundleError(f"{file}: groups.{name}: {error}") from None
    for each in (spec, *members):
        _check_spec(file, name, each, network)
    return GroupBundle(spec, network, members=members)


def _check_spec(file: Path, name: str, spec: LearnerSpec, network: Description) -> None:
    """The network is one for this specification."""
    action = spec.action
    wanted = {"n_in": spec.size, "n_continuous": len(action.continuous), "counts": action.counts}
    for field_name, value in wanted.items():
        found = getattr(network, field_name)
        if found != value:
            raise BundleError(f"{file}: groups.{name}.network.{field_name} is {found}; its spec has {value}")
    if not action.is_normalised:
        raise BundleError(f"{file}: groups.{name}.spec: the action is not normalised; expected policies.bundle."
                          f"normalised(spec)")


def _arrays(file: Path) -> dict[str, NDArray[Any]]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError:
        raise BundleError("reading weights needs safetensors: pip install 'gridloop[rl]'") from None
    try:
        arrays: dict[str, NDArray[Any]] = load(read_limited(file, MAX_WEIGHTS_BYTES))
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{file}: not weights, or cut off ({error})") from None
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def _filled(file: Path, name: str, group: GroupBundle, arrays: Mapping[str, NDArray[Any]]) -> GroupBundle:
    """The group with its arrays, every one checked."""
    prefix = f"{name}/"
    own = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
    mine = {key.removeprefix("actor/"): value for key, value in own.items() if key.startswith("actor/")}
    for key, shape in group.network.shapes.items():
        if key not in mine:
            raise BundleError(f"{file}: {name}/actor/{key} is missing; expected shape {shape}")
        if mine[key].shape != shape:
            raise BundleError(f"{file}: {name}/actor/{key} has shape {mine[key].shape}; expected {shape}")
    unknown = [key for key in mine if key not in group.network.shapes]
    if unknown:
        raise BundleError(f"{file}: {name}/actor/{unknown[0]}: the network has no such array")
    for key, value in own.items():
        if value.dtype != np.float32:
            raise BundleError(f"{file}: {name}/{key} holds {value.dtype}; expected float32")
        if not np.isfinite(value).all():
            raise BundleError(f"{file}: {name}/{key} holds NaN or infinities; expected finite numbers")
    if "norm/std" in mine and not (mine["norm/std"] > 0).all():
        raise BundleError(f"{file}: {name}/actor/norm/std has entries that are not above 0")
    others = {key: value for key, value in own.items() if not key.startswith("actor/")}
    return replace(group, weights=mine, others=others)


# -- writing ----------------------------------------------------------------------------------------------------------


def _write(folder: Path, about: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Into a folder beside, then renamed: nobody finds half a bundle."""
    if folder.exists() and not (folder / ABOUT).is_file():
        raise BundleError(f"{folder}: exists and is no bundle; choose another place")
    files = _files(folder, about, arrays)
    fresh, old = _beside(folder, "new"), _beside(folder, "old")
    try:
        bring_back(folder)
        for left in (fresh, old):
            if left.exists():
                shutil.rmtree(left)
        fresh.mkdir(parents=True)
        for name, data in files.items():
            write_through(fresh / name, data)
        sync_names(fresh)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        sync_names(fresh.parent)
        if old.exists():
            shutil.rmtree(old)
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written ({error.strerror})") from None


def _files(folder: Path, about: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, bytes]:
    """What a bundle's files hold, by name; nothing that `load` would refuse."""
    try:
        from safetensors.numpy import save
    except ImportError:
        raise BundleError("writing weights needs safetensors: pip install 'gridloop[rl]'") from None
    try:
        text = json.dumps(about, indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise BundleError(f"{folder}: cannot be written as JSON ({error}); expected plain data, finite "
                          f"numbers") from None
    found = {ABOUT: text.encode(),
             WEIGHTS: save({name: np.asarray(arrays[name], order="C") for name in sorted(arrays)})}
    for name, most in ((ABOUT, MAX_ABOUT_BYTES), (WEIGHTS, MAX_WEIGHTS_BYTES)):
        if len(found[name]) > most:
            raise BundleError(f"{folder}: {name} would hold {len(found[name]):,} bytes; expected at most {most:,}, as "
                              f"no more is read again; smaller networks or fewer groups would do")
    return found
