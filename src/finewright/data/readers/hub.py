"""Data sets of the Hugging Face hub, as records."""

from typing import Any

from finewright.data.readers.base import Record


def read_hub_records(split: Any, *, file: str) -> list[Record]:
    """Return the rows with names in place of class numbers; on the hub -1 means that there is no label."""
    named = {name: feature for name, feature in split.features.items() if hasattr(feature, "int2str")}
    records = []
    for number, values in enumerate(split, start=1):
        names = {key: None if values[key] in (None, -1) else feature.int2str(values[key]) for key, feature in named.items()}
        records.append(Record(f"{file}: row {number}", {**values, **names}))
    return records
