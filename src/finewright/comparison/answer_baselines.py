"""Measure the baselines for language models, which train no weight, on every size of the training set.

They answer the test rows that the runs answer: the same rows are read, left out and chosen by the same functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finewright import baselines, tasks
from finewright.comparison.schema import BaselineFile, BaselineResult
from finewright.core import hardware
from finewright.core.config import RunConfig
from finewright.core.errors import UserError
from finewright.data import chat_encoding
from finewright.data.conversations import Conversation
from finewright.data.dataset import Dataset
from finewright.inference import generation, scoring
from finewright.inference.generation import GenerationOptions
from finewright.models import hub, loading, meta, prepared
from finewright.models.architectures.base import max_text_length
from finewright.models.prepared import PreparedModel, Runtime
from finewright.planning import defaults, method_plan
from finewright.planning.defaults import Decisions
from finewright.planning.method_plan import Splits
from finewright.runs import answers
from finewright.runs.answers import AnswerTest
from finewright.tasks.base import Task

NO_LIMIT = 1 << 40
"""Tokens: nothing is cut."""


@dataclass(frozen=True)
class Asked:
    """The rows of one size of the training set. `splits`: their tokens. `test`: the rows to answer.

    `used`: rows that are not left out. `limit`: most tokens of a row, as in training. `longest`: positions of the model.
    """

    task: Task
    used: Dataset
    splits: Splits
    test: AnswerTest
    limit: int
    longest: int


def measure(name: str, datasets: Mapping[str, Dataset], *, source: hub.ModelSource, settings: RunConfig) -> BaselineFile:
    """Answer the test rows with the baseline for each of `datasets`.

    Raise `UserError` if no test row is to be answered; the model alone then has its share of right tokens.
    """
    baseline = baselines.get_answer_baseline(name)()
    kind = tasks.get_task(settings.task)
    first = kind.for_dataset(next(iter(datasets.values())), config=settings)
    base = meta.meta_model(source, head_spec=first.head_spec)
    model, tokenizer = _load(source, first, settings) if baseline.reads_model else (None, base.origin.tokenizer)
    found = {}
    for size, dataset in datasets.items():
        task = kind.for_dataset(dataset, config=settings)
        asked = _prepare(
            dataset, task, tokenizer, settings=settings, longest=max_text_length(base.network.config, base.architecture)
        )
        if not asked.test.rows and not baseline.is_model_alone:
            raise UserError("no answers are generated, so there are none to compare with", where="training.num_generated")
        train = [row for row in asked.used.train if isinstance(row, Conversation) and row.label]
        said = baseline.answer(train, asked.test.rows, generate=_Generator(asked, model, tokenizer)) if asked.test.rows else []
        measured, lines = _evaluate(asked, model) if baseline.is_model_alone and model is not None else ({}, [])
        metrics: dict[str, Any] = {"num_rows": len(asked.used.test), **measured}
        numbers = {id(row): number for number, row in enumerate(dataset.test)}
        if asked.test.rows:
            scores = answers.measure(asked.test, said)
            metrics["answers"] = answers.summarise(scores)
            rows, of_rows = asked.test.rows, [float(score) for score in scores.rows[scores.main]]
        else:
            rows, of_rows = tuple(asked.used.test), [score for score in kind.row_scores(lines) if score is not None]
        found[size] = BaselineResult.model_validate(
            {
                "predicted": said,
                "rows": [numbers[id(row)] for row in rows],
                "scores": of_rows,
                "train_seconds": None,
                "num_train": len(dataset.train),
                "metrics": metrics,
            }
        )
    return BaselineFile(sizes=found)


def _load(source: hub.ModelSource, task: Task, settings: RunConfig) -> tuple[PreparedModel, Any]:
    """Return the untrained model as a run has it before its first update, and its tokenizer."""
    machine = hardware.detect()
    bfloat16 = defaults.choose_precision(settings, machine=machine, choices=Decisions()) == "bfloat16"
    base = loading.load_model(source, head_spec=task.head_spec, bfloat16=bfloat16, device=machine.device)
    network = base.network.eval()
    task.complete_model(network, base.origin.tokenizer)
    model = PreparedModel(
        network=network, trainable_module=network, architecture=base.architecture, runtime=Runtime(reads=task.reads)
    )
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    if bfloat16:
        prepared.use_bfloat16(model)
    network.to(machine.device)
    return model, base.origin.tokenizer


def _prepare(dataset: Dataset, task: Task, tokenizer: Any, *, settings: RunConfig, longest: int) -> Asked:
    """Return the rows as the plan of a run has them."""
    limit = defaults.default_max_length(
        settings, usual=task.default_max_length, longest=longest, prompt_tokens=0, choices=Decisions()
    )
    encoded = method_plan.encode_splits(tokenizer, dataset, task=task, settings=settings, limit=limit)
    test = answers.choose_test(encoded.dataset, encoded.splits["train"], settings=settings)
    return Asked(task, encoded.dataset, encoded.splits, test, limit, longest)


def _evaluate(asked: Asked, model: PreparedModel) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the metrics of the model on all test rows, and a line for each of them."""
    evaluation = scoring.evaluate_split(model, asked.splits["test"], task=asked.task)
    return evaluation.metrics(), evaluation.prediction_lines(asked.used.test)


@dataclass(frozen=True)
class _Generator:
    """Asks the model, as `runs.answers.generate` does in a run. `model`: None if the baseline asks none."""

    asked: Asked
    model: PreparedModel | None
    tokenizer: Any

    def __call__(self, rows: Sequence[Sequence[Conversation]]) -> list[str]:
        """Return an answer to each row, given as the conversations that may ask for it, the preferred first."""
        assert self.model is not None, "the baseline reads a model"
        found = generation.generate_answers(
            self.model.network,
            self.tokenizer,
            [self._choose_prompt(some) for some in rows],
            options=GenerationOptions(max_new_tokens=self.asked.test.max_new_tokens),
            end_ids=chat_encoding.end_of_turn_ids(self.tokenizer),
            bfloat16=self.model.runtime.bfloat16,
        )
        return [one.text for one in found]

    def _choose_prompt(self, some: Sequence[Conversation]) -> list[int]:
        """Return the tokens of the first conversation that fits. The last one is the row itself: it is cut as in a run."""
        *others, alone = some
        new = self.asked.test.max_new_tokens
        room = min(self.asked.longest, self.asked.limit * len(some)) - new
        for ids in chat_encoding.encode_prompts(self.tokenizer, others, limit=NO_LIMIT):
            if len(ids) <= room:
                return ids
        return chat_encoding.encode_prompts(self.tokenizer, [alone], limit=self.asked.limit)[0]
