"""What the terminal shows during a run, and tables."""

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from finewright.cli.console import clean, is_plain
from finewright.core.cpu_share import describe_share
from finewright.core.events import (
    AnswersProgress,
    DownloadProgress,
    EvaluationCompleted,
    MemoryMeasured,
    Notice,
    RunPlanned,
    Stage,
    StageStarted,
    StepCompleted,
    TrainingStopped,
)
from finewright.core.program import localize_commands
from finewright.core.units import counted, format_bytes

if TYPE_CHECKING:
    from finewright.runs.schema import RunResult

Verbosity = Literal["quiet", "normal", "verbose"]

MOST_WARNINGS = 4
"""Warnings that are shown one by one; the rest are counted."""
SECONDS_BETWEEN_LINES = 10
"""Where the output is no terminal: the least time between two lines about training."""
SURE_AFTER = 20
"""From this many updates on the time left comes from what was measured alone, before that also from the plan."""
SURE_SHARE = 0.02
"""Share of the answers' tokens from which the time left is told."""
STAGE_WORDS: dict[Stage, str] = {
    "start": "loading libraries",
    "read": "reading the data",
    "plan": "planning",
    "load": "loading the model",
    "train": "training",
    "save": "saving",
    "evaluate": "scoring the test rows",
    "verify": "verifying: a new process loads what was saved",
}
_NARROW = 60
"""Below this many columns the panel has no curves."""
_BLOCKS, _PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"


class ProgressDisplay:
    """Handles the events of a run: prints its notices and shows one panel from the first stage to the last.

    `verbosity`: `quiet` prints warnings alone, `verbose` also every automatic choice with its reason.
    """

    def __init__(self, console: Console, *, verbosity: Verbosity = "normal") -> None:
        self.console, self.verbosity = console, verbosity
        self.panel = TrainingPanel(console)
        is_shown = console.is_terminal and verbosity != "quiet"
        self.live = Live(get_renderable=self.panel.render, console=console, transient=True, refresh_per_second=4)
        self.downloads = Progress("{task.description}", BarColumn(), DownloadColumn(), console=console, disable=not is_shown)
        self.files: dict[str, TaskID] = {}
        self.is_shown = is_shown
        self.num_warnings = 0
        self.printed_at = time.monotonic()

    def __call__(self, event: Any) -> None:
        """Handle one event."""
        self.panel.update(event)
        match event:
            case Notice():
                self._show_notice(event)
            case DownloadProgress():
                self._show_download(event)
            case StageStarted(name=name):
                self._show_stage(name)
            case RunPlanned():
                self._show_plan(event)
            case StepCompleted() | AnswersProgress():
                self._show_work(event)
            case EvaluationCompleted(epoch=epoch, metrics=measured, metric=metric, shown=shown):
                star = "  (best so far)" if event.best else ""
                line = f"epoch {epoch:.1f}  validation {metric} {shown}  loss {measured['loss']:.3f}{star}"
                if not self.is_shown or self.verbosity == "verbose":
                    self._print(line)
            case TrainingStopped(step=step, early=early):
                if early:
                    self._print(f"stopped early after step {step}: validation no longer improves")

    def _print(self, line: str, *, always: bool = False) -> None:
        if self.verbosity == "quiet" and not always:
            return
        print_wrapped(self.console, line)

    def _show_notice(self, event: Notice) -> None:
        if event.level == "warning":
            self.num_warnings += 1
            if self.num_warnings <= MOST_WARNINGS or self.verbosity == "verbose":
                self._print(str(event), always=True)
        elif event.level == "info" or self.verbosity == "verbose":
            self._print(event.message)

    def _show_stage(self, name: Stage) -> None:
        if name == "train" and (more := self.num_warnings - MOST_WARNINGS) > 0 and self.verbosity != "verbose":
            self._print(f"{more} more warning{'s' if more > 1 else ''}: --verbose shows them", always=True)
        if self.is_shown and not self.live.is_started:
            self.live.start()

    def _show_plan(self, event: RunPlanned) -> None:
        rows = " / ".join(f"{event.rows[name]:,}" for name in ("train", "validation", "test"))
        share = f"{event.trainable_parameters:,} of {event.total_parameters:,} parameters"
        labels = f"{counted(event.num_labels, 'label')}, " if event.num_labels else ""
        self._print(f"{labels}{rows} rows to train / validate / test")
        size = format_bytes(event.peak_memory_bytes)
        most = "at most " if event.may_stop_early else ""
        answers = f" of training, {format_duration(event.answer_seconds)} of test answers" if event.answer_seconds >= 1 else ""
        cost = f"{most}about {format_duration(event.seconds)}{answers} and {size} of memory"
        self._print(f"{event.method} on {event.model}: trains {share}; {cost}")

    def _show_download(self, event: DownloadProgress) -> None:
        if self.live.is_started:
            self.live.stop()
        self.downloads.start()
        if event.name not in self.files:
            self.files[event.name] = self.downloads.add_task(clean(event.name), total=event.total)
        self.downloads.update(self.files[event.name], completed=event.done, total=event.total)
        if event.done >= event.total:
            self.downloads.stop()

    def _show_work(self, event: StepCompleted | AnswersProgress) -> None:
        if not self.is_shown and time.monotonic() - self.printed_at > SECONDS_BETWEEN_LINES:
            self.printed_at = time.monotonic()
            left = self.panel.seconds_left
            if isinstance(event, AnswersProgress):
                detail = f"answers {event.doing} {event.done}/{event.total}"
            else:
                detail = f"step {event.step}/{event.num_steps}  loss {event.result.loss:.3f}"
            self._print(f"{detail}  about {left:.0f} s left" if left is not None else detail)

    def close(self) -> None:
        """Remove the panel."""
        self.downloads.stop()
        self.live.stop()


