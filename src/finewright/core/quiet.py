"""Third-party libraries say less; never on `import finewright`."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator

_NATIVE = {"TORCH_CPP_LOG_LEVEL": "ERROR", "KINETO_LOG_LEVEL": "99"}
"""What PyTorch's C++ side and its profiler write on standard error is for their own developers."""

_ADVICE = {"TRANSFORMERS_VERBOSITY": "error"}
"""Advice of transformers, such as to install a faster kernel, comes in the middle of what a command prints."""

_LOADED_BY_PEFT = "bitsandbytes"
"""It tells of an optional kernel that it does without, whether or not anything is in four bits, and takes a second to load."""

_entry_point = False
"""Whether this process runs our own command and nothing else."""


def is_process_ours() -> bool:
    """Return whether this process runs a command of ours and nothing else, so that what is loaded into it is ours to choose."""
    return _entry_point


def quiet_whole_process() -> None:
    """Keep native libraries and transformers quiet in this process and those it starts, unless the environment says otherwise.

    For entry points: the environment stays changed. Call it before PyTorch and transformers are loaded, which read it then.
    """
    global _entry_point  # noqa: PLW0603  it is a property of the process
    _entry_point = True
    for name, value in (_NATIVE | _ADVICE).items():
        os.environ.setdefault(name, value)
    logging.getLogger(_LOADED_BY_PEFT).setLevel(logging.ERROR)


@contextlib.contextmanager
def native_libraries_quiet() -> Iterator[None]:
    """Inside, PyTorch can be loaded and its profiler started without a word; the environment is afterwards as it was."""
    missing = {name: value for name, value in _NATIVE.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


@contextlib.contextmanager
def peft_quiet() -> Iterator[None]:
    """Inside, PEFT can be imported and used without a word about what nobody asked for; the log level is afterwards as it was.

    In a process of our own PEFT does not load bitsandbytes either, unless something in four bits has loaded it before: that
    takes 0.9 s of CPU time, most of it for PyTorch's compiler. Programs that use this package get PEFT as it is.
    """
    logger = logging.getLogger(_LOADED_BY_PEFT)
    level = logger.level
    logger.setLevel(logging.ERROR)
    hidden = _entry_point and _LOADED_BY_PEFT not in sys.modules
    if hidden:
        sys.modules[_LOADED_BY_PEFT] = None  # type: ignore[assignment]  the documented way to make an import fail
    try:
        yield
    finally:
        logger.setLevel(level)
        if hidden:
            del sys.modules[_LOADED_BY_PEFT]
            _forget_what_is_installed()


def _forget_what_is_installed() -> None:
    """Let PEFT look again whether bitsandbytes is there: it remembers the first answer."""
    found = sys.modules.get("peft.import_utils")
    for name in ("is_bnb_available", "is_bnb_4bit_available"):
        if found is not None and hasattr(getattr(found, name, None), "cache_clear"):
            getattr(found, name).cache_clear()


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within this block transformers and PEFT draw no progress bars and print no advice; users get our own notes."""
    from transformers.utils import logging as their_logging

    level, bars = their_logging.get_verbosity(), their_logging.is_progress_bar_enabled()
    their_logging.set_verbosity_error()
    their_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        their_logging.set_verbosity(level)
        if bars:
            their_logging.enable_progress_bar()
