"""Preference tuning: a language model learns which of two answers is preferred, or which answers are wanted.

Shape suffixes: R rows, P texts of a row, each with 3 outputs: the sum of the log-probabilities of its answer's tokens, their
number, and that sum by the untrained model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from finewright.core.config import PreferenceConfig, RunConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import checks
from finewright.data.checks import Finding
from finewright.data.conversation_shapes import RowKind
from finewright.data.conversations import Message
from finewright.data.dataset import Dataset
from finewright.data.preferences import Preference, preference_from_json
from finewright.data.splits import Example
from finewright.tasks import preference_rows
from finewright.tasks.base import EncodedRows
from finewright.tasks.evaluation import Evaluation
from finewright.tasks.language_models import LanguageModelTask
from finewright.tasks.measures import Metric, OutputDifference

if TYPE_CHECKING:
    import torch

    from finewright.data.packing import EncodedSplit

DEFAULTS: dict[str, dict[str, tuple[float, str]]] = {
    "dpo": {
        "beta": (0.1, "the usual one of the field"),
        "label_smoothing": (0.0, "labels are taken to be right"),
        "nll_weight": (0.0, "the loss of the paper has no such term"),
    },
    "ipo": {"beta": (0.1, "the usual one of the field"), "nll_weight": (0.0, "the loss of the paper has no such term")},
    "orpo": {"beta": (0.1, "that of the paper, lambda"), "nll_weight": (1.0, "the loss of the paper has this term")},
    "kto": {
        "beta": (0.1, "that of the paper"),
        "desirable_weight": (1.0, "wanted and unwanted answers count alike"),
        "undesirable_weight": (1.0, "wanted and unwanted answers count alike"),
    },
    "simpo": {
        "beta": (2.0, "that of the paper, for log-probabilities per token"),
        "gamma": (1.0, "half of beta, within the paper's range"),
        "nll_weight": (0.0, "the loss of the paper has no such term"),
    },
}
"""The options of each loss with their defaults and reasons; no other option of the group means anything to it."""
_COMPARES = ("dpo", "ipo", "kto")
"""The losses that compare with the untrained model."""
PAIR_COLUMNS = 2


@dataclass(frozen=True)
class PreferenceTuning(LanguageModelTask):
    """Chosen answers against rejected ones, or answers that were judged. `data`: how rows become tokens. `loss_name`: by name.

    `values`: the options of the loss. `choices`: those that were left open, with their reasons.
    """

    name: ClassVar[str] = "preference"
    summary: ClassVar[str] = "which of two answers is better, or which answers are wanted"
    row_kind: ClassVar[RowKind] = "preference"
    columns: ClassVar[tuple[str, ...]] = ("prompt", "chosen", "rejected")
    metric: ClassVar[Metric] = Metric("reward_accuracy", is_share=True, words="reward accuracy")
    logged_metrics: ClassVar[tuple[str, ...]] = (
        *("loss", "reward_accuracy", "reward_margin", "reward_chosen", "reward_rejected"),
        *("logp_chosen", "logp_rejected", "kl"),
    )
    least_epochs: ClassVar[tuple[int, int]] = (1, 1)
    learning_rate_factor: ClassVar[float] = 0.05
    uses_dropout: ClassVar[bool] = False
    texts_per_row: ClassVar[int] = PAIR_COLUMNS

    loss_name: str = "dpo"
    values: tuple[tuple[str, float], ...] = tuple((name, value) for name, (value, _) in DEFAULTS["dpo"].items())
    choices: tuple[tuple[str, Any, str], ...] = ()

    @classmethod
    def for_dataset(cls, dataset: Dataset, *, config: RunConfig) -> "PreferenceTuning":
        """Build the task with the run's options. Raise `UserError` for options that the loss has no use for, or other rows."""
        judged = {not row.is_pair for rows in (dataset.train, dataset.validation, dataset.test) for row in _of(rows)}
        if len(judged) > 1:
            what, fix = "some splits have pairs and others answers that were judged one by one", "give all splits in one form"
            raise UserError(what, where="data", fix=fix, code=ExitCode.BAD_DATA)
        _check_training_options(config)
        is_judged = judged == {True}
        name, choices = config.preference.loss, list[tuple[str, Any, str]]()
        if name is None:
            name = "kto" if is_judged else "dpo"
            reason = "the rows are answers that were judged one by one" if is_judged else "the usual one for pairs of answers"
            choices.append(("preference.loss", name, reason))
        if is_judged and name != "kto":
            what = f"{name} compares a chosen with a rejected answer, and the rows have one answer each"
            raise UserError(what, where="preference.loss", fix="preference.loss=kto", code=ExitCode.BAD_DATA)
        values = _resolve(name, config.preference, choices)
        return cls(data=config.data, loss_name=name, values=values, choices=tuple(choices))

    def check_dataset(self, dataset: Dataset) -> list[Finding]:
        """Return what is worth knowing of the texts, and of answers that are all wanted or all unwanted."""
        return [*super().check_dataset(dataset), *_find_one_kind(dataset)]

    @property
    def needs_reference(self) -> bool:
        """Whether the loss compares with the untrained model."""
        return self.loss_name in _COMPARES

    @property
    def least_rows_per_update(self) -> int:
        """Two for kto: its divergence is a mean over the rows of an update."""
        return 2 if self.loss_name == "kto" else 1

    @property
    def option(self) -> dict[str, float]:
        """The options of the loss by name."""
        return dict(self.values)

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
        """Return the tokens of prompts with their answers, and which of them are learnt."""
        own = _of(rows)
        is_kto = self.loss_name == "kto"
        if is_kto:
            own = preference_rows.divide_pairs(own)
        how: dict[str, Any] = {"limit": limit, "data": self.data, "name": name, "adds_mismatched": is_kto}
        encoded = preference_rows.encode_preferences(tokenizer, own, **how)
        choices = list(self.choices)
        if encoded.notes:
            choices.append(("data.trained_tokens", "answers", "; ".join(encoded.notes)))
        if name != "train":
            return EncodedRows(encoded.split, list(encoded.rows), encoded.findings)
        return EncodedRows(encoded.split, list(encoded.rows), encoded.findings, choices, encoded.example)

    def probes(self, examples: Sequence[Example]) -> list[Any]:
        """Return the rows, JSON-ready."""
        return [one.as_json() for one in _of(examples)]

    def encode_inputs(self, tokenizer: Any, inputs: Sequence[Any], *, limit: int, keep_end: bool) -> "EncodedSplit":
        """Return the tokens of rows that `probes` gave, without a reference. Pairs have two texts, judged answers one."""
        rows = [preference_from_json(one) for one in inputs]
        data = self.data.model_copy(update={"over_long": "cut-prompt"})
        return preference_rows.encode_preferences(tokenizer, rows, limit=limit, data=data, name="given").split

    def encode_evaluated(self, tokenizer: Any, examples: Sequence[Example], *, limit: int, keep_end: bool) -> EncodedRows:
        """Return the tokens of the rows whose texts have at most `limit` of them, without a reference."""
        data = self.data.model_copy(update={"over_long": "cut-prompt"})
        encoded = preference_rows.encode_preferences(tokenizer, _of(examples), limit=limit, data=data, name="evaluated")
        return EncodedRows(encoded.split, list(encoded.rows), encoded.findings)

    def targets(self, examples: Sequence[Example]) -> list[int]:
        """Return 1 for a pair and for a wanted answer, 0 for an unwanted one."""
        return [int(row.is_wanted) for row in _of(examples)]

    def count_characters(self, example: Example) -> list[int]:
        """Return the characters of the prompt with each of its answers."""
        (row,) = _of([example])
        prompt = sum(len(one.content) for one in row.prompt)
        return [prompt + len(row.conversation(answer).label) for answer in (row.answers * 2)[:2]]

    def loss(self, output: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the sum of the losses of rows. `output`: shape (R, P, 3)."""
        return self.row_losses(output, targets).sum()

    def row_losses(self, sums_RP3: "torch.Tensor", targets_R: "torch.Tensor") -> "torch.Tensor":
        """Return the loss of each row, shape (R,). Of kto the second text has the mean of all texts that are set aside."""
        from finewright.tasks import preference_losses as losses

        option, ratios_RP = self.option, sums_RP3[:, :, 0] - sums_RP3[:, :, 2]
        if self.loss_name == "kto":
            weights = {name: option[name] for name in ("desirable_weight", "undesirable_weight")}
            baseline = losses.divergence(ratios_RP[:, 1].mean())
            return losses.kto(ratios_RP[:, 0], targets_R == 1, baseline, beta=option["beta"], **weights)
        means_RP = sums_RP3[:, :, 0] / sums_RP3[:, :, 1]
        if self.loss_name == "dpo":
            margins_R = ratios_RP[:, 0] - ratios_RP[:, 1]
            found = losses.dpo(margins_R, beta=option["beta"], label_smoothing=option["label_smoothing"])
        elif self.loss_name == "ipo":
            mean_ratios_RP = ratios_RP / sums_RP3[:, :, 1]
            found = losses.ipo(mean_ratios_RP[:, 0] - mean_ratios_RP[:, 1], beta=option["beta"])
        elif self.loss_name == "orpo":
            found = losses.orpo(means_RP[:, 0], means_RP[:, 1], weight=option["beta"])
        else:
            found = losses.simpo(means_RP[:, 0], means_RP[:, 1], beta=option["beta"], gamma=option["gamma"])
        return found - option["nll_weight"] * means_RP[:, 0] if option["nll_weight"] else found

    def weight(self, targets: "torch.Tensor") -> float:
        """Return the number of rows."""
        return float(len(targets))

    def expected_loss_at_start(self, encoded: "EncodedSplit", rows: Sequence[int]) -> float | None:
        """Return the loss of a model that is its own reference: ln 2 of dpo, 1 / (4 β²) of ipo, a half of kto."""
        import torch

        if not self.needs_reference or encoded.reference is None or encoded.parts is None or encoded.trained is None:
            return None
        sums = np.ones((len(rows), encoded.parts.shape[1], 3))
        for place, row in enumerate(rows):
            marks = np.split(np.asarray(encoded.trained[row]), np.cumsum(encoded.parts[row])[:-1])
            sums[place, :, 1] = [one.sum() for one in marks]
        sums[:, :, 0] = sums[:, :, 2] = encoded.reference[list(rows)]
        targets = torch.tensor([encoded.targets[row] for row in rows])
        return float(self.row_losses(torch.from_numpy(sums), targets).mean())

    @classmethod
    def example_from_line(cls, line: Mapping[str, Any]) -> Example | None:
        """Return the row of a line, its text as one message; None if it holds no text."""
        if not line["text"]:
            return None
        prompt, answer = (Message("user", line["text"]),), (Message("assistant", line["label"]),)
        row = Preference(line["text"], line["label"], line.get("where", ""), prompt, answer)
        if "good" in line:
            return row if line["good"] else replace(row, chosen=(), rejected=answer)
        return replace(row, rejected=(Message("assistant", str(line.get("rejected", ""))),))

    def start_evaluation(self, targets: Sequence[int]) -> "PreferenceEvaluation":
        """Return an accumulator of the log-probabilities of a split."""
        return PreferenceEvaluation(self, targets)

    def predictions(self, texts: Sequence[str], outputs: np.ndarray) -> list[dict[str, Any]]:
        """Return the log-probability of the chosen answer to each prompt, in nats."""
        return [{"text": text, "logp": float(row[0])} for text, row in zip(texts, outputs, strict=True)]

    def measure(self, examples: Sequence[Example], outputs: np.ndarray) -> float:
        """Return the share of rows where the chosen answer is ahead: by reward, or without a reference by likelihood."""
        evaluation = self.start_evaluation(self.targets(examples))
        evaluation.update(range(len(examples)), outputs)
        found = evaluation.metrics()
        return float(found.get(self.metric.name, found.get("likelihood_accuracy", 0.0)))

    def compare_outputs(self, before: np.ndarray, after: np.ndarray) -> OutputDifference:
        """Return the largest difference of an answer's mean log-probability per token."""
        step = _columns_of(before)
        means = [outputs[:, 0::step] / outputs[:, 1::step].clip(min=1) for outputs in (before, after)]
        return OutputDifference(float(np.abs(means[0] - means[1]).max()), float(np.abs(means[0]).max()))


class PreferenceEvaluation(Evaluation):
    """Log-probabilities of the answers of a split."""

    def __init__(self, task: PreferenceTuning, targets: Sequence[int]) -> None:
        self.task, self._targets = task, np.asarray(targets, dtype=np.int64)
        self._outputs_RC = np.zeros((len(targets), 0), dtype=np.float64)

    def update(self, rows: Sequence[int], outputs: np.ndarray) -> None:
        """Add the outputs of some rows, shape (rows, 3·P), or (rows, 2·P) without a reference."""
        if not self._outputs_RC.shape[1]:
            self._outputs_RC = np.zeros((len(self._targets), outputs.shape[1]), dtype=np.float64)
        self._outputs_RC[list(rows)] = outputs

    def metrics(self) -> dict[str, Any]:
        """Return loss, rewards, how often the preferred answer has the higher reward, and log-probabilities, in nats.

        A reward is β times the log-probability minus that by the untrained model; per token for ipo; without the untrained model
        for orpo and simpo, per token. Of judged answers the share is that of all pairs of a wanted and an unwanted one. Where no
        reference is known there are no rewards: the loss is that of the chosen answers' tokens, and `likelihood_accuracy` says
        how often the chosen answer has the higher log-probability per token.
        """
        sums_RP3, known = self._sums()
        rewards_RP = self._rewards(sums_RP3, known=known)
        shown: dict[str, Any] = {"num_rows": len(sums_RP3)}
        margins_R = self._margins(sums_RP3, rewards_RP, known=known)
        accuracy = float(((margins_R > 0) + 0.5 * (margins_R == 0)).mean())
        places = [("chosen", self._targets >= 0, 0), ("rejected", self._targets >= 0, 1)]
        if self._is_judged(sums_RP3):
            accuracy = _share_in_order(rewards_RP[self._targets == 1, 0], rewards_RP[self._targets == 0, 0])
            places = [("chosen", self._targets == 1, 0), ("rejected", self._targets == 0, 0)]
        if known:
            shown |= {"loss": float(self._row_losses(sums_RP3).mean()), "reward_accuracy": accuracy}
            if self.task.loss_name == "kto":
                shown["kl"] = max(0.0, float((sums_RP3[:, 1, 0] - sums_RP3[:, 1, 2]).mean()))
        else:
            means_R = -rewards_RP[self._targets == 1, 0]
            shown |= {"loss": float(means_R.mean()) if len(means_R) else 0.0, "likelihood_accuracy": accuracy}
        for name, some_R, part in places:
            if some_R.any():
                shown |= {f"reward_{name}": float(rewards_RP[some_R, part].mean())} if known else {}
                shown[f"logp_{name}"] = float(sums_RP3[some_R, part, 0].mean())
        if "reward_chosen" in shown and "reward_rejected" in shown:
            shown["reward_margin"] = shown["reward_chosen"] - shown["reward_rejected"]
        return shown

    def _sums(self) -> tuple[np.ndarray, bool]:
        """Return the outputs of every text, shape (R, P, 3), and whether the rewards are known."""
        width = self._outputs_RC.shape[1]
        step = _columns_of(self._outputs_RC)
        sums = self._outputs_RC.reshape(len(self._targets), width // step, step)
        if step == PAIR_COLUMNS:
            sums = np.concatenate([sums, np.zeros_like(sums[:, :, :1])], axis=2)
        return sums, step != PAIR_COLUMNS or not self.task.needs_reference

    def _is_judged(self, sums_RP3: np.ndarray) -> bool:
        return self.task.loss_name == "kto" or sums_RP3.shape[1] == 1

    def _rewards(self, sums_RP3: np.ndarray, *, known: bool) -> np.ndarray:
        """Return the reward of every answer, shape (R, P)."""
        means_RP = sums_RP3[:, :, 0] / sums_RP3[:, :, 1].clip(min=1)
        if not known:
            return means_RP
        beta = self.task.option["beta"]
        if not self.task.needs_reference:
            return means_RP * (beta if self.task.loss_name == "simpo" else 1.0)
        ratios_RP = sums_RP3[:, :, 0] - sums_RP3[:, :, 2]
        return beta * (ratios_RP / sums_RP3[:, :, 1].clip(min=1) if self.task.loss_name == "ipo" else ratios_RP)

    def _margins(self, sums_RP3: np.ndarray, rewards_RP: np.ndarray, *, known: bool) -> np.ndarray:
        """Return by how much each row is on the right side, shape (R,)."""
        if not self._is_judged(sums_RP3):
            return rewards_RP[:, 0] - rewards_RP[:, 1]
        baseline = rewards_RP[:, 0].mean()
        if known and sums_RP3.shape[1] > 1:
            baseline = max(0.0, float((sums_RP3[:, 1, 0] - sums_RP3[:, 1, 2]).mean())) * self.task.option["beta"]
        return (rewards_RP[:, 0] - baseline) * np.where(self._targets == 1, 1.0, -1.0)

    def _row_losses(self, sums_RP3: np.ndarray) -> np.ndarray:
        import torch

        return self.task.row_losses(torch.from_numpy(sums_RP3), torch.from_numpy(self._targets)).numpy()

    def row_losses(self) -> np.ndarray:
        """Return by how much each row is on the wrong side, shape (R,)."""
        sums_RP3, known = self._sums()
        return -self._margins(sums_RP3, self._rewards(sums_RP3, known=known), known=known)

    def worst_mistakes(self, examples: Sequence[Example], *, count: int = 10) -> list[dict[str, Any]]:
        """Return the rows that are furthest on the wrong side."""
        lines = self.prediction_lines(examples)
        return sorted(lines, key=lambda line: line["margin"])[:count]

    def prediction_lines(self, examples: Sequence[Example]) -> list[dict[str, Any]]:
        """Return prompt, chosen answer, log-probabilities and margin of the rewards for every row."""
        sums_RP3, known = self._sums()
        margins_R = self._margins(sums_RP3, self._rewards(sums_RP3, known=known), known=known).tolist()
        is_judged = self._is_judged(sums_RP3)
        lines = []
        for row, sums, margin in zip(_of(examples), sums_RP3.tolist(), margins_R, strict=True):
            line = {"text": row.text, "label": row.label, "logp_chosen": sums[0][0], "margin": margin, "where": row.where}
            line["score"] = float(margin > 0) + 0.5 * (margin == 0)
            if is_judged:
                line["good"] = row.is_wanted
            else:
                line |= {"rejected": row.conversation(row.rejected).label, "logp_rejected": sums[1][0]}
            lines.append(line)
        return lines


def _find_one_kind(dataset: Dataset) -> list[Finding]:
    """Find splits whose answers, judged one by one, are all wanted or all unwanted."""
    alike = []
    for name, rows in checks.splits_of(dataset).items():
        judged = [row.is_wanted for row in _of(rows) if not row.is_pair]
        if judged and len({*judged}) == 1:
            alike.append(f"all {len(judged):,} {name} answers are {'wanted' if judged[0] else 'unwanted'}")
    if not alike:
        return []
    what = f"{'; '.join(alike)}: reward_accuracy compares wanted with unwanted answers; without both it is always 50%"
    what += ", and the loss decides which evaluation is best"
    return [Finding("one_kind", "warning", what, (), "add answers of the other kind")]


def _share_in_order(good: np.ndarray, bad: np.ndarray) -> float:
    """Return in which share of all pairs a wanted answer has a higher reward than an unwanted one; equal ones count half.

    Without a pair it is a half, as of a guess: between equal shares the loss decides.
    """
    ordered = np.sort(bad)
    below = np.searchsorted(ordered, good, side="left") + np.searchsorted(ordered, good, side="right")
    return float(below.mean() / (2 * len(bad))) if len(good) and len(bad) else 0.5


def _of(rows: Sequence[Example]) -> list[Preference]:
    return [row for row in rows if isinstance(row, Preference)]


def _columns_of(outputs: np.ndarray) -> int:
    """Return how many outputs each text has: with a reference a row of them divides by 3, without one it has 2 or 4."""
    return 3 if outputs.shape[1] % 3 == 0 else PAIR_COLUMNS


def _resolve(name: str, given: PreferenceConfig, choices: list[tuple[str, Any, str]]) -> tuple[tuple[str, float], ...]:
    """Return the options of a loss, adding those left open to `choices`; raise `UserError` for one it has no use for."""
    known = DEFAULTS[name]
    unused = [one for one in PreferenceConfig.model_fields if one not in (*known, "loss") and getattr(given, one) is not None]
    if unused:
        what = f"preference.{unused[0]} means nothing to the loss {name}"
        raise UserError(what, where=f"preference.{unused[0]}", fix=f"leave it out; it has {', '.join(known)}")
    values = []
    for one, (default, reason) in known.items():
        value = getattr(given, one)
        if value is None:
            choices.append((f"preference.{one}", default, reason))
        values.append((one, default if value is None else float(value)))
    return tuple(values)


def _check_training_options(config: RunConfig) -> None:
    """Raise `UserError` for options of training that would change the log-probabilities that are compared."""
    for name, instead in (("label_smoothing", "preference.label_smoothing of the loss dpo"), ("embedding_noise", "nothing")):
        if getattr(config.training, name):
            what = f"training.{name} would change the log-probabilities that are compared"
            raise UserError(what, where=f"training.{name}", fix=f"leave it out; in preference tuning there is {instead}")
