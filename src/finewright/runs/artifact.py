"""What every file of a run is made of, and the version of these files."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 2
"""Version 1 had no number in its files."""


class Artifact(BaseModel):
    """A file, a line of a file, or a part of one."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",  # what is no number is refused when the file is written, not replaced by null
        protected_namespaces=(),
        populate_by_name=True,
    )

    newest: ClassVar[int] = SCHEMA_VERSION
    """Newest version of the file that can be read."""
    owner: ClassVar[str] = "run"
    """What the folder of the file is, in messages."""
    repair: ClassVar[str] = "train it again"
    """What to do if the file cannot be read."""


class VersionedFile(Artifact):
    """A whole JSON file."""

    schema_version: int = SCHEMA_VERSION
