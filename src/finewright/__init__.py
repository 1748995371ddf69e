"""Fine-tune a pre-trained language model on your own labelled text."""

import importlib
from typing import Any

__version__ = "0.1.0"

_VERBS = ("Run", "open_run", "predict", "resume", "train")


def __getattr__(name: str) -> Any:
    """The verbs, and the ways of fine-tuning by their class names; loaded when first asked for."""
    if name in _VERBS:
        return getattr(importlib.import_module("finewright.api"), name)
    if name[0].isupper():
        methods = importlib.import_module("finewright.methods")
        for method in map(methods.kind, methods.names()):
            if method.python_name == name:
                return method
    raise AttributeError(f"module 'finewright' has no attribute {name!r}")
