"""Threads of native libraries, limited for a while."""

import functools
import sys
from contextlib import AbstractContextManager
from typing import Any

_OWN_LIBRARIES = ("numpy", "scipy.linalg", "sklearn", "torch")
"""Modules that bring native libraries with threads of their own; each that is loaded later means another search."""


def running_single_threaded() -> AbstractContextManager[Any]:
    """Limit BLAS and OpenMP to one thread inside a block. Import before it what computes there.

    `threadpool_limits` of threadpoolctl would search all loaded libraries each time, which takes as long as a small regression.
    """
    return _find_libraries(tuple(name for name in _OWN_LIBRARIES if name in sys.modules)).limit(limits=1)


@functools.cache
def _find_libraries(loaded: tuple[str, ...]) -> Any:
    """Return the controller of the libraries that these modules brought."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