class TrainingPanel:
    """Three lines that are drawn anew: stage with bar and time left, loss with speed, validation with memory."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.clock = console, clock
        self.stage: Stage | None = None
        self.stage_began = clock()
        self.load_seconds = 0.0
        self.plan: RunPlanned | None = None
        self.step: StepCompleted | None = None
        self.first_step = 0
        self.num_epochs = 0.0
        self.num_tokens = 0
        self.losses: deque[float] = deque(maxlen=400)
        self.scores: list[float] = []
        self.shown_score = ""
        self.peak_bytes = 0
        self.answers: AnswersProgress | None = None
        self.answers_began = 0.0
        self.answer_seconds = 0.0
        self.answer_rounds = 1.0
        """How many times as long as before training it takes to generate answers later."""

    def update(self, event: Any) -> None:
        """Take in what an event says."""
        match event:
            case StageStarted(name=name):
                if self.stage == "load":
                    self.load_seconds = self.clock() - self.stage_began
                self.stage, self.stage_began, self.answers = name, self.clock(), None
            case AnswersProgress():
                if self.answers is None:
                    self.answers_began = self.clock()
                self.answers = event if event.done < event.total else None
                self.answer_seconds = self.clock() - self.answers_began
            case RunPlanned():
                self.plan = event
            case StepCompleted():
                if self.step is None:
                    self.first_step, self.stage_began = event.step, self.clock()  # not 1 in a resumed run
                else:
                    self.num_tokens += event.result.num_tokens
                self.step = event
                self.losses.append(event.result.loss)
            case EvaluationCompleted(metrics=measured, metric=metric, shown=shown):
                self.scores.append(measured[metric])
                self.shown_score = shown
            case MemoryMeasured(peak_bytes=peak):
                self.peak_bytes = peak

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the run is verified; None where there is nothing yet to tell it from.

        Updates that were measured count more and more, the plan less and less. Verifying loads the model once more. Answers that
        were generated before training are generated again after it.
        """
        if self.answers is not None:
            return self._seconds_left_in_answers(self.answers)
        if self.stage != "train" or self.step is None:
            return None
        num_done, num_left = self.step.step - self.first_step, self.step.num_steps - self.step.step
        measured = (self.clock() - self.stage_began) / num_done * num_left if num_done else None
        planned = self.plan.seconds / self.step.num_steps * num_left if self.plan else None
        weight = min(1.0, num_done / SURE_AFTER)
        if measured is None or planned is None:
            training = measured if planned is None else planned
        else:
            training = weight * measured + (1 - weight) * planned
        return None if training is None else training + self.load_seconds + self.answer_seconds * self.answer_rounds

    def _seconds_left_in_answers(self, answers: AnswersProgress) -> float | None:
        if answers.share < SURE_SHARE:
            return None
        took = self.clock() - self.answers_began
        rounds = {"train": self.answer_rounds, "evaluate": self.answer_rounds - 1}.get(self.stage or "", 0.0)
        training = self.plan.seconds if self.plan is not None and self.stage == "train" else 0.0
        return took / answers.share * (1 + rounds) - took + training + self.load_seconds

    def render(self) -> Group:
        """Return the panel at the console's present width."""
        if self.stage is None:
            return Group()
        width, step = self.console.width, self.step
        first = Table.grid(padding=(0, 1), expand=True)
        first.add_column(no_wrap=True, overflow="ellipsis")
        first.add_column(ratio=1)
        first.add_column(no_wrap=True, justify="right")
        in_training = self.stage == "train" and step is not None
        done = step.step / step.num_steps if in_training and step else 0.0
        words, left = STAGE_WORDS[self.stage], self.seconds_left
        if self.answers is not None:
            words, done = f"answers {self.answers.doing}", self.answers.share
            detail = f"{self.answers.done}/{self.answers.total}"
        elif in_training and step:
            detail = f"step {step.step}/{step.num_steps}"
        else:
            detail = format_duration(self.clock() - self.stage_began)
        detail += "" if left is None else f", {format_duration(left)} left"
        is_measured = in_training or self.answers is not None
        bar = ProgressBar(total=1.0, completed=done, pulse=not is_measured, animation_time=self.clock())
        first.add_row(f"  {words}", bar, detail)
        lines = [first]
        if step is not None and width >= _NARROW:
            seconds = self.clock() - self.stage_began
            speed = f"{self.num_tokens / seconds:,.0f} tokens/s" if in_training and self.num_tokens and seconds > 0 else ""
            room = width - 52
            lines.append(self._line("loss", f"{step.result.loss:.3f}", list(self.losses), speed, room=room))
            memory = f"memory {format_bytes(self.peak_bytes)}" if self.peak_bytes else ""
            if memory and self.plan:
                memory += f" of {format_bytes(self.plan.peak_memory_bytes)} planned"
            if self.scores:
                lines.append(self._line("validation", self.shown_score, self.scores, memory, room=room))
        return Group(*lines)

    def _line(self, name: str, value: str, curve: list[float], right: str, *, room: int) -> Table:
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(width=12, no_wrap=True)
        line.add_column(width=6, no_wrap=True, justify="right")
        line.add_column(ratio=1, no_wrap=True)
        line.add_column(no_wrap=True, justify="right")
        plain = is_plain(self.console)
        line.add_row(f"  {name}", value, Text(sparkline(curve, width=room, plain=plain), style="cyan"), right)
        return line


