"""How a run reads other rows: with the columns and the separator that it was trained with."""

from collections.abc import Mapping, Sequence
from typing import Any

from finewright.core import config
from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data import dataset
from finewright.data.columns import NO_COLUMNS, Columns
from finewright.data.splits import Example
from finewright.runs.schema import RunConfigFile

REUSED = ("text_separator", "no_header", "merge_similar_labels")
"""Options of reading the training rows that hold for other rows too, unless they are given."""


def trained_columns(run_config: RunConfigFile) -> Columns:
    """Return the columns of the training rows; none for runs that did not record them."""
    found = run_config.columns
    return NO_COLUMNS if found is None else Columns(tuple(found.texts), found.label)


def data_options(run_config: RunConfigFile, given: DataConfig | Mapping[str, Any] | None = None) -> DataConfig:
    """Return the options for reading other rows: those that are given, then those of training.

    `given`: a config, or options by name, with or without `data.` before it. Raise `UserError` for unknown ones.
    """
    chosen = _build(given)
    trained = run_config.settings.get("data", {})
    reused = {name: trained[name] for name in REUSED if name in trained and name not in chosen.model_fields_set}
    return chosen.model_copy(update=reused)


def find_training_texts(run_config: RunConfigFile) -> set[str]:
    """Return the texts that a run was trained on; none if its data is gone, has changed since, or is no file.

    They are read again from where they were read: a run keeps no copy of its data.
    """
    request = run_config.request
    given = [name for name in (request.source, request.test) if name is not None]
    if not run_config.data_fingerprint or not all(map(dataset.is_local, given)):
        return set()
    try:
        options = config.build_options(DataConfig, run_config.settings.get("data", {}), prefix="data")
        found = dataset.read_dataset(request.source, options=options, test=request.test)
    except UserError:
        return set()
    return {row.text for row in found.train} if found.fingerprint == run_config.data_fingerprint else set()


def describe_seen_rows(run_config: RunConfigFile, rows: Sequence[Example]) -> str:
    """Return the sentence about rows to evaluate on whose text the run was trained on; empty if there are none to be found."""
    trained = find_training_texts(run_config)
    num_seen = sum(row.text in trained for row in rows)
    if not num_seen:
        return ""
    have = "row has a text" if num_seen == 1 else "rows have texts"
    counts = f"{num_seen:,} of {len(rows):,} ({num_seen / len(rows):.0%})"
    return f"warning: {counts} {have} that the run was trained on: on new rows it is probably less accurate"


def _build(given: DataConfig | Mapping[str, Any] | None) -> DataConfig:
    if isinstance(given, DataConfig):
        return given
    tree: dict[str, Any] = {}
    for key, value in (given or {}).items():
        config.set_option(tree, key.removeprefix("data."), value)
    nested = tree.pop("data", {})
    return config.build_options(DataConfig, config.merge_options(tree, nested), prefix="data")
