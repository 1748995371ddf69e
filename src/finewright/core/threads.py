"""Threads of native libraries, limited for a while."""

import functools
import sys
from contextlib import AbstractContextManager
from typing import Any


def running_single_threaded() -> AbstractContextManager[Any]:
    """Limit BLAS and OpenMP to one thread inside a block. Import before it what computes there.

    `threadpool_limits` of threadpoolctl would search all loaded libraries each time, which takes as long as a small regression.
    """
    return _find_libraries("sklearn" in sys.modules).limit(limits=1)


@functools.cache
def _find_libraries(with_sklearn: bool) -> Any:
    """Return the controller of the libraries that are loaded; scikit-learn brings some of its own, and is searched anew."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
