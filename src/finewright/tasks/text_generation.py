"""Text generation: a language model learns to say the answers of conversations, or to go on with texts.

Shape suffixes: N texts, C = 3 outputs of a text: the sum of the losses of its trained tokens, their number, how many are right.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from finewright.core.config import RunConfig
from finewright.core.units import counted
from finewright.data import chat_encoding, checks
from finewright.data.checks import Finding
from finewright.data.conversation_shapes import RowKind
from finewright.data.conversations import Conversation, Message, conversation_from_json, conversation_of
from finewright.data.dataset import Dataset
from finewright.data.samples import DESCRIBED_SOURCES
from finewright.data.splits import Example
from finewright.data.tokenization import TokenRows
from finewright.tasks import answer_metrics
from finewright.tasks.base import EncodedRows
from finewright.tasks.evaluation import Evaluation
from finewright.tasks.language_models import LanguageModelTask
from finewright.tasks.measures import Metric, OutputDifference

if TYPE_CHECKING:
    import torch

    from finewright.data.packing import EncodedSplit

TOKEN_ACCURACY = Metric("token_accuracy", is_share=True, words="token accuracy")
"""By which models are compared that generate no answers: the mean over rows of the share of right tokens."""
MOST_EXPONENT = 700.0
"""A mean loss in nats above which the perplexity would not be a finite number."""


@dataclass(frozen=True)
class TextGeneration(LanguageModelTask):
    """Answers to messages, or the continuation of texts. `data`: how rows become tokens."""

    name: ClassVar[str] = "text-generation"
    summary: ClassVar[str] = "the answers of conversations or prompts, or plain texts"
    example_data: ClassVar[str] = "requests"
    row_kind: ClassVar[RowKind] = "conversation"
    columns: ClassVar[tuple[str, ...]] = ("messages",)
    metric: ClassVar[Metric] = Metric("loss", higher_is_better=False)
    logged_metrics: ClassVar[tuple[str, ...]] = ("loss", "perplexity", "token_accuracy")
    least_epochs: ClassVar[tuple[int, int]] = (3, 3)
    most_pass_tokens: ClassVar[int] = 1024

    @classmethod
    def for_dataset(cls, dataset: Dataset, *, config: RunConfig) -> "TextGeneration":
        """Build the task with the run's options."""
        return cls(data=config.data)

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
        """Return the tokens of the conversations by the chat template, and which of them are trained."""
        conversations = [row for row in rows if isinstance(row, Conversation)]
        if not conversations:
            return EncodedRows(_empty_split(), [], [])
        encoded = chat_encoding.encode_conversations(tokenizer, conversations, limit=limit, options=self.data)
        used: list[Example] = [conversations[row] for row in encoded.row_of.tolist()]
        findings = _findings(encoded, conversations, name=name, limit=limit)
        if name != "train":
            return EncodedRows(_as_split(encoded), used, findings)
        example = chat_encoding.show_trained_tokens(tokenizer, encoded.ids[0], encoded.trained[0])
        return EncodedRows(_as_split(encoded), used, findings, _choices(encoded), example)

    def probes(self, examples: Sequence[Example]) -> list[Any]:
        """Return the conversations, JSON-ready."""
        return [one.as_json() for one in examples if isinstance(one, Conversation)]

    def encode_inputs(self, tokenizer: Any, inputs: Sequence[Any], *, limit: int, keep_end: bool) -> "EncodedSplit":
        """Return the tokens of conversations that `probes` gave."""
        rows = [conversation_from_json(one) for one in inputs]
        return _as_split(chat_encoding.encode_conversations(tokenizer, rows, limit=limit, options=self.data))

    def encode_evaluated(self, tokenizer: Any, examples: Sequence[Example], *, limit: int, keep_end: bool) -> EncodedRows:
        """Return the tokens of the conversations of which something can be scored; several samples of a row count as one."""
        rows = [row for row in examples if isinstance(row, Conversation)]
        encoded = chat_encoding.encode_conversations(tokenizer, rows, limit=limit, options=self.data)
        used, targets = np.unique(encoded.row_of, return_inverse=True)
        split = replace(_as_split(encoded), targets=targets.tolist())
        return EncodedRows(split, [rows[row] for row in used], _findings(encoded, rows, name="evaluated", limit=limit))

    def targets(self, examples: Sequence[Example]) -> list[int]:
        """Return the number of each row: the targets are tokens, and only `encode_rows` knows them."""
        return [*range(len(examples))]

    def loss(self, output: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the sum of the losses of the trained tokens, shape (M,)."""
        return output.sum()

    def weight(self, targets: "torch.Tensor") -> float:
        """Return the number of trained tokens."""
        return float(len(targets))

    @classmethod
    def compared_metric(cls, measured: Mapping[str, Any]) -> Metric:
        """Return the share of right choices where all rows have choices, else the metric of the generated answers; without any
        the share of right tokens of a row."""
        answers = _decisive_answers(measured)
        if not answers:
            return TOKEN_ACCURACY
        name = answers["metric"]
        return Metric(name, is_share=True, words=answer_metrics.WORDS.get(name, name.replace("_", " ")))

    @classmethod
    def compared_value(cls, measured: Mapping[str, Any]) -> float | None:
        """Return the share of right choices, or the mean score of the answers; without any the share of right tokens."""
        name = cls.compared_metric(measured).name
        value: float | None = (_decisive_answers(measured) or measured).get(name)
        return value

    @classmethod
    def row_scores(cls, lines: Sequence[Mapping[str, Any]]) -> list[float | None]:
        """Return whether the right choice is the most probable one, if all rows have choices; else the scores of the answers,
        None where there is none; without any answer the share of right tokens."""
        if _all_have_choices(lines):
            return [line["choice_right"] for line in lines]
        scores = [line.get("score") for line in lines]
        return scores if any(score is not None for score in scores) else [line.get(TOKEN_ACCURACY.name) for line in lines]

    @classmethod
    def row_answers(cls, lines: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Return the most probable choices, if all rows have choices; else the generated answers."""
        return [line.get("choice" if _all_have_choices(lines) else "predicted") for line in lines]

    @classmethod
    def example_from_line(cls, line: Mapping[str, Any]) -> Example | None:
        """Return the row of a line, its text as one message; None if it holds no text."""
        text, label, where = line["text"], line["label"], line.get("where", "")
        if not text or not label:
            return Conversation(text, "", where, form="text") if text else None
        return conversation_of((Message("user", text), Message("assistant", label)), where=where)

    def start_evaluation(self, targets: Sequence[int]) -> "GenerationEvaluation":
        """Return an accumulator of the losses of a split. `targets`: the row of each text."""
        return GenerationEvaluation(targets)

    def predictions(self, texts: Sequence[str], outputs: np.ndarray) -> list[dict[str, Any]]:
        """Return the mean loss of the trained tokens of each text, in nats."""
        return [
            {"text": text, "loss": float(total / max(1.0, count))}
            for text, (total, count, _) in zip(texts, outputs.tolist(), strict=True)
        ]

    def compare_outputs(self, before: np.ndarray, after: np.ndarray) -> OutputDifference:
        """Return the largest difference of a text's mean loss."""
        means = [outputs[:, 0] / outputs[:, 1].clip(min=1) for outputs in (before, after)]
        return OutputDifference(float(np.abs(means[0] - means[1]).max()), float(np.abs(means[0]).max()))


class GenerationEvaluation(Evaluation):
    """Losses of the trained tokens of a split. `row_of`: the row of each text, shape (N,); the texts of a row count together."""

    def __init__(self, row_of: Sequence[int]) -> None:
        self._row_of = np.asarray(row_of, dtype=np.int64)
        self._outputs_NC = np.zeros((int(self._row_of.max(initial=-1)) + 1, 3), dtype=np.float64)

    def update(self, rows: Sequence[int], outputs: np.ndarray) -> None:
        """Add the outputs of some rows, shape (rows, 3)."""
        np.add.at(self._outputs_NC, self._row_of[list(rows)], outputs)

    def metrics(self) -> dict[str, Any]:
        """Return loss (nats per trained token), perplexity, the share of trained tokens that the model would have said itself."""
        total, count, right = self._outputs_NC.sum(axis=0).tolist()
        loss = total / max(1.0, count)
        return {
            "num_rows": len(self._outputs_NC),
            "loss": loss,
            "perplexity": math.exp(min(loss, MOST_EXPONENT)),
            "token_accuracy": right / max(1.0, count),
            "num_tokens": int(count),
        }

    def row_losses(self) -> np.ndarray:
        """Return the mean loss of each row's trained tokens, in nats, shape (N,)."""
        return np.asarray(self._outputs_NC[:, 0] / self._outputs_NC[:, 1].clip(min=1))

    def worst_mistakes(self, examples: Sequence[Example], *, count: int = 10) -> list[dict[str, Any]]:
        """Return the examples with the highest loss, highest first."""
        lines = self.prediction_lines(examples)
        return sorted(lines, key=lambda line: -line["loss"])[:count]

    def prediction_lines(self, examples: Sequence[Example]) -> list[dict[str, Any]]:
        """Return prompt, reference answer, loss and the share of right tokens for every example."""
        return [
            {
                "text": example.text,
                "label": example.label,
                "loss": total / max(1.0, number),
                "token_accuracy": right / max(1.0, number),
                "where": example.where,
            }
            for example, (total, number, right) in zip(examples, self._outputs_NC.tolist(), strict=True)
        ]


def _decisive_answers(measured: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the summary of the choices if all rows have some: only some of the rows are answered, and not all with a choice."""
    choices: Mapping[str, Any] | None = measured.get("choices")
    return choices if choices and not choices["num_without_choices"] else measured.get("answers")


def _all_have_choices(lines: Sequence[Mapping[str, Any]]) -> bool:
    return bool(lines) and all(line.get("choice_right") is not None for line in lines)


def _as_split(encoded: chat_encoding.EncodedConversations) -> "EncodedSplit":
    from finewright.data.packing import EncodedSplit

    return EncodedSplit(encoded.ids, encoded.ids.lengths.tolist(), [*range(len(encoded))], trained=encoded.trained)


def _empty_split() -> "EncodedSplit":
    from finewright.data.packing import EncodedSplit

    none = np.zeros(0, dtype=np.int32)
    return EncodedSplit(TokenRows(none, none), [], [], trained=TokenRows(none.astype(bool), none))


def _choices(encoded: chat_encoding.EncodedConversations) -> list[tuple[str, str, str]]:
    """Return which tokens are trained and how they were found."""
    mask_sources = "; ".join(f"{count:,} {DESCRIBED_SOURCES[source]}" for source, count in encoded.mask_sources.items())
    share = f"{encoded.num_trained:,} of {len(encoded.ids.flat):,} tokens ({encoded.trained_share:.1%})"
    return [("data.trained_tokens", share, "; ".join([mask_sources, *encoded.notes]))]


def _findings(
    encoded: chat_encoding.EncodedConversations, rows: Sequence[Conversation], *, name: str, limit: int
) -> list[Finding]:
    """Return which rows are left out or cut, and why."""
    found = checks.check_samples(encoded, rows, name=name, limit=limit)
    if encoded.num_cut:
        prompts = counted(encoded.num_cut, f"{name} prompt is", f"{name} prompts are")
        what = f"{prompts} cut to {limit:,} tokens: the oldest part is left out"
        found.append(Finding("truncated", "warning", what, (), "--max-length keeps more"))
    return found
