"""Metrics of tags: entities that are right in all their words and their type, and tags that are right.

An entity is found as conlleval and seqeval do (`tag_schemes.find_entities`). Precision is the share of the predicted entities
that are right, recall the share of the labelled ones that are found, F1 their harmonic mean; over all types together ("micro").
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from finewright.data.tag_schemes import Entity, find_entities, has_entities
from finewright.tasks.resampling import ratio_interval

NO_TYPE = "none"
MOST_TYPES = 12
"""Types of entities that a table of what is confused names."""


@dataclass
class EntityCounts:
    """Entities of some sentences by type: labelled, predicted, and right."""

    labelled: Counter[str] = field(default_factory=Counter)
    predicted: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)

    def add(self, labelled: Sequence[Entity], predicted: Sequence[Entity]) -> None:
        """Add the entities of a sentence."""
        self.labelled.update(one.label for one in labelled)
        self.predicted.update(one.label for one in predicted)
        self.right.update(one.label for one in {*labelled} & {*predicted})

    def totals(self) -> tuple[int, int, int]:
        """Return (right, predicted, labelled) over all types."""
        return self.right.total(), self.predicted.total(), self.labelled.total()


def precision_recall_f1(right: int, predicted: int, labelled: int) -> tuple[float, float, float]:
    """Return the three; 0 where there is nothing to divide by, as in seqeval."""
    precision = right / predicted if predicted else 0.0
    recall = right / labelled if labelled else 0.0
    f1 = 2 * right / (predicted + labelled) if predicted + labelled else 0.0
    return precision, recall, f1


def count_entities(
    labelled: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, strict: bool = False
) -> EntityCounts:
    """Return the counts of sentences of tags. `strict`: as in `find_entities`."""
    counts = EntityCounts()
    for truth, guess in zip(labelled, predicted, strict=True):
        counts.add(find_entities(truth, strict=strict), find_entities(guess, strict=strict))
    return counts


def entity_metrics(labelled: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the metrics of entities for sentences of tags, JSON-ready.

    `entity_f1` with an interval from a bootstrap over sentences, precision, recall, `entity_f1_strict` by seqeval's mode
    "strict", and `per_type`.
    """
    counts = count_entities(labelled, predicted)
    precision, recall, f1 = precision_recall_f1(*counts.totals())
    strict = precision_recall_f1(*count_entities(labelled, predicted, strict=True).totals())[2]
    types = sorted({*counts.labelled, *counts.predicted})
    per_type = {}
    for name in types:
        values = precision_recall_f1(counts.right[name], counts.predicted[name], counts.labelled[name])
        support = {"support": counts.labelled[name], "predicted": counts.predicted[name]}
        per_type[name] = dict(zip(("precision", "recall", "f1"), values, strict=True)) | support
    low, high = entity_f1_interval(sentence_counts(labelled, predicted))
    return {
        "entity_f1": f1,
        "entity_f1_ci95": [low, high],
        "entity_precision": precision,
        "entity_recall": recall,
        "entity_f1_strict": strict,
        "num_entities": counts.labelled.total(),
        "per_type": per_type,
        "type_confusion": confuse_types(labelled, predicted),
    }


