"""Third-party libraries say less; never on `import finewright`."""

import contextlib
import logging
import os
from collections.abc import Iterator

_NATIVE = {"TORCH_CPP_LOG_LEVEL": "ERROR", "KINETO_LOG_LEVEL": "99"}
"""What PyTorch's C++ side and its profiler write on standard error is for their own developers."""


def quiet_native_libraries() -> None:
    """Keep native libraries quiet in this process and those it starts. For entry points: the environment stays changed.

    Call it before PyTorch is loaded, which reads these settings then.
    """
    for name, value in _NATIVE.items():
        os.environ.setdefault(name, value)
    # PEFT loads bitsandbytes, which tells of an optional kernel it did without, whether or not anything is in four bits.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


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
