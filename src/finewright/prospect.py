"""A way looked at before any weight is loaded: its shape, the texts as it will read them, every update and what it costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from finewright import anatomy as anatomies
from finewright import batches, checks, choices, encoding, forecast, hardware, hub, planner, rates, shapes
from finewright.batches import Encoded
from finewright.checks import Finding
from finewright.config import Settings
from finewright.data import Dataset
from finewright.forecast import Forecast
from finewright.methods.base import AbstractMethod
from finewright.savings import Texts
from finewright.tasks import Classification

Splits = dict[str, Encoded]


@dataclass(frozen=True)
class Prospect:
    """`limit`: tokens of the longest text it reads. `choices`: what was left open, all with reasons."""

    source: hub.Source
    method: AbstractMethod
    shape: shapes.Base
    splits: Splits
    limit: int
    forecast: Forecast
    choices: choices.Choices


def look(
    source: hub.Source,
    method: AbstractMethod,
    *,
    settings: Settings,
    machine: hardware.Hardware,
    dataset: Dataset,
    task: Classification,
    report: Callable[[list[Finding]], None],
    known: dict[str, list[int]] | None = None,
) -> Prospect:
    """Tokenise every split, decide every update, plan it. Over-long texts are cut, and `report` hears of it.

    `known`: token ids of texts that were tokenised before.
    """
    bfloat16 = hardware.choose_precision(settings.train.precision, hardware=machine)[0] == "bfloat16"
    shape = shapes.shape(source, labels=task.labels, four_bit=method.quantization(), bfloat16=bfloat16)
    sketch = planner.sketch(shape, method, bfloat16=bfloat16)
    made = choices.Choices()
    longest = anatomies.longest_text(shape.network.config, shape.anatomy)
    limit = choices.max_length(settings, longest=longest, prompt_tokens=sketch.prompt_tokens, choices=made)
    splits, findings = encode(shape.origin.tokenizer, dataset, task=task, settings=settings, limit=limit, known=known)
    report(findings)
    if kept := encoding.told(shape.origin.tokenizer, [len(split.ids) for split in splits.values()]):
        made.note("token_ids", "kept on disk", kept)
    planned = forecast.make(
        sketch,
        method=method,
        settings=settings,
        task=task,
        texts=Texts(*(splits[name].lengths for name in ("train", "validation", "test")), tokens=splits["train"].tokens()),
        base=shape,
        rates=partial(rates.measure, device=machine.device, width=shape.network.config.hidden_size),
        budget=forecast.budget(settings, device=machine.device),
    )
    made.made += planned.choices.made
    return Prospect(source, method, shape, splits, limit, planned, made)


def first_fitting(
    ways: Sequence[AbstractMethod], *, look: Callable[[AbstractMethod], Prospect]
) -> tuple[Prospect, dict[str, int]]:
    """(the first of the ways that fits, or the very first when none does; planned peaks of those looked at, in bytes)"""
    found, peaks = [], {}
    for method in ways:
        one = look(method)
        peaks[method.name()] = one.forecast.plan.peak_memory_bytes
        if one.forecast.fits:
            return one, peaks
        found = found or [one]
    return found[0], peaks


def encode(
    tokenizer: object,
    dataset: Dataset,
    *,
    task: Classification,
    settings: Settings,
    limit: int,
    known: dict[str, list[int]] | None = None,
) -> tuple[Splits, list[Finding]]:
    """Token ids of every split, and what is to be said about them."""
    splits: Splits = {}
    findings: list[Finding] = []
    for name, rows in (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test)):
        splits[name] = batches.encode(
            tokenizer,
            [row.text for row in rows],
            targets=task.targets(row.label for row in rows),
            limit=limit,
            keep_end=settings.data.keep_end,
            keep=True,
            known=known,
        )
        findings += checks.alike(splits[name].ids, rows, name=name)
        kept = "end" if settings.data.keep_end else "start"
        findings += checks.truncation(splits[name].lengths_uncut, limit=limit, kept=kept, places=[row.where for row in rows])
    return splits, findings
