"""What a scenario says of learning: what makes no sense is refused where it stands."""

from __future__ import annotations

from typing import Any

import pytest

from cosim.errors import ScenarioError
from tests.cosim.env.worlds import LOSSES, loaded


@pytest.mark.parametrize(("learning", "words"), [
    ({"reward_clip": [1.0, -1.0]}, r"reward_clip: low 1.0 must be below high -1.0"),
    ({"reward_clip": [1.0, 1.0]}, r"reward_clip: low 1.0 must be below high 1.0"),
    ({"reward": [{**LOSSES, "within": [1.0, -1.0]}]}, r"within: low 1.0 must be below high -1.0"),
])
def test_bounds_the_wrong_way_round_are_refused(learning: dict[str, Any], words: str) -> None:
    """They would make every reward the same number; one message, at its line."""
    with pytest.raises(ScenarioError, match=words) as caught:
        loaded(learning=learning)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].line > 1
