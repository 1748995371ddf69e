"""Measure the baselines for language models, which train no weight, on every size of the training set.

They answer the test rows that the runs answer: the same rows are read, left out and chosen by the same functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finewright import baselines, tasks
from finewright.baselines.answering import AnswerBaseline
from finewright.comparison.schema import BaselineFile, BaselineResult
from finewright.core import hardware
from finewright.core.config import RunConfig
from finewright.core.errors import UserError
from finewright.data import chat_encoding
from finewright.data.answer_choices import possible_answers
from finewright.data.conversations import Conversation
from finewright.data.dataset import Dataset
from finewright.data.splits import Example
from finewright.inference import generation, scoring
from finewright.inference.generation import GenerationOptions
from finewright.models import hub, loading, meta, prepared
from finewright.models.architectures.base import max_text_length
from finewright.models.prepared import PreparedModel, Runtime
from finewright.planning import defaults, method_plan
from finewright.planning.defaults import Decisions
from finewright.planning.method_plan import Splits
from finewright.runs import answers, choices
from finewright.runs.answers import AnswerTest
from finewright.runs.choices import ChoiceTest
from finewright.tasks.base import Task


@dataclass(frozen=True)
class Asked:
    """The rows of one size of the training set. `splits`: their tokens. `test`: the rows to answer, `choices` the questions.

    `used`: rows that are not left out. `limit`: most tokens of a row, as in training. `longest`: positions of the model.
    """

    task: Task
    used: Dataset
    splits: Splits
    test: AnswerTest
    choices: ChoiceTest
    limit: int
    longest: int


def measure(
    name: str, datasets: Mapping[str, Dataset], *, source: hub.ModelSource, settings: RunConfig, known: dict[str, list[int]]
) -> BaselineFile:
    """Answer the test rows with the baseline for each of `datasets`. `known`: not used, as whole conversations are tokenized.

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
        found[size] = _measure_size(baseline, asked, model, tokenizer, all_rows=dataset.test, num_train=len(dataset.train))
    return BaselineFile(sizes=found)


def _measure_size(
    baseline: AnswerBaseline,
    asked: Asked,
    model: PreparedModel | None,
    tokenizer: Any,
    *,
    all_rows: Sequence[Example],
    num_train: int,
) -> BaselineResult:
    """Return what the baseline says with one size of the training set. `all_rows`: test rows, those that are left out too."""
    if not asked.test.rows and not asked.choices.rows and not baseline.is_model_alone:
        raise UserError("no answers are generated, so there are none to compare with", where="training.num_generated")
    train = [row for row in asked.used.train if isinstance(row, Conversation) and row.label]
    measured, lines = _evaluate(asked, model) if baseline.is_model_alone and model is not None else ({}, [])
    metrics: dict[str, Any] = {"num_rows": len(asked.used.test), **measured}
    rows, said = tuple(asked.used.test), list[str]()
    of_rows = [score for score in asked.task.row_scores(lines) if score is not None]
    if asked.test.rows:
        rows, said = asked.test.rows, baseline.answer(train, asked.test.rows, generate=_Generator(asked, model, tokenizer))
        scores = answers.measure(asked.test, said)
        metrics["answers"], of_rows = scores.summarise(), scores.rows[scores.main].tolist()
    if asked.choices.rows:
        chosen = baseline.answer(train, asked.choices.rows, generate=_Chooser(asked, model, tokenizer))
        scores = asked.choices.score(asked.choices.read(chosen))
        metrics["choices"] = scores.summarise()
        if asked.task.compared_metric(metrics).name == scores.main:
            rows, said, of_rows = asked.choices.rows, chosen, scores.rows[scores.main].tolist()
    numbers = {id(row): number for number, row in enumerate(all_rows)}
    return BaselineResult.model_validate(
        {
            "predicted": said,
            "rows": [numbers[id(row)] for row in rows],
            "scores": of_rows,
            "train_seconds": None,
            "num_train": num_train,
            "metrics": metrics,
        }
    )


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
    asked = choices.choose_test(encoded.dataset.test)
    return Asked(task, encoded.dataset, encoded.splits, test, asked, limit, longest)


def _evaluate(asked: Asked, model: PreparedModel) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the metrics of the model on all test rows, and a line for each of them."""
    evaluation = scoring.evaluate_split(model, asked.splits["test"], task=asked.task)
    return evaluation.metrics(), evaluation.prediction_lines(asked.used.test)


@dataclass(frozen=True)
class _Asker:
    """Asks the model, as a run does. `model`: None if the baseline asks none."""

    asked: Asked
    model: PreparedModel | None
    tokenizer: Any

    def choose_prompt(self, some: Sequence[Conversation], *, num_new: int, limit: int) -> list[int]:
        """Return the tokens of the first conversation that leaves room for so many more. The last one is the row itself: it is
        cut to `limit`, as in a run."""
        *others, alone = some
        room = min(self.asked.longest, self.asked.limit * len(some)) - num_new
        for ids in chat_encoding.encode_prompts(self.tokenizer, others, limit=chat_encoding.NO_LIMIT):
            if len(ids) <= room:
                return ids
        return chat_encoding.encode_prompts(self.tokenizer, [alone], limit=limit)[0]


class _Generator(_Asker):
    """Lets the model write answers, as `runs.answers.generate` does."""

    def __call__(self, rows: Sequence[Sequence[Conversation]]) -> list[str]:
        """Return an answer to each row, given as the conversations that may ask for it, the preferred first."""
        assert self.model is not None, "the baseline reads a model"
        new = self.asked.test.max_new_tokens
        found = generation.generate_answers(
            self.model.network,
            self.tokenizer,
            [self.choose_prompt(some, num_new=new, limit=self.asked.limit) for some in rows],
            options=GenerationOptions(max_new_tokens=new),
            end_ids=chat_encoding.end_of_turn_ids(self.tokenizer),
            bfloat16=self.model.runtime.bfloat16,
        )
        return [one.text for one in found]


class _Chooser(_Asker):
    """Lets the model choose one of the possible answers, as `runs.choices.answer_questions` does."""

    def __call__(self, rows: Sequence[Sequence[Conversation]]) -> list[str]:
        """Return the most probable choice of each row, given as the conversations that may ask for it, the preferred first."""
        assert self.model is not None, "the baseline reads a model"
        options = [possible_answers(some[-1]) for some in rows]
        encoded = choices.encode_answers(self.tokenizer, options, limit=self.asked.limit)
        longest = [max(map(len, own)) for own in encoded]
        prompts = [
            self.choose_prompt(some, num_new=new, limit=self.asked.limit - new) for some, new in zip(rows, longest, strict=True)
        ]
        found = choices.choose_answers(self.model, prompts, encoded, options)
        return [some[place] for some, place in zip(options, found.chosen, strict=True)]
