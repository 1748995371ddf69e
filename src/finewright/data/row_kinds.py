"""What the rows of a data source are, and how its files are read for that."""

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data import conversation_shapes, readers, source_tables
from finewright.data.columns import wanted_columns
from finewright.data.conversation_shapes import RowKind
from finewright.data.source_tables import Source, SourceTables, TableReading


def detect_row_kind(source: Source, *, options: DataConfig) -> tuple[RowKind, str]:
    """Return what the rows of a source are, told by the names of its columns, and the reason in words for the user.

    A table with a label column that is given, or with texts and labels, is "labelled". So is what cannot be read: whoever reads
    it says why.
    """
    return read_row_kind(source, options=options)[:2]


def read_row_kind(source: Source, *, options: DataConfig) -> tuple[RowKind, str, SourceTables | None]:
    """Return the kind, the reason, and the tables that were read to find it; None if they were not read."""
    if options.label_column is not None:
        return "labelled", f"the label column {options.label_column!r} is given", None
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
        kind, reason = conversation_shapes.tell_row_kind(table, options, file=found.name_of(name))
    except UserError:  # such as two columns of one name, which another task may not need
        return "labelled", "its columns cannot be told apart", found
    return kind, reason, found


def how_to_read(options: DataConfig, row_kind: RowKind) -> TableReading:
    """Return how files are read for rows of a kind: labelled ones need some columns alone, and never a text without columns."""
    if row_kind == "labelled":
        return TableReading(wanted_columns(options))
    given = (options.text_column,) if isinstance(options.text_column, str) else options.text_column or ()
    given = (*given, *filter(None, (options.prompt_column, options.answer_column)))
    return TableReading(texts=(*conversation_shapes.SHAPE_NAMES, *given), with_texts=True)
