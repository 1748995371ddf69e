"""How a run reads other rows: with the columns and the separator that it was trained with."""

from collections.abc import Mapping
from typing import Any

from finewright.core import config
from finewright.core.config import DataConfig
from finewright.data.columns import NO_COLUMNS, Columns
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


def _build(given: DataConfig | Mapping[str, Any] | None) -> DataConfig:
    if isinstance(given, DataConfig):
        return given
    tree: dict[str, Any] = {}
    for key, value in (given or {}).items():
        config.set_option(tree, key.removeprefix("data."), value)
    nested = tree.pop("data", {})
    return config.build_options(DataConfig, config.merge_options(tree, nested), prefix="data")
