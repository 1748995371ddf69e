"""The texts of a file, read as `predict` reads them."""

from finewright.data.dataset import find_texts, read_table


def read_texts(source, *, options):
    """Return the text of each row; rows without one are left out."""
    table = read_table(source, options=options)
    return [text for text in find_texts(table, options=options)[0] if text is not None]