def sparkline(values: list[float], *, width: int, plain: bool = False) -> str:
    """Return a curve in one line of at most `width` characters; neighbouring values share one. `plain`: ASCII alone."""
    if not values or width < 1:
        return ""
    size = -(-len(values) // width)
    means = [sum(part) / len(part) for part in (values[start : start + size] for start in range(0, len(values), size))]
    blocks = _PLAIN_BLOCKS if plain else _BLOCKS
    low, span = min(means), max(means) - min(means)
    return "".join(blocks[round((mean - low) / span * (len(blocks) - 1)) if span else 0] for mean in means)


def format_duration(seconds: float) -> str:
    """Return `48 s`, `3:05` or `2:03:05`."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def print_wrapped(console: Console, line: str, *, indent: int = 2) -> None:
    """Print a sentence, wrapped between words and indented on a terminal; elsewhere it stays one line."""
    line = localize_commands(line)
    if console.is_terminal:
        console.print(Padding(clean(line), (0, 0, 0, indent)), highlight=False)
    else:
        console.print(f"{' ' * indent}{clean(line)}", highlight=False, soft_wrap=True)


def result_table(result: "RunResult") -> Table:
    """Return the summary of a run."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    share = f"{result.trainable_parameters:,} of {result.total_parameters:,} ({result.trainable_fraction:.2%})"
    table.add_row("trained parameters", f"{share}, {result.head_parameters:,} of them the head")
    _add_metrics(table, result)
    if result.calibration is not None:
        table.add_row("calibration error", result.calibration.describe())
    for name, score in result.baselines.items():
        low, high = score.accuracy_ci95
        table.add_row(f"{name} accuracy", f"{score.accuracy:.1%} (95% interval {low:.1%} to {high:.1%})")
    if result.steps:  # a baseline has none, and its memory is not measured
        table.add_row("speed", f"{result.examples_per_second:.0f} texts/s, {result.tokens_per_second:.0f} tokens/s")
        memory = compare_to_plan(result.peak_memory_bytes, result.planned_peak_memory_bytes, describe=format_bytes)
        table.add_row("peak memory", memory)
    table.add_row("time", describe_time(result))
    table.add_row("saved", f"{format_bytes(result.artifact_bytes)}, verified: a new process loads it and gets equal scores")
    return table


def _add_metrics(table: Table, result: "RunResult") -> None:
    """Add what was measured on the test rows, or without any on the validation rows."""
    from finewright import tasks
    from finewright.cli import number_view
    from finewright.cli.multi_label_view import describe_scores
    from finewright.runs.split_metrics import ClassificationMetrics
    from finewright.tasks.entity_metrics import describe_tags

    measured, split = result.metrics.test or result.metrics.validation, "test" if result.metrics.test else "validation"
    if measured is None:
        return
    measures = tasks.get_task(result.task).measures
    if isinstance(measured, ClassificationMetrics):
        low, high = measured.accuracy_ci95
        interval = f"95% interval {low:.1%} to {high:.1%}, {counted(measured.num_rows, 'row')}"
        table.add_row(f"{split} accuracy", f"{measured.accuracy:.1%} ({interval})")
        table.add_row("macro F1", f"{measured.macro_f1:.1%}")
        table.add_row("majority class", f"{measured.majority_accuracy:.1%}")
    elif measures == "label-sets":
        for number, line in enumerate(describe_scores(measured.model_dump(), rows=f"{split} rows")):
            table.add_row("" if number else "labels", clean(line))
    elif measures == "tags":
        table.add_row(f"{split} tags", f"{describe_tags(measured.model_dump())} ({counted(measured.num_rows, 'row')})")
    elif measures == "numbers":
        table.add_row(f"{split} numbers", number_view.describe_numbers(measured, rows="rows"))
        for line in number_view.compare_numbers(result, measured):
            table.add_row("", line)
    else:
        table.add_row(f"{split} loss", f"{measured.loss:.4f} ({counted(measured.num_rows, 'row')})")


def describe_time(result: "RunResult") -> str:
    """Describe the training time. Saving depends on the disk and is not planned, so the plan is compared with the rest."""
    took, saving = result.train_seconds, result.saving_seconds
    text = compare_to_plan(took - saving, result.planned_seconds_for_steps, describe=lambda seconds: f"{seconds:.1f} s")
    text = text if saving < 0.01 * took else f"{text}, and {saving:.1f} s of saving"
    text += describe_share(result.cpu_share)
    return f"{text}; {describe_early_stop(result)}" if result.stopped_early else text


def describe_early_stop(result: "RunResult") -> str:
    """Say when a run stopped early, and about how much time that saved."""
    saved = format_duration(result.seconds_saved_by_stopping)
    return f"stopped early after epoch {result.epochs:.3g} of {result.planned_epochs:.3g}, saved about {saved}"


def compare_to_plan(measured: float, planned: float, *, describe: Callable[[float], str]) -> str:
    """Describe what was measured, and how much more or less it is than planned."""
    if not planned or not measured:
        return describe(measured)
    more = round(measured / planned - 1, 2)
    word = "as planned" if more == 0 else f"{abs(more):.0%} {'more' if more > 0 else 'less'} than the planned {describe(planned)}"
    return f"{describe(measured)} ({word})"


def rows_table(headings: list[str], rows: list[list[str]], *, gap: int = 2) -> Table:
    """Return a plain table. `gap`: spaces on both sides of a column."""
    table = Table(box=None, padding=(0, gap), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(clean(cell) for cell in row))
    return table