def confuse_types(labelled: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, dict[str, int]]:
    """Return, for each type, as which types its entities were predicted: each as the one that shares most words with it.

    `none` stands for no entity: as a predicted type for entities that were missed, as a labelled one for predicted entities that
    share no word with any; a type of this name is `none (type)`. Whether the bounds are right does not count here.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for truth, guess in zip(labelled, predicted, strict=True):
        one, other = find_entities(truth), find_entities(guess)
        for entity in one:
            shared = [(_count_shared(entity, found), found.label) for found in other]
            most, name = max(shared, default=(0, ""))
            counts[_name_type(entity.label)][_name_type(name) if most else NO_TYPE] += 1
        invented = [found for found in other if not any(_count_shared(entity, found) for entity in one)]
        counts[NO_TYPE].update(_name_type(found.label) for found in invented)
    return {label: dict(sorted(counts[label].items())) for label in sorted(counts) if counts[label]}


def _name_type(label: str) -> str:
    return f"{label} (type)" if label == NO_TYPE else label


def arrange_confusion(
    counts: Mapping[str, Mapping[str, float]], *, most: int = MOST_TYPES
) -> tuple[list[str], list[list[float]]]:
    """Return names, and a row and a column of counts for each: the most frequent types, the others together, and `none`.

    `counts`: as `confuse_types` returns them, or their means.
    """
    totals: dict[str, float] = defaultdict(float)
    for label, row in counts.items():
        for name, count in row.items():
            for one in {label, name} - {NO_TYPE}:
                totals[one] += count
    types = sorted(totals, key=lambda name: (-totals[name], name))
    shown = sorted(types[:most])
    others = f"{len(types) - most} others" if len(types) > most else None
    names = [*shown, *([others] if others else []), NO_TYPE]
    places = {name: number for number, name in enumerate(names)}
    matrix = [[0.0] * len(names) for _ in names]
    for label, row in counts.items():
        for name, count in row.items():
            truth, guess = (places[one if one in places else others or NO_TYPE] for one in (label, name))
            matrix[truth][guess] += count
    return names, matrix


def _count_shared(one: Entity, other: Entity) -> int:
    """Return how many words two entities share."""
    return max(0, min(one.last, other.last) - max(one.first, other.first) + 1)


def measure_tags(
    labelled: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, labels: Sequence[str]
) -> dict[str, Any]:
    """Return all metrics of tags but the loss, JSON-ready: those of entities, if the `labels` are tags of entities, else of each
    tag; the mean score of a text; and the share of right words with an interval from a bootstrap over texts."""
    found: dict[str, Any] = {"num_rows": len(labelled)}
    if has_entities(labels):
        found |= entity_metrics(labelled, predicted)
    else:
        found["per_tag"] = tag_metrics(labelled, predicted)
    scores = score_texts(labelled, predicted, labels=labels)
    found["text_f1" if has_entities(labels) else "text_accuracy"] = sum(scores) / max(1, len(scores))
    counts = [
        (sum(one == other for one, other in zip(truth, guess, strict=True)), len(truth))
        for truth, guess in zip(labelled, predicted, strict=True)
    ]
    counts_N2 = np.array(counts, dtype=np.int64).reshape(-1, 2)
    right, total = counts_N2.sum(axis=0).tolist()
    found |= {"token_accuracy": right / max(1, total), "token_accuracy_ci95": [*ratio_interval(counts_N2[:, 0], counts_N2[:, 1])]}
    return found | {"num_tokens": total}


def score_texts(labelled: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, labels: Sequence[str]) -> list[float]:
    """Return the score of each text: the F1 of its entities, or the share of its words that are right."""
    if has_entities(labels):
        return [text_f1(truth, guess) for truth, guess in zip(labelled, predicted, strict=True)]
    return [
        sum(one == other for one, other in zip(truth, guess, strict=True)) / max(1, len(truth))
        for truth, guess in zip(labelled, predicted, strict=True)
    ]


def tag_metrics(labelled: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, dict[str, float | int]]:
    """Return precision, recall, F1 and the number of words of each tag."""
    truths, guesses, right = Counter[str](), Counter[str](), Counter[str]()
    for truth, guess in zip(labelled, predicted, strict=True):
        truths.update(truth)
        guesses.update(guess)
        right.update(one for one, other in zip(truth, guess, strict=True) if one == other)
    found: dict[str, dict[str, float | int]] = {}
    for tag in sorted({*truths, *guesses}):
        values = precision_recall_f1(right[tag], guesses[tag], truths[tag])
        found[tag] = dict(zip(("precision", "recall", "f1"), values, strict=True)) | {"support": truths[tag]}
    return found


def sentence_counts(labelled: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> np.ndarray:
    """Return (right, predicted, labelled) entities of each sentence, shape (N, 3)."""
    rows = []
    for truth, guess in zip(labelled, predicted, strict=True):
        one, other = {*find_entities(truth)}, {*find_entities(guess)}
        rows.append((len(one & other), len(other), len(one)))
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def text_f1(labelled: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the F1 of the entities of one text; 1 if it has none and none are predicted."""
    one, other = {*find_entities(labelled)}, {*find_entities(predicted)}
    return precision_recall_f1(len(one & other), len(other), len(one))[2] if one or other else 1.0


def entity_f1_interval(counts_N3: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the F1 over samples of the sentences. `counts_N3`: as `sentence_counts` gives them."""
    right_N, predicted_N, labelled_N = counts_N3.T
    return ratio_interval(2 * right_N, predicted_N + labelled_N)


def describe_tags(measured: Mapping[str, Any]) -> str:
    """Return how good the tags of words are: entities, if the tags are those of entities, and words."""
    words = f"{measured['token_accuracy']:.1%} of {measured['num_tokens']:,} words have the right tag"
    if "entity_f1" not in measured:
        low, high = measured["token_accuracy_ci95"]
        return f"{words} (95% interval {low:.1%} to {high:.1%})"
    low, high = measured["entity_f1_ci95"]
    said = (
        f"entity F1 {measured['entity_f1']:.1%} (95% interval {low:.1%} to {high:.1%}) of {measured['num_entities']:,} entities"
    )
    parts = f"precision {measured['entity_precision']:.1%}, recall {measured['entity_recall']:.1%}"
    return f"{said}, {parts}; {words}"
