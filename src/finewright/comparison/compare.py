"""All methods on the same rows: the table of contents of `compare`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from finewright import tasks
from finewright.comparison import results as comparison_results
from finewright.comparison import summary
from finewright.comparison.folder import ComparisonFolder, build_spec_file, check_same_comparison
from finewright.comparison.report import charts, figures
from finewright.comparison.report.document import html, markdown
from finewright.comparison.report.page import build_document
from finewright.comparison.results import ComparisonResults
from finewright.comparison.runner import ComparisonRunner
from finewright.comparison.schema import (
    ComparisonResultsFile,
    ComparisonSpecFile,
    DataSummary,
    FindingRow,
    MethodRow,
    PairRow,
    SplitRows,
)
from finewright.comparison.score_table import ComparisonSummary
from finewright.comparison.spec import ALL, ComparisonSpec, build_spec, choose_sizes
from finewright.core import config, files, units
from finewright.core.argument_names import naming_arguments
from finewright.core.config import AUTO_MODEL, RunConfig
from finewright.core.errors import ExitCode, UserError
from finewright.core.events import Callback, DownloadProgress, Notice, dispatch_to
from finewright.core.interrupts import Interrupted
from finewright.data import checks
from finewright.data.checks import Finding
from finewright.data.dataset import Dataset, DatasetCache
from finewright.data.tables import to_table
from finewright.models import default_model, hub, provenance
from finewright.models.default_model import ChosenModel
from finewright.planning import task_choice
from finewright.runs import schema
from finewright.runs.folder import RUNS
from finewright.runs.schema import RunResult


class Comparison:
    """A finished comparison. `file`: the content of results.json, typed."""

    def __init__(self, folder: ComparisonFolder) -> None:
        self.folder = folder
        self.file = schema.read(ComparisonResultsFile, folder.results)

    @property
    def path(self) -> Path:
        """The folder with the report, the numbers and the runs."""
        return self.folder.path

    @property
    def page(self) -> Path:
        """report.html."""
        return self.folder.page

    @property
    def results(self) -> dict[str, Any]:
        """The content of results.json, as plain values."""
        return schema.dump(self.file)

    @property
    def methods(self) -> list[MethodRow]:
        """All methods and baselines, the best first."""
        return self.file.methods

    @property
    def summary(self) -> ComparisonSummary:
        """Each measured method with its score and what it cost. Printed, it is a table with the verdict below."""
        return ComparisonSummary.from_file(self.file)

    @property
    def verdict(self) -> str:
        """What the numbers show, in two sentences."""
        return self.file.verdict


@naming_arguments()
def compare(  # noqa: PLR0913  as many arguments as the command has flags
    data: Any,
    labels: Any = None,
    *,
    model: str | Path = AUTO_MODEL,
    methods: Sequence[str] | None = None,
    seeds: int = 3,
    train_sizes: Sequence[int | str] = (ALL,),
    search_trials: int = 0,
    memory_budget: str | None = None,
    test: Any = None,
    output_dir: str | PathLike[str] | None = None,
    jobs: int | None = None,
    options: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Comparison:
    """Train several methods with several seeds on the same rows. Report accuracy, uncertainty and cost on one page.

    Of language models it reports how good the answers to test prompts are, by the metric that fits the reference answers.

    The same call again continues where it stopped. With other data or settings it raises `UserError`.

    Parameters
    ----------
    data, labels, test
        As in `train`: a file, a folder, a hub id, or rows in memory. Rows in memory are recognised by their contents: the call
        continues with the same rows and refuses other ones.
    model
        As in `train`; `auto` takes the best that is at hand.
    methods
        Names of methods; all when not given. Training from scratch and three baselines are always compared too.
    seeds
        Runs of each method. With one seed, intervals and tests are over the test rows alone.
    train_sizes
        Numbers of training rows, or `all`. The sets are stratified, and the smaller ones are parts of the larger.
    search_trials
        Trials in all, evaluated on the validation rows; each method that fits gets the same number.
    memory_budget
        Memory a run may take, such as `8GB`. Methods that do not fit are listed with the reason.
    options
        By dotted name; those of one method below its name: `lora.rank`, `lora.training.learning_rate`.

    See `finewright.comparison.statistics` for intervals and tests.
    """
    source = to_table(data, labels) or data
    test = None if test is None else to_table(test) or test
    options = options or {}
    on_event = dispatch_to(callbacks)
    budget = options.get("memory_budget") if memory_budget is None else memory_budget
    budget_bytes = 0 if budget is None else units.parse_size(str(budget))
    spec = build_spec(
        source, test=test, model=model, wanted=methods, num_seeds=seeds, search_trials=search_trials, options=options
    )
    dataset, spec, said = _read_rows(source, test=test, spec=spec)
    if said:
        on_event(Notice(said, code="task"))
    name, chosen = _choose_model(spec.model, task=str(spec.options.get("task", tasks.DEFAULT)), output_dir=output_dir)
    if chosen is not None:
        on_event(Notice(chosen.sentence(), code="model"))
    spec = replace(spec, model=name, train_sizes=choose_sizes(train_sizes, dataset=dataset))
    findings = _check_data(dataset, settings=config.build_options(RunConfig, spec.options), on_event=on_event)
    if spec.search and not dataset.validation:
        raise UserError("a search needs validation rows", where="--search", fix="--set data.validation_fraction=0.1")
    fetch = partial(
        hub.resolve_model, spec.model, progress=lambda name, done, total: on_event(DownloadProgress(name, done, total))
    )
    base = fetch(weights=False)
    folder = ComparisonFolder(
        Path(output_dir) if output_dir else RUNS / f"compare-{_short_name(spec.data)}-{_short_name(spec.model)}"
    )
    folder.open()
    runner = ComparisonRunner(spec, folder, dataset, on_event=on_event)
    try:
        base = _run_what_is_left(runner, base, fetch, budget_bytes=budget_bytes, jobs=jobs)
        results = comparison_results.read_results(
            spec, folder, labels=dataset.labels, reasons=runner.reasons, failures=runner.failures
        )
        file = _build_file(runner, results, findings=findings, model=provenance.base_identity(base), budget=budget, chosen=chosen)
        _write(folder, results, file)
    except Interrupted as interrupted:
        interrupted.again = spec.command(budget=budget, out=folder.path, jobs=jobs)
        on_event(Notice("stopping: runs under way save their step", code="stop"))
        raise
    finally:
        runner.close()
        folder.release()
    _check_something_measured(results, folder)
    return Comparison(folder)


def _read_rows(source: Any, *, test: Any, spec: ComparisonSpec) -> tuple[Dataset, ComparisonSpec, str]:
    """Return the rows, the spec with the task that their columns are for, and a sentence about the task for the user."""
    cache = DatasetCache()
    settings, said = task_choice.choose_task(config.build_options(RunConfig, spec.options), source, datasets=cache)
    if settings.task != tasks.DEFAULT:  # the default is left out, as comparisons of earlier versions did not have it
        spec = replace(spec, options={**spec.options, "task": settings.task})
    dataset = cache.read(source, options=settings.data, test=test, row_kind=tasks.get_task(settings.task).row_kind)
    return dataset, spec, said


def _choose_model(model: str, *, task: str, output_dir: str | PathLike[str] | None) -> tuple[str, ChosenModel | None]:
    """Return the model, and the choice if it was left open. A comparison that was begun keeps its own."""
    if model == AUTO_MODEL and output_dir and (file := ComparisonFolder(Path(output_dir)).spec).exists():
        return schema.read(ComparisonSpecFile, file).asked.model, None
    return default_model.resolve_name(model, is_language_model=tasks.get_task(task).is_language_model())


def _run_what_is_left(
    runner: ComparisonRunner,
    base: hub.ModelSource,
    fetch: Callable[[], hub.ModelSource],
    *,
    budget_bytes: int,
    jobs: int | None,
) -> hub.ModelSource:
    """Begin or continue the comparison. Return the model that was compared: `base`, or what `fetch` returned with its weights."""
    wanted = build_spec_file(runner.spec, runner.dataset, model=provenance.base_identity(base))
    _begin_or_continue(runner.folder, wanted, spec=runner.spec, dataset=runner.dataset)
    if runner.is_finished(budget_bytes=budget_bytes, jobs=jobs):
        return base
    runner.start()
    runner.plan()
    if not runner.candidates:
        return base
    base = fetch()  # only now, when there is something to train; from here on these weights are what is compared
    _run(runner)
    return base


def _run(runner: ComparisonRunner) -> None:
    if runner.spec.search:
        runner.search()
    runner.train()
    runner.measure_speeds()


def _check_something_measured(results: ComparisonResults, folder: ComparisonFolder) -> None:
    if not any(entry.kind != "baseline" for entry in results.measured):
        reasons = "\n  ".join(f"{entry.name}: {'; '.join(entry.reasons)}" for entry in results.entries if entry.reasons)
        what = f"no method could be measured:\n  {reasons}"
        raise UserError(what, where=str(folder.path), fix="remove the cause and compare again")


def _check_data(dataset: Dataset, *, settings: RunConfig, on_event: Callable[[Any], None]) -> list[Finding]:
    """Return findings about the data after reporting them. Raise `UserError` if one is an error or if no test rows exist."""
    for note in dataset.notes:
        on_event(Notice(note, code="data"))
    task = tasks.get_task(settings.task).for_dataset(dataset, config=settings)
    findings = checks.apply_force(task.check_dataset(dataset), force=settings.force)
    checks.raise_on_errors(findings)
    if not dataset.test:
        what = "no test rows to compare the methods on"
        raise UserError(what, where="data", fix="--test FILE, or --set data.test_fraction=0.15", code=ExitCode.BAD_DATA)
    for finding in findings:
        on_event(Notice(f"{finding.message} → {finding.fix}", "warning", finding.code))
    return findings


def _begin_or_continue(folder: ComparisonFolder, wanted: ComparisonSpecFile, *, spec: ComparisonSpec, dataset: Dataset) -> None:
    """Write settings and splits of a new comparison. One that was begun must have the same."""
    if folder.spec.exists():
        check_same_comparison(folder, wanted, dataset)
        return
    folder.write_splits(spec, dataset)
    folder.write(folder.spec, wanted)  # last: its existence means that the splits are complete


def _build_file(
    runner: ComparisonRunner,
    results: ComparisonResults,
    *,
    findings: Sequence[Finding],
    model: dict[str, str],
    budget: str | None,
    chosen: ChosenModel | None,
) -> ComparisonResultsFile:
    """Build the content of results.json."""
    spec, folder, dataset, resources = runner.spec, runner.folder, runner.dataset, runner.resources
    sentences = summary.summarise(results)
    first = next((entry.results[0] for entry in results.measured if entry.kind != "baseline"), None)
    run = first if isinstance(first, RunResult) else None
    rows = SplitRows(train=len(dataset.train), validation=len(dataset.validation), test=len(dataset.test))
    known = {finding.code for finding in findings}
    disagreements = comparison_results.build_disagreement_rows(results, folder, spec)
    notes = comparison_results.build_notes(
        results, spec, jobs=resources.jobs, threads=resources.threads, num_test=len(dataset.test)
    )
    return ComparisonResultsFile(
        task=spec.task.name,
        metric=results.metric.name,
        metric_words=results.metric.title,
        num_scored=None if results.rows is None else len(results.rows),
        verdict=" ".join(sentences),
        verdict_sentences=sentences,
        methods=comparison_results.build_method_rows(results, folder),
        pairs=[PairRow(**vars(pair), is_significant=pair.is_significant) for pair in results.pairs],
        curve=comparison_results.build_curve_rows(results),
        requested=list(spec.candidates),
        seeds=list(spec.seeds),
        train_sizes=list(spec.train_sizes),
        search=runner.records,
        data=DataSummary(source=spec.data, name=_short_name(spec.data), rows=rows, labels=list(dataset.labels)),
        model=model,
        budget_bytes=resources.budget_bytes,
        jobs=resources.jobs,
        threads=resources.threads,
        notes=notes + runner.notes() + ([chosen.sentence()] if chosen else []),
        findings=[
            *(FindingRow.model_validate(finding.as_json()) for finding in findings),
            *(one for one in resources.plans.findings if one.code not in known),
        ],
        disagreements=disagreements[: comparison_results.MOST_DISAGREEMENTS],
        num_disagreements=len(disagreements),
        command=spec.command(budget=budget, out=folder.path, jobs=resources.saved.asked_jobs),
        versions=run.versions if run else {},
        hardware=run.hardware if run else {},
    )


def _write(folder: ComparisonFolder, results: ComparisonResults, file: ComparisonResultsFile) -> None:
    """Write the picture, the report as HTML and as Markdown, and the numbers."""
    document = build_document(results, file=file)
    if any(entry.kind != "baseline" for entry in results.measured):
        title = f"{file.data.name}, model {Path(file.model['name']).name}"
        picture = folder.picture if results.has_classes else folder.score_picture
        files.write_atomic(picture, charts.standalone(figures.by_share(results), title=title))
    files.write_atomic(folder.page, html(document))
    files.write_atomic(folder.text, markdown(document))
    folder.write(folder.results, file)


def _short_name(name: str) -> str:
    """Return a name for people and for folders: the last part of a path or a hub id, without its ending."""
    last = Path(name).name.split(".")[0] or Path(name).name
    return re.sub(r"[^\w-]+", "-", last).strip("-")[:60] or "data"
