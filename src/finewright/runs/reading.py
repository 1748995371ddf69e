"""How a run reads other rows: with the columns and the separator that it was trained with."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finewright import tasks
from finewright.core import config
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.core.units import counted
from finewright.data import dataset, readers
from finewright.data.columns import NO_COLUMNS, Columns
from finewright.data.readers.base import FileFormat, FileTable, Record
from finewright.data.splits import Example
from finewright.runs.schema import RunConfigFile

REUSED = (
    "text_separator",
    "label_separator",
    "no_header",
    "merge_similar_labels",
    "system_prompt",
    "prompt_column",
    "answer_column",
)
"""Options of reading the training rows that hold for other rows too, unless they are given."""
MOST_BYTES_READ_AGAIN = 50 * 10**6
"""Largest training files, together, that are read again to look for their texts: these take seconds, and a warning is not worth
more; reading gigabytes would take minutes and as much memory, longer than the evaluation itself."""


def trained_columns(run_config: RunConfigFile) -> Columns:
    """Return the columns of the training rows; none for runs that did not record them."""
    return NO_COLUMNS if run_config.columns is None else run_config.columns.columns()


def data_options(run_config: RunConfigFile, given: DataConfig | Mapping[str, Any] | None = None) -> DataConfig:
    """Return the options for reading other rows: those that are given, then those of training.

    `given`: a config, or options by name, with or without `data.` before it. Raise `UserError` for unknown ones.
    """
    chosen = _build(given)
    trained = run_config.settings.get("data", {})
    reused = {name: trained[name] for name in REUSED if name in trained and name not in chosen.model_fields_set}
    return chosen.model_copy(update=reused)


def read_evaluated_rows(
    source: dataset.Source, run_config: RunConfigFile, given: DataConfig | Mapping[str, Any] | None = None
) -> dataset.LabelledRows:
    """Return the rows of a file or a table to evaluate a run on, as its task reads them. `given`: as in `data_options`."""
    options = data_options(run_config, given)
    kind = tasks.get_task(run_config.task or tasks.DEFAULT).row_kind
    if kind == "multi-label":
        trained = trained_columns(run_config)
        return dataset.read_multi_label_rows_for_model(source, options=options, trained=trained, labels=run_config.labels)
    if kind != "labelled":
        trained = trained_columns(run_config)
        return dataset.read_unlabelled_rows_for_model(source, options=options, row_kind=kind, trained=trained)
    return dataset.read_rows_for_model(source, options=options, trained=trained_columns(run_config), labels=run_config.labels)


def read_own_test_rows(run_config: RunConfigFile, *, where: str) -> dataset.LabelledRows:
    """Return the test rows of a run, read again from where its data was; `where`: the run, for messages.

    Raise `UserError` if they cannot be read, or are no longer the same.
    """
    request, fix = run_config.request, "give the rows: finewright evaluate RUN FILE"
    again = read_data_again(run_config, even_large=True)
    if again is None:
        places = [name for name in (request.source, request.test) if name is not None]
        gone = [name for name in places if dataset.find_local(name) is None]
        what = f"is no file here: {gone[0]}" if gone else f"has changed since: {' or '.join(places)}"
        raise UserError(f"the data of the run {what}", where=where, fix=fix, code=ExitCode.BAD_DATA)
    if not again.test:
        raise UserError("the run has no test rows", where=where, fix=fix, code=ExitCode.BAD_DATA)
    columns = again.columns
    texts, label = columns.texts or ("text",), columns.label or "label"
    is_pair = again.test[0].pair is not None
    names = (*(texts if is_pair else ("text",)), label)
    records = [Record(row.where, dict(zip(names, (*(row.pair or (row.text,)), row.label), strict=True))) for row in again.test]
    table = FileTable(records, names, FileFormat(".csv"), header=names)
    return dataset.LabelledRows(
        again.test,
        records,
        table,
        columns,
        [f"{counted(len(records), 'test row')} of the run, from {request.test or request.source}"],
    )


def read_data_again(run_config: RunConfigFile, *, even_large: bool = False) -> dataset.Dataset | None:
    """Return the data of a run; None if it is gone, has changed since, is no file, or is too large and that matters.

    It is read again from where it was read: a run keeps no copy of its data.
    """
    request = run_config.request
    places = [dataset.find_local(name) for name in (request.source, request.test) if name is not None]
    found = [place for place in places if place is not None]
    if not run_config.data_fingerprint or len(found) < len(places) or not (even_large or _are_small(found)):
        return None
    try:
        options = config.build_options(DataConfig, run_config.settings.get("data", {}), prefix="data")
        kind = tasks.get_task(run_config.task or tasks.DEFAULT).row_kind
        data = dataset.read_dataset(request.source, options=options, test=request.test, row_kind=kind)
    except UserError:
        return None
    return data if data.fingerprint == run_config.data_fingerprint else None


def find_training_texts(run_config: RunConfigFile) -> set[str] | None:
    """Return the texts that a run was trained on; None if its data cannot be read again (`read_data_again`)."""
    data = read_data_again(run_config)
    return None if data is None else {row.text for row in data.train}


def _are_small(places: Iterable[Path]) -> bool:
    """Return whether these files, and the tables and texts below those that are folders, have at most `MOST_BYTES_READ_AGAIN`."""
    total = 0
    for place in places:
        inside = (path for path in place.rglob("*") if readers.is_table(path.name) or readers.suffix(path))
        for path in inside if place.is_dir() else [place]:
            with contextlib.suppress(OSError):
                total += path.stat().st_size
            if total > MOST_BYTES_READ_AGAIN:
                return False
    return True


def count_trained_rows(run_config: RunConfigFile, rows: Sequence[Example]) -> int | None:
    """Return how many rows to evaluate on have a text that the run was trained on; None if the training rows are not known."""
    trained = find_training_texts(run_config)
    return None if trained is None else sum(row.text in trained for row in rows)


def describe_trained_rows(num_trained: int, num_rows: int) -> str:
    """Return the sentence about rows to evaluate on whose text the run was trained on."""
    have = "row has a text" if num_trained == 1 else "rows have texts"
    counts = f"{num_trained:,} of {num_rows:,} ({num_trained / num_rows:.0%})"
    return f"warning: {counts} {have} that the run was trained on: on new rows it is probably less accurate"


def _build(given: DataConfig | Mapping[str, Any] | None) -> DataConfig:
    if isinstance(given, DataConfig):
        return given
    tree: dict[str, Any] = {}
    for key, value in (given or {}).items():
        config.set_option(tree, key.removeprefix("data."), value)
    nested = tree.pop("data", {})
    return config.build_options(DataConfig, config.merge_options(tree, nested), prefix="data")
