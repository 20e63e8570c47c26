"""`ProfileRef`: which column of which file a device or a policy follows, and how."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

#: The short form, for the schema: ``loads.csv#house_3``.
_SHORT = {"type": "string", "pattern": "^[^#]+#[^#]+$", "description": "Short form: file#column"}


class ProfileRef(BaseModel):
    """A time series in a file: written ``file.csv#column`` or ``{file: …, column: …, scale: …}``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    file: str = Field(min_length=1, description="CSV or Parquet file, relative to the scenario file.")
    column: str = Field(min_length=1, description="Column of the file.")
    scale: float = Field(1.0, description="Every value is multiplied by this.")
    interpolation: Literal["hold", "linear"] = Field(
        "hold", description="Between samples: `hold` the last one or draw a straight line (`linear`).")
    gaps: Literal["error", "hold", "linear"] = Field(
        "error", description="Missing samples: refuse the file, `hold` the last value, or draw a straight line.")
    wrap: bool = Field(False, description="After its end the profile starts anew (a day of 00:00 to 23:45, or to "
                                          "24:00, repeats every day).")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        file, mark, column = value.rpartition("#")
        if not (file and mark and column):
            raise ValueError(f"profile '{value}': expected 'file.csv#column' or a mapping with `file` and `column`")
        return {"file": file, "column": column}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [dict(_SHORT), handler.resolve_ref_schema(handler(core))]}
