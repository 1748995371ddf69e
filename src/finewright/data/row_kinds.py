"""What the rows of a data source are, and how its files are read for that."""

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data import columns as column_names
from finewright.data import conversation_shapes, readers, source_tables, tagged_rows
from finewright.data.columns import wanted_columns
from finewright.data.conversation_shapes import RowKind
from finewright.data.readers.base import LABEL_NAMES, TEXT_NAMES, FileTable
from finewright.data.source_tables import Source, SourceTables, TableReading

_UNMISTAKABLE = ({"prompt", "instruction"}, {"completion", "response"})


def detect_row_kind(source: Source, *, options: DataConfig) -> tuple[RowKind, str]:
    """Return what the rows of a source are, told by the names of its columns, and the reason in words for the user.

    A table with a label column that is given, or with texts and labels, is "labelled". So is what cannot be read: whoever reads
    it says why.
    """
    return read_row_kind(source, options=options)[:2]


def read_row_kind(source: Source, *, options: DataConfig) -> tuple[RowKind, str, SourceTables | None]:
    """Return the kind, the reason, and the tables that were read to find it; None if they were not read."""
    is_text = False
    try:
        found = source_tables.read_tables(source, how_to_read(options, "labelled"), options=options)
    except UserError:
        try:
            found = source_tables.read_tables(source, how_to_read(options, "conversation"), options=options)
        except UserError:
            return "labelled", "the data cannot be read as anything else", None
        is_text = all(table.format.suffix == readers.TEXT for table in found.tables.values())
        if not is_text:
            return "labelled", "the data cannot be read as conversations", None
    name, table = next(((name, found.tables[name]) for name in ("train", *found.tables) if name in found.tables), ("", None))
    if table is None or not table.records:
        return "labelled", "no rows", found
    if is_text:
        return "conversation", "texts without labels", found
    try:
        kind, reason = tell_row_kind(table, options, file=found.name_of(name))
    except UserError:  # such as two columns of one name, which another task may not need
        return "labelled", "its columns cannot be told apart", found
    return kind, reason, found


def tell_row_kind(table: FileTable, options: DataConfig, *, file: str) -> tuple[RowKind, str]:
    """Return what the rows of a table are, and the reason."""
    tagged = tagged_rows.find_form(table, options)
    return _tell_by_names(table, options, file=file) if tagged is None else ("tagged-tokens", tagged.describe())


def _tell_by_names(table: FileTable, options: DataConfig, *, file: str) -> tuple[RowKind, str]:
    if options.label_column is not None:
        return tell_label_kind(table, options.label_column, reason=f"the label column {options.label_column!r} is given")
    if options.prompt_column is not None or options.answer_column is not None:
        return "conversation", "a column of prompts or of answers is given"
    names = {name.casefold().strip(): name for name in table.columns}
    if {"chosen", "rejected"} <= names.keys():
        return "preference", "it has columns of chosen and rejected answers"
    if {"prompt", "completion", "label"} <= names.keys() and column_names.holds_truth(table, names["label"]):
        return "preference", "it has prompts, completions, and whether each of these is good"
    shape = conversation_shapes.find_shape(table, options.model_copy(update={"text_column": None}), file=file)
    if shape is None:
        return "labelled", "no columns of conversations"
    labels = [names[name] for name in LABEL_NAMES if name in names and names[name] not in shape.columns.values()]
    has_text = options.text_column is not None or any(name in names for name in TEXT_NAMES)
    few = [name for name in labels if column_names.has_few_values(table, name)]
    if shape.form in ("text", "instruction") and has_text and (few or (labels and shape.form == "text")):
        name = (few or labels)[0]
        return tell_label_kind(table, name, reason=f"it has texts and a column of labels ({name!r})")
    if shape.form == "instruction" and "choices" not in shape.columns:
        prompt, answer = (shape.columns.get(part, "") for part in ("prompt", "answer"))
        clear = prompt.casefold() in _UNMISTAKABLE[0] or answer.casefold() in _UNMISTAKABLE[1]
        if not clear and column_names.has_few_values(table, answer):
            return "labelled", f"{answer!r} has few values, each many times, as labels have"
    if shape.form == "text" and len(table.columns) > 1 and column_names.guess_label(table, shape.columns["text"]):
        return "labelled", "it has texts and a column with few values"
    return "conversation", f"the columns are those of {shape.said}"


def tell_label_kind(table: FileTable, column: str, *, reason: str) -> tuple[RowKind, str]:
    """Return what the labels in a column of a table are, and the reason. `reason`: why the column is the label."""
    return "labelled", reason


def how_to_read(options: DataConfig, row_kind: RowKind) -> TableReading:
    """Return how files are read for rows of a kind: labelled ones need some columns alone, and never a text without columns."""
    if row_kind == "labelled":
        return TableReading(wanted_columns(options))
    given = (options.text_column,) if isinstance(options.text_column, str) else options.text_column or ()
    given = (*given, *filter(None, (options.prompt_column, options.answer_column)))
    return TableReading(texts=(*conversation_shapes.SHAPE_NAMES, *given), with_texts=True)
