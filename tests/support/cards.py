"""The code on a model card, run as a reader would run it."""

import re

_CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def blocks(folder):
    """The pieces of code on the card, with the folder filled in."""
    return [code.replace("path/to/this/folder", str(folder)) for code in _CODE.findall((folder / "README.md").read_text())]


def run_code(code):
    """Run a piece of code; return the names it defines."""
    names = {}
    exec(code, names)
    return names
