"""Third-party libraries say less; for the entry points of the program, never on import."""

import logging
import os


def quiet_native_libraries() -> None:
    """Keep PyTorch's C++ side and bitsandbytes from writing on standard error what only their developers need.

    Call it before PyTorch is loaded: it reads its settings then.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    # PEFT loads bitsandbytes, which tells of an optional kernel it did without, whether or not anything is in four bits.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
