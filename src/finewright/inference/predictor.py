"""Predict the labels of texts with a saved model and its tokenizer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finewright import tasks
from finewright.core.config import DataConfig, build_options
from finewright.data import tokenization
from finewright.data.packing import EncodedSplit
from finewright.data.splits import Example
from finewright.data.text_pairs import TextInput, joined_text
from finewright.inference.scoring import evaluate_split, join_outputs, score_batches, score_split
from finewright.inference.text_predictor import EvaluatedExamples, OnProgress, ScoredPiece, TextPredictor, check_finite
from finewright.inference.threads import threads_for_work
from finewright.models import loading
from finewright.models.prepared import PreparedModel
from finewright.tasks.base import EncodedRows

PIECE = tokenization.TEXTS_AT_ONCE
"""Texts that are tokenized and scored together, so that memory does not grow with their number."""


@dataclass(frozen=True)
class Predictor(TextPredictor):
    """A saved network with its tokenizer."""

    prepared_model: PreparedModel
    tokenizer: Any

    @property
    def device(self) -> str:
        """Device of the network."""
        return str(self.prepared_model.network.device)

    @classmethod
    def load(  # noqa: PLR0913  all that decides how texts are read and computed
        cls,
        folder: Path,
        *,
        limit: int,
        keep_end: bool,
        bfloat16: bool,
        task: str,
        device: str = "cpu",
        data_options: Mapping[str, Any] | None = None,
    ) -> "Predictor":
        """Load the `model/` folder of a run onto `device`.

        `task`: name of the task it was trained for. `data_options`: by which its rows became tokens (`Task.data_options`).
        """
        kind = tasks.get_task(task)
        how = {"auto_model": kind.auto_model, "reads": kind.reads}
        prepared_model, tokenizer = loading.reload_model(folder, **how, bfloat16=bfloat16, device=device)
        prepared_model.trainable_module.to(device)
        loaded_task = kind.for_saved_model(prepared_model.network.config)
        if data_options:
            loaded_task = loaded_task.with_data_options(build_options(DataConfig, data_options, prefix="data"))
        return cls(prepared_model, tokenizer, task=loaded_task, limit=limit, keep_end=keep_end)

    @property
    def _num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.prepared_model.trainable_module.parameters())

    def score(self, texts: Sequence[Any]) -> np.ndarray:
        """Return the model's outputs for inputs of the task, such as texts, float32, shape (N, C)."""
        encoded = self.task.encode_inputs(self.tokenizer, texts, limit=self.limit, keep_end=self.keep_end)
        with threads_for_work(sum(encoded.lengths), self._num_parameters):
            return score_split(self.prepared_model, encoded)

    def score_pieces(self, texts: Sequence[TextInput], *, on_progress: OnProgress | None = None) -> Iterator[ScoredPiece]:
        """Yield the model's outputs for some texts at a time, in order.

        `on_progress`: called after each batch with the texts done, all texts, and the share of their characters that is done.
        Raise `UserError` if an output is not finite.
        """
        num_chars, num_done, chars_done = sum(len(joined_text(one)) for one in texts), 0.0, 0.0
        for start in range(0, len(texts), PIECE):
            some = texts[start : start + PIECE]
            chars = sum(len(joined_text(one)) for one in some)
            encoded = self.task.encode_inputs(self.tokenizer, some, limit=self.limit, keep_end=self.keep_end)
            share, scored = len(some) / max(1, len(encoded.ids)), []  # a text may be several rows
            with threads_for_work(sum(encoded.lengths), self._num_parameters):
                for rows, outputs in score_batches(self.prepared_model, encoded):
                    scored.append((rows, outputs))
                    num_done += len(rows) * share
                    chars_done += sum(encoded.lengths[row] for row in rows) / max(1, sum(encoded.lengths)) * chars
                    if on_progress is not None:
                        on_progress(round(num_done), len(texts), chars_done / max(1, num_chars))
            outputs_NC = self.task.collect_outputs(encoded, join_outputs(scored, num_rows=len(encoded.ids)))
            check_finite(outputs_NC, some)
            yield ScoredPiece(start, outputs_NC, _count_cut(encoded, limit=self.limit))

    def usable_rows(self, examples: Sequence[Example]) -> list[Example]:
        """Return the labelled examples that can be evaluated."""
        return self._encode(examples).rows

    def encode_targets(self, examples: Sequence[Example]) -> Sequence[Any]:
        """Return the targets of the texts that labelled examples are scored as, as `Task.start_evaluation` takes them."""
        return self._encode(examples).split.targets

    def evaluate(self, examples: Sequence[Example]) -> EvaluatedExamples:
        """Evaluate the model on labelled examples, those that can be."""
        encoded = self._encode(examples)
        with threads_for_work(sum(encoded.split.lengths), self._num_parameters):
            found = evaluate_split(self.prepared_model, encoded.split, task=self.task)
        notes = [f"{finding.message} → {finding.fix}" for finding in encoded.findings]
        return EvaluatedExamples(found, encoded.rows, notes, _count_cut(encoded.split, limit=self.limit))

    def _encode(self, examples: Sequence[Example]) -> EncodedRows:
        return self.task.encode_evaluated(self.tokenizer, examples, limit=self.limit, keep_end=self.keep_end)


def _count_cut(encoded: EncodedSplit, *, limit: int) -> int:
    return int((np.asarray(encoded.lengths_uncut) > limit).sum())
