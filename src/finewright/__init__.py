"""Fine-tune a pre-trained language model on your own labelled text."""

import importlib
import logging
import os
from typing import Any

# PyTorch reads this when it is loaded. Its C++ side says on standard error what only its own developers need.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
# PEFT loads bitsandbytes, and that tells of an optional kernel it did without, whether or not anything is in four bits.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

__version__ = "0.1.0"

_VERBS = ("Run", "open_run", "plan", "predict", "resume", "train")


def __getattr__(name: str) -> Any:
    """The verbs, and the ways of fine-tuning by their class names; loaded when first asked for."""
    if name in _VERBS:
        return getattr(importlib.import_module("finewright.api"), name)
    if name in ("Comparison", "compare"):
        return getattr(importlib.import_module("finewright.comparison.compare"), name)
    if name[0].isupper():
        methods = importlib.import_module("finewright.methods")
        for method in map(methods.get_method, methods.method_names()):
            if method.__name__ == name:
                return method
    raise AttributeError(f"module 'finewright' has no attribute {name!r}")
