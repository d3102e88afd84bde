"""What every section of a sweep file is: strict about its types, closed to unknown keys, never changed."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """The base of the sections' models."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
