"""References to profile columns, in both forms."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from cosim.profile_ref import ProfileRef


class _Holder(BaseModel):
    profile: ProfileRef | None = None


def test_short_and_long_form_agree() -> None:
    """file#column is the mapping with defaults."""
    long = _Holder(profile={"file": "a/loads.csv", "column": "house 3"})  # type: ignore[arg-type]
    assert _Holder(profile="a/loads.csv#house 3") == long  # type: ignore[arg-type]
    assert long.profile is not None
    assert (long.profile.scale, long.profile.interpolation, long.profile.gaps) == (1.0, "hold", "error")


@pytest.mark.parametrize("text", ["loads.csv", "#p", "loads.csv#", ""])
def test_a_reference_without_file_or_column_is_refused(text: str) -> None:
    """The message shows both forms."""
    with pytest.raises(ValidationError, match=r"expected 'file.csv#column' or a mapping"):
        ProfileRef.model_validate(text)


def test_unknown_keys_and_values_are_refused() -> None:
    """Typing errors do not pass."""
    with pytest.raises(ValidationError, match="Extra inputs"):
        ProfileRef.model_validate({"file": "a.csv", "column": "p", "factor": 2})
    with pytest.raises(ValidationError, match="'hold' or 'linear'"):
        ProfileRef.model_validate({"file": "a.csv", "column": "p", "interpolation": "cubic"})


def test_the_schema_knows_both_forms() -> None:
    """Editors accept the short form."""
    forms = ProfileRef.model_json_schema()["anyOf"]
    assert {form["type"] for form in forms} == {"string", "object"}
    assert _Holder.model_json_schema()
