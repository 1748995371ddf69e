"""Which methods are planned for the name that the user gave."""

from collections.abc import Mapping
from typing import Any

from finewright import baselines, methods
from finewright.methods.base import Method
from finewright.models import optional_packages


def candidate_methods(name: str, *, options: Mapping[str, Any]) -> list[Method]:
    """Return the method called `name`; with `auto` every method that can run here, the preferred one first.

    With options of a method, `auto` is the preferred method alone: others would not know them.
    """
    if name != methods.AUTO:
        return [methods.build_method(name, options, also=baselines.baseline_names())]
    kinds = [kind for kind in methods.methods_by_preference() if kind.weights != "random"]
    if options:
        return [methods.build_method(kinds[0].name(), options)]
    return [kind() for kind in kinds if not kind.needs or not optional_packages.missing_packages()]
