"""Data sets of the Hugging Face hub, as records."""

from pathlib import Path
from typing import Any

from finewright.data.readers.base import Record, bad_file

_SECONDS = 10.0
"""How long the hub may take to answer the first request."""


def check_reachable(identity: str, *, cache: Path, fix: str) -> None:
    """Raise `UserError` if the hub does not answer and the data set is not in the cache: loading it would try for long.

    An answer of any kind is enough, also that there is no such data set: the loader then says so at once.
    """
    import huggingface_hub
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or (cache / identity.replace("/", "___")).is_dir():
        return
    try:
        huggingface_hub.HfApi().dataset_info(identity, timeout=_SECONDS)
    except Exception as error:  # of the client, its network layer, the system
        if getattr(error, "response", None) is not None or isinstance(error, ValueError):
            return
        what = f"the hub cannot be reached ({constants.ENDPOINT}), and the data set is not in the cache"
        raise bad_file(what, identity, fix) from None


def read_hub_records(split: Any, *, file: str) -> list[Record]:
    """Return the rows with names in place of class numbers; on the hub -1 means that there is no label."""
    named = {name: feature for name, feature in split.features.items() if hasattr(feature, "int2str")}
    records = []
    for number, values in enumerate(split, start=1):
        names = {key: None if values[key] in (None, -1) else feature.int2str(values[key]) for key, feature in named.items()}
        records.append(Record(f"{file}: row {number}", {**values, **names}))
    return records
