"""Numbers that are none, found where they come from: before they are learned from, and before they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from policies.training.algorithm import TrainingError
from policies.training.collect import Fragment

#: What an environment gives; actions and their probabilities may be NaN where a policy failed, which is held.
_GIVEN = ("reward", "cost", "dt_s", "obs", "next_obs")


def finite(fragment: Fragment) -> Fragment:
    """The fragment as it is; TrainingError, with column, agent and slot, for NaN or infinity from an environment."""
    for group, rows in fragment.rows.items():
        for name in _GIVEN:
            values = rows[name]
            if np.isfinite(values).all():
                continue
            row = int(np.flatnonzero(~np.isfinite(values.reshape(len(rows), -1)).all(1))[0])
            raise TrainingError(f"group {group}: {name} of learner {int(rows['agent'][row])} in slot "
                                f"{int(rows['slot'][row])} is not a finite number (its decision "
                                f"{int(rows['order'][row])}); expected numbers; look at the terms of the reward and at "
                                f"points without a value")
    return fragment


def check_finite(group: str, state: Mapping[str, Any], iteration: int) -> None:
    """TrainingError for a state that nothing good can come from: it must not take a good checkpoint's place."""
    for name, array in state.items():
        if np.asarray(array).dtype.kind == "f" and not np.isfinite(array).all():
            raise TrainingError(f"group {group}: {name} is not finite after iteration {iteration}; expected finite "
                                f"numbers; lower the learning rate")
