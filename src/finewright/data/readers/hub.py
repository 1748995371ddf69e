"""Data sets of the Hugging Face hub, as records."""

from collections.abc import Iterator
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
    """Return the rows of a split of a data set."""
    return [Record(f"{file}: row {number}", row) for number, row in enumerate(iterate_named(split), start=1)]


def iterate_named(split: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a `datasets.Dataset` with names in place of class numbers, those in lists (tags of words) too; on the hub
    -1 means that there is no label."""
    features = split.features or {}
    named = {name: feature for name, feature in features.items() if hasattr(feature, "int2str")}
    listed = {name: one.feature for name, one in features.items() if hasattr(getattr(one, "feature", None), "int2str")}
    for row in split:
        names = {key: None if row[key] in (None, -1) else feature.int2str(row[key]) for key, feature in named.items()}
        tags = {key: [feature.int2str(one) for one in row[key] or ()] for key, feature in listed.items()}
        yield {**row, **names, **tags}
