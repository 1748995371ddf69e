"""Lists in cells of text files as Python and NumPy write them: `['a', 'b']`, `[(0, 4, 'PER')]`, `['a' 'b']`."""

import ast
import re
import warnings
from typing import Any

_STRING = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_WITHOUT_COMMAS = re.compile(rf"\[\s*((?:{_STRING})(?:\s+(?:{_STRING}))+|\d+(?:\s+\d+)+)\s*\]", re.ASCII)
_MEMBER = re.compile(rf"{_STRING}|\d+", re.ASCII)


def parse_written_list(cell: str) -> Any:
    """Return the list of texts, whole numbers, tuples or dicts that a cell is the code of; a cell that is none as it is."""
    cell_in_one_line = " ".join(cell.split("\n")).strip()
    if spaced := _WITHOUT_COMMAS.fullmatch(cell_in_one_line):  # Python would join the texts to one
        cell_in_one_line = f"[{', '.join(_MEMBER.findall(spaced[1]))}]"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as about a backslash that Python would write as two
            return _value_of(ast.parse(cell_in_one_line, mode="eval").body)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return cell


def _value_of(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | None):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value_of(one) for one in node.elts]
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_value_of(key): _value_of(value) for key, value in zip(node.keys, node.values, strict=True) if key is not None}
    raise ValueError("no list of plain values")
