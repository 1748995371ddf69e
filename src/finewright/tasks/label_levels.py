"""Labels in levels, such as `Phones > Cases`: which separator they have, and how often each level alone is right.

A model learns the whole label. A wrong one may still have the right level above: these metrics tell.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from finewright.tasks.metrics import wilson_interval

SEPARATORS = (" > ", ">", "::", " / ", "/", " » ", "→")
"""What stands between levels, in the order in which it is looked for."""
LEAST_SHARE = 0.8
"""Share of the labels that have the separator; others have one level alone."""


def find_separator(labels: Sequence[str]) -> str:
    """Return what separates the levels of labels; empty if they have none.

    Most labels have it, no part is empty or a number, as those of dates are, and there are fewer labels of the first level than
    labels: some share one.
    """
    for separator in SEPARATORS:
        parts = [[one.strip() for one in label.split(separator)] for label in labels]
        num_having = sum(len(own) > 1 for own in parts)
        are_names = all(one and not one.isdigit() for own in parts for one in own)
        if num_having >= max(2, LEAST_SHARE * len(labels)) and are_names and 1 < len({own[0] for own in parts}) < len(labels):
            return separator
    return ""


def measure_levels(predicted: np.ndarray, targets: np.ndarray, *, labels: Sequence[str], separator: str) -> dict[str, Any]:
    """Return `levels`, with the accuracy of each level above the last one, and `hierarchical_f1`, JSON-ready.

    `predicted` and `targets`: indices of labels, shape (N,). A level is right if it and all above are; rows whose label has fewer
    levels are counted where it has one. Hierarchical F1 compares the sets of a label and all levels above it over all rows
    (Kiritchenko, Matwin, Nock and Famili 2006, Learning and Evaluation in the Presence of Class Hierarchies).
    """
    paths = [tuple(one.strip() for one in label.split(separator)) for label in labels]
    pairs = [(paths[true], paths[said]) for true, said in zip(targets.tolist(), predicted.tolist(), strict=True)]
    levels = []
    for level in range(1, max(map(len, paths))):
        having = [(true, said) for true, said in pairs if len(true) > level - 1]
        num_right = sum(true[:level] == said[:level] for true, said in having)
        names = {path[:level] for path in paths if len(path) >= level}
        if having and len(names) > 1:
            levels.append(
                {
                    "level": level,
                    "num_labels": len(names),
                    "num_rows": len(having),
                    "accuracy": num_right / len(having),
                    "accuracy_ci95": list(wilson_interval(num_right, len(having))),
                }
            )
    common = sum(_count_common(true, said) for true, said in pairs)
    total = sum(len(true) + len(said) for true, said in pairs)
    return {"levels": levels, "hierarchical_f1": 2 * common / total}


def _count_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many levels from the top on two labels have in common."""
    pairs = itertools.zip_longest(first, second)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
