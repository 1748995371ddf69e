"""Packages that only some models need. Finding out whether they are installed loads none of them."""

import importlib.util

PACKAGES = ("bitsandbytes", "accelerate")
INSTALL = "pip install 'finewright[qlora]'"


def is_gguf_missing() -> bool:
    """Return whether the package that reads GGUF files is not installed."""
    return importlib.util.find_spec("gguf") is None


def missing_packages() -> list[str]:
    """Return the packages that four-bit weights need and that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]
