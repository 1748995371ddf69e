"""Token classification: a tag for each word, such as parts of names, dates and amounts, or parts of speech.

Shape suffixes: N windows of texts, W words, M tokens with scores of a window, C tags.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from finewright.core.config import RunConfig
from finewright.data.checks import Finding
from finewright.data.conversation_shapes import RowKind
from finewright.data.dataset import Dataset
from finewright.data.splits import Example
from finewright.data.tag_schemes import OUTSIDE, complete_tags, has_entities
from finewright.data.tagged_tokens import (
    Span,
    TaggedText,
    as_tagged_text,
    describe_spans,
    find_spans,
    locate_tokens,
    make_tagged_text,
    span_as_json,
)
from finewright.data.words_of_windows import NO_TAG, WordsOfWindow, read_whole
from finewright.models.head_spec import TOKEN_CLASSIFICATION, Reads
from finewright.tasks import entity_metrics, tag_checks
from finewright.tasks.base import EncodedRows, Evaluation, Task
from finewright.tasks.calibration import compute_probabilities
from finewright.tasks.card_words import CardWords
from finewright.tasks.measures import Measures, Metric, OutputDifference
from finewright.tasks.resampling import INTERVAL_WIDTH

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

    from finewright.data.packing import EncodedSplit

ENTITY_F1 = Metric("entity_f1", is_share=True, words="entity F1")
TOKEN_ACCURACY = Metric("token_accuracy", is_share=True, words="token accuracy")
TEXT_F1 = Metric("text_f1", is_share=True, words="mean entity F1 of a text")
TEXT_ACCURACY = Metric("text_accuracy", is_share=True, words="mean token accuracy of a text")
"""By which models are compared text by text. The F1 of a text that has no entities is 1 if none are predicted."""
_NEVER = -30.0
"""A score beside which another one has all the probability."""


class _DecisiveMetric:
    """Entity F1, and for tags that are no parts of entities the share of right tags."""

    def __get__(self, task: "TokenClassification | None", kind: type) -> Metric:
        return ENTITY_F1 if task is None or task.has_entities else TOKEN_ACCURACY


@dataclass(frozen=True)
class TokenClassification(Task):
    """A tag for each word. `labels`: the tags; of entities `O`, then `B-X` and `I-X` of each type."""

    name: ClassVar[str] = "token-classification"
    summary: ClassVar[str] = "a tag for each word, such as those of names and dates"
    example_data: ClassVar[str] = "entities"
    auto_model: ClassVar[str] = TOKEN_CLASSIFICATION
    peft_task_type: ClassVar[str] = "TOKEN_CLS"
    reads: ClassVar[Reads] = "every-token"
    row_kind: ClassVar[RowKind] = "tagged-tokens"
    pipeline_tag: ClassVar[str | None] = "token-classification"
    card: ClassVar[CardWords] = CardWords(
        long_text="is read in overlapping windows",
        pipeline_options='aggregation_strategy="first", stride={stride}',
        pipeline_options_do="`stride` lets windows of a long text overlap, as they do here",
    )
    columns: ClassVar[tuple[str, ...]] = ("tokens", "tags")
    metric: ClassVar[Any] = _DecisiveMetric()
    measures: ClassVar[Measures] = "tags"
    logged_metrics: ClassVar[tuple[str, ...]] = ("entity_f1", "token_accuracy", "loss")
    labels_texts: ClassVar[bool] = False

    @classmethod
    def for_dataset(cls, dataset: Dataset, *, config: RunConfig) -> "TokenClassification":
        """Build the task with all tags of the types that the training rows have."""
        return cls(complete_tags(dataset.labels))

    @classmethod
    def for_saved_model(cls, config: "PretrainedConfig") -> "TokenClassification":
        """Build the task from the labels in a saved model's config."""
        names: dict[int, str] = config.id2label  # type: ignore[assignment]
        return cls(tuple(names[index] for index in range(len(names))))

    @classmethod
    def assumed(cls, *, num_labels: int) -> "TokenClassification":
        """Build a task with placeholder tags, for a plan without data."""
        return cls(tuple(f"tag {number}" for number in range(num_labels)))

    def check_dataset(self, dataset: Dataset) -> list[Finding]:
        """Return what is worth knowing of texts and tags before training, errors first."""
        return sorted([*super().check_dataset(dataset), *tag_checks.check_tags(dataset)], key=lambda one: one.severity)

    @cached_property
    def has_entities(self) -> bool:
        """Whether the tags are those of entities."""
        return has_entities(self.labels)

    @cached_property
    def _classes(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(self.labels)}

    def _class_of(self, tag: str) -> int:
        return self._classes.get(tag, NO_TAG)

    @property
    def expected_first_loss(self) -> float | None:
        """Loss of equal probabilities for all tags: ln(tags), in nats."""
        return math.log(max(1, len(self.labels)))

    def encode_rows(  # noqa: PLR0913  rows, what cuts them, and what they are called
        self,
        tokenizer: Any,
        rows: Sequence[Example],
        *,
        name: str,
        limit: int,
        settings: RunConfig,
        known: dict[str, list[int]] | None = None,
    ) -> EncodedRows:
        """Return the windows of the texts, and which tokens have tags. A training text occurs once for each of its windows."""
        from finewright.data.token_windows import encode_tagged_texts

        texts = _tagged(rows)
        encoded = encode_tagged_texts(tokenizer, texts, limit=limit, class_of=self._class_of)
        findings = tag_checks.check_encoded(encoded, texts, name=name, limit=limit)
        if name != "train":
            return EncodedRows(encoded.split, [*texts], findings)
        encoded = encoded.with_tags()
        used: list[Example] = [texts[row] for row in encoded.row_of]
        return EncodedRows(encoded.split, used, findings, self._choices(encoded.split))

    def _choices(self, split: "EncodedSplit") -> list[tuple[str, str, str]]:
        """Return which tokens have tags."""
        count = sum(split.num_trained)
        total = max(1, sum(split.lengths))
        share = f"{count:,} of {total:,} tokens ({count / total:.1%})"
        return [("data.trained_tokens", share, "the first token of each word stands for it; no other has a tag")]

    def probes(self, examples: Sequence[Example]) -> list[Any]:
        """Return the texts with their words, JSON-ready."""
        return [{"text": row.text, "words": [[*bounds] for bounds in row.words]} for row in _tagged(examples)]

    def encode_inputs(self, tokenizer: Any, inputs: Sequence[Any], *, limit: int, keep_end: bool) -> "EncodedSplit":
        """Return the windows of texts, or of what `probes` gave; nothing is cut, so `keep_end` has no effect."""
        from finewright.data.token_windows import encode_tagged_texts

        rows = [as_tagged_text(one) for one in inputs]
        return encode_tagged_texts(tokenizer, rows, limit=limit, class_of=self._class_of).split

    def encode_evaluated(self, tokenizer: Any, examples: Sequence[Example], *, limit: int, keep_end: bool) -> EncodedRows:
        """Return the windows of tagged texts. Raise `UserError` for tags that the model does not know."""
        from finewright.data.token_windows import encode_tagged_texts

        rows = _tagged(examples)
        tag_checks.check_known_tags(rows, self.labels)
        split = encode_tagged_texts(tokenizer, rows, limit=limit, class_of=self._class_of).split
        return EncodedRows(split, [*rows], [])

    def targets(self, examples: Sequence[Example]) -> list[int]:
        """Return the number of each row: the targets are tags of tokens, and only `encode_rows` knows them."""
        return [*range(len(examples))]

    def targets_of_texts(self, examples: Sequence[Example]) -> list[WordsOfWindow]:
        """Return the words of each text with their tags. Raise `UserError` for tags that the model does not know."""
        rows = _tagged(examples)
        tag_checks.check_known_tags(rows, self.labels)
        return [read_whole(text, row, class_of=self._class_of) for row, text in enumerate(rows)]

    def loss(self, output: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the sum of the cross-entropies of the tagged tokens. `output`: shape (M, C); tags that are unknown do not
        count."""
        import torch

        return torch.nn.functional.cross_entropy(output.float(), targets, reduction="sum")

    def weight(self, targets: "torch.Tensor") -> float:
        """Return the number of tagged tokens."""
        return float((targets >= 0).sum())

    def start_evaluation(self, targets: Sequence[Any]) -> "TagEvaluation":
        """Return an accumulator of the tags of a split. `targets`: of each window its words."""
        return TagEvaluation(self, targets)

    def collect_outputs(self, encoded: "EncodedSplit", outputs: np.ndarray) -> np.ndarray:
        """Return the scores of the words of each text, shape (texts, W of the longest, C), from those of windows."""
        windows: Sequence[WordsOfWindow] = encoded.targets
        num_texts = max((one.row for one in windows), default=-1) + 1
        most = max((one.first + len(one.reads) for one in windows), default=0)
        found_NWC = np.zeros((num_texts, most, len(self.labels)), dtype=np.float32)
        for window, scores_MC in zip(windows, outputs, strict=True):
            found_NWC[window.row, window.first : window.first + len(window.reads)] = self.word_scores(window, scores_MC)
        return found_NWC

    def word_scores(self, window: WordsOfWindow, scores_MC: np.ndarray) -> np.ndarray:
        """Return the scores of the words of a window, shape (W, C).

        A word without a token is outside of entities. One that has the token of the word before it has its scores too, but
        cannot begin an entity of its own.
        """
        if not len(scores_MC):
            scores_MC = np.zeros((1, len(self.labels)), dtype=np.float32)
        scores_WC = np.array(scores_MC[np.maximum(window.reads, 0)], dtype=np.float32)
        if not self.has_entities:
            return scores_WC
        for word in np.flatnonzero(window.shares):
            for begin, inside in self._pairs:
                scores_WC[word, inside] = np.logaddexp(scores_WC[word, begin], scores_WC[word, inside])
                scores_WC[word, begin] += _NEVER
        hidden = window.reads < 0
        scores_WC[hidden] = _NEVER
        scores_WC[hidden, self._classes[OUTSIDE]] = 0.0
        return scores_WC

    @cached_property
    def _pairs(self) -> list[tuple[int, int]]:
        names = [label[2:] for label in self.labels if label.startswith("B-")]
        return [(self._classes[f"B-{name}"], self._classes[f"I-{name}"]) for name in names if f"I-{name}" in self._classes]

    def predictions(self, texts: Sequence[Any], outputs: np.ndarray) -> list[dict[str, Any]]:
        """Return `{"text", "entities"}` for each text, or `{"text", "tokens", "tags"}` where tags are no parts of entities.

        An entity has `start` and `end` in characters, `text`, `label` and `probability`, the mean of its words'. `outputs`: as
        `collect_outputs` returns them.
        """
        return [self._predict(as_tagged_text(text), scores_WC) for text, scores_WC in zip(texts, outputs, strict=True)]

    def _predict(self, row: TaggedText, scores_WC: np.ndarray) -> dict[str, Any]:
        shares_WC = compute_probabilities(scores_WC[: len(row.words)])
        best_W = shares_WC.argmax(axis=1)
        tags = [self.labels[best] for best in best_W]
        sure_W = shares_WC[np.arange(len(best_W)), best_W]
        if not self.has_entities:
            return {"text": row.text, "tokens": [*row.tokens], "tags": tags, "probabilities": sure_W.tolist()}
        spans = find_spans(row.words, tags)
        return {"text": row.text, "entities": [self._as_entity(row, span, sure_W) for span in spans]}

    def _as_entity(self, row: TaggedText, span: Span, sure_W: np.ndarray) -> dict[str, Any]:
        first = bisect_left(row.words, span.start, key=lambda word: word[0])  # words are in order and do not overlap
        after = bisect_right(row.words, span.end, key=lambda word: word[1])
        return span_as_json(row.text, span, probability=float(sure_W[first:after].mean()))

    def empty_prediction(self, text: str) -> dict[str, Any]:
        """Return a prediction without entities."""
        return (
            {"text": text, "entities": []} if self.has_entities else {"text": text, "tokens": [], "tags": [], "probabilities": []}
        )

    def prediction_columns(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entities, or the words and their tags."""
        return {name: prediction[name] for name in ("entities", "tokens", "tags") if name in prediction}

    @classmethod
    def example_from_line(cls, line: Mapping[str, Any]) -> Example:
        """Return the text of a line with its words and their tags."""
        words = locate_tokens(line["text"], line["tokens"]) or []
        return make_tagged_text(line["text"], words, line["tags"], where=line.get("where", ""))

    @classmethod
    def decisive_metric(cls, measured: Mapping[str, Any]) -> Metric:
        """Return the F1 of entities, or token accuracy if no entities were measured."""
        return TOKEN_ACCURACY if "entity_f1" not in measured and TOKEN_ACCURACY.name in measured else ENTITY_F1

    def standard_error(self, metrics: Mapping[str, Any]) -> float:
        """Return the standard error of the metric: that of the resampled texts, or of as many entities or words if it is larger.

        Texts have many words each, so that their number says too little of how exact a share of words is.
        """
        value, ends = metrics.get(self.metric.name), metrics.get(f"{self.metric.name}_ci95")
        num_parts = metrics.get("num_entities" if self.has_entities else "num_tokens", 0)
        if value is None or ends is None or not num_parts:
            return super().standard_error(metrics)
        share = (value * num_parts + 1) / (num_parts + 2)
        return max((ends[1] - ends[0]) / INTERVAL_WIDTH, math.sqrt(share * (1 - share) / num_parts))

    @classmethod
    def compared_metric(cls, measured: Mapping[str, Any]) -> Metric:
        """Return the mean over texts of the F1 of their entities, or of the share of their words that are right."""
        return TEXT_ACCURACY if TEXT_ACCURACY.name in measured else TEXT_F1

    def compare_outputs(self, before: np.ndarray, after: np.ndarray) -> OutputDifference:
        """Return the largest difference of a score, and how many windows get another tag."""
        if not before.size:
            return OutputDifference(0.0, 0.0, 0)
        num_changed = int((before.argmax(axis=2) != after.argmax(axis=2)).any(axis=1).sum())
        return OutputDifference(float(np.abs(before - after).max()), float(np.abs(before).max()), num_changed)


class TagEvaluation(Evaluation):
    """Predicted tags of a labelled split. `windows`: the words of each window; windows of a text count together."""

    def __init__(self, task: TokenClassification, windows: Sequence[WordsOfWindow]) -> None:
        self._task, self._windows = task, windows
        num_rows = max((one.row for one in windows), default=-1) + 1
        num_words = np.zeros(num_rows, dtype=np.int64)
        for one in windows:
            num_words[one.row] = max(num_words[one.row], one.first + len(one.reads))
        self._best = [np.zeros(count, dtype=np.int64) for count in num_words]
        self._truth = [np.full(count, -1, dtype=np.int64) for count in num_words]
        self._loss = [np.zeros(count) for count in num_words]
        self._sure = [np.zeros(count) for count in num_words]
        self._counts = [np.zeros(count, dtype=bool) for count in num_words]
        for one in windows:
            place = slice(one.first, one.first + len(one.reads))
            self._truth[one.row][place] = one.tags

    def update(self, rows: Sequence[int], outputs: np.ndarray) -> None:
        """Add the scores of the tokens of some windows, shape (rows, M, C)."""
        for number, scores_MC in zip(rows, outputs, strict=True):
            one = self._windows[number]
            place = slice(one.first, one.first + len(one.reads))
            shares_WC = compute_probabilities(self._task.word_scores(one, scores_MC))
            best_W = shares_WC.argmax(axis=1)
            self._best[one.row][place] = best_W
            self._sure[one.row][place] = shares_WC[np.arange(len(best_W)), best_W]
            scored_W = (one.reads >= 0) & ~one.shares & (one.tags >= 0)
            likelihood_W = shares_WC[np.arange(len(best_W)), np.maximum(one.tags, 0)]
            self._loss[one.row][place] = np.where(scored_W, -np.log(likelihood_W.clip(min=np.finfo(float).tiny)), 0.0)
            self._counts[one.row][place] = scored_W

    def predicted_tags(self) -> list[list[str]]:
        """Return the predicted tags of each text."""
        return [[self._task.labels[best] for best in best_W] for best_W in self._best]

    def metrics(self) -> dict[str, Any]:
        """Return loss (nats per tagged token), token accuracy, and the metrics of entities where tags are parts of some."""
        found = entity_metrics.measure_tags(self._labelled_tags(), self.predicted_tags(), labels=self._task.labels)
        total = sum(float(losses.sum()) for losses in self._loss)
        num_scored = sum(int(counts.sum()) for counts in self._counts)
        return found | {"loss": total / max(1, num_scored)}

    def _labelled_tags(self) -> list[list[str]]:
        """Return the tags of each text; one that the model does not know is of no type that it could predict."""
        labels = self._task.labels
        return [[labels[truth] if truth >= 0 else "B-" for truth in truth_W] for truth_W in self._truth]

    def row_losses(self) -> np.ndarray:
        """Return the mean loss of each text's tagged tokens, in nats, shape (N,)."""
        return np.array([losses.sum() / max(1, counts.sum()) for losses, counts in zip(self._loss, self._counts, strict=True)])

    def prediction_lines(self, examples: Sequence[Example]) -> list[dict[str, Any]]:
        """Return text, words, both kinds of tags and of entities, and the share of right words for every example."""
        return [
            self._line(row, tags, sure_W, loss)
            for row, tags, sure_W, loss in zip(
                _tagged(examples), self.predicted_tags(), self._sure, self.row_losses().tolist(), strict=True
            )
        ]

    def _line(self, row: TaggedText, tags: list[str], sure_W: np.ndarray, loss: float) -> dict[str, Any]:
        line: dict[str, Any] = {"text": row.text, "label": row.label, "where": row.where}
        if self._task.has_entities:
            spans = find_spans(row.words, tags)
            found = [self._task._as_entity(row, span, sure_W) for span in spans]
            line |= {
                "predicted": describe_spans(row.text, spans),
                "entities": [span_as_json(row.text, one) for one in row.spans()],
            }
            line["predicted_entities"] = found
        else:
            line["predicted"] = " ".join(tags)
        right = sum(tag == truth for tag, truth in zip(tags, row.tags, strict=True))
        accuracy = right / max(1, len(tags))
        return line | {
            "tokens": [*row.tokens],
            "tags": [*row.tags],
            "predicted_tags": tags,
            "token_accuracy": accuracy,
            "score": entity_metrics.score_texts([row.tags], [tags], labels=self._task.labels)[0],
            "loss": loss,
        }

    def worst_mistakes(self, examples: Sequence[Example], *, count: int = 10) -> list[dict[str, Any]]:
        """Return the texts with a wrong tag, those with the highest mean loss first."""
        wrong = [line for line in self.prediction_lines(examples) if line["tags"] != line["predicted_tags"]]
        return sorted(wrong, key=lambda line: -line["loss"])[:count]


def _tagged(rows: Sequence[Example]) -> list[TaggedText]:
    return [row for row in rows if isinstance(row, TaggedText)]
