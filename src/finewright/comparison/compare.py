"""Every way on the same rows: the table of contents of `compare`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from finewright.comparison import results as comparison_results
from finewright.comparison import search, summary
from finewright.comparison.folder import SPLITS, ComparisonFolder, check_same_comparison, fixed
from finewright.comparison.report import charts, figures
from finewright.comparison.report.document import html, markdown
from finewright.comparison.report.page import build_document
from finewright.comparison.results import ComparisonResults, curve_rows, disagreement_rows, result_notes
from finewright.comparison.runner import ComparisonRunner
from finewright.comparison.spec import ALL, ComparisonSpec, choose_methods, choose_sizes, split_options
from finewright.core import config, units
from finewright.core.config import DEFAULT_MODEL, RunConfig
from finewright.core.errors import ExitCode, UserError
from finewright.core.events import DownloadProgress
from finewright.core.interrupts import Interrupted
from finewright.data import checks
from finewright.data.dataset import Dataset, read_dataset
from finewright.models import hub, provenance
from finewright.runs.folder import RUNS

FORMAT = 1


class Comparison:
    """A finished comparison: `results` (what results.json holds), `verdict`, and where everything is."""

    def __init__(self, folder: ComparisonFolder) -> None:
        self.folder = folder
        self.results: dict[str, Any] = folder.read_json(folder.results)

    @property
    def path(self) -> Path:
        """The folder with the page, the numbers and the member runs."""
        return self.folder.path

    @property
    def page(self) -> Path:
        """report.html."""
        return self.folder.page

    @property
    def methods(self) -> list[dict[str, Any]]:
        """Every way and baseline, the most accurate first."""
        return self.results["methods"]

    @property
    def verdict(self) -> str:
        """What the numbers carry."""
        return self.results["verdict"]


def compare(  # noqa: PLR0913  as many arguments as the command has flags
    source: str | Path,
    *,
    model: str | Path = DEFAULT_MODEL,
    methods: Sequence[str] | None = None,
    seeds: int = 3,
    train_sizes: Sequence[int | str] = (ALL,),
    search_trials: int = 0,
    budget: str | None = None,
    test: str | Path | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    options: Mapping[str, Any] | None = None,
    on_event: Callable[[Any], None] = lambda event: None,
) -> Comparison:
    """Train every way with several seeds on the same rows; put accuracy, uncertainty and price on one page.

    `methods`: names of ways, all when not given; training from scratch and three baselines that train no weight of the
    model are always there. `knobs`: shared ones by dotted names, and those of one way under its name (`lora.rank`,
    `lora.training.learning_rate`). `train_sizes`: numbers of training rows, nested and stratified, or `all`.
    `search_trials`: so many trials in all, the same number for every way that fits, on validation.
    `budget`: memory, such as 8GB; ways that do not
    fit are listed with the plan's reason.

    The same call again goes on where it stopped; with other data or settings it is a `UserError`. Intervals and tests:
    see `finewright.statistics`; with one seed they are over the test rows alone.
    """
    budget = (options or {}).get("memory_budget") if budget is None else budget
    budget_bytes = 0 if budget is None else units.parse_size(str(budget))
    asked = _asked(source, test=test, model=model, methods=methods, seeds=seeds, trials=search_trials, options=options)
    dataset = read_dataset(asked.data, options=config.build_options(RunConfig, asked.options).data, test=asked.test)
    spec = replace(asked, train_sizes=choose_sizes(train_sizes, dataset=dataset))
    findings = _look(dataset, on_event=on_event)
    if spec.search and not dataset.validation:
        raise UserError("a search wants validation rows", where="--search", fix="--set data.validation_fraction=0.1")
    fetch = partial(
        hub.resolve_model, spec.model, progress=lambda name, done, total: on_event(DownloadProgress(name, done, total))
    )
    base = fetch(weights=False)
    folder = ComparisonFolder(Path(out) if out else RUNS / f"compare-{_stem(spec.data)}-{_stem(spec.model)}")
    folder.open()
    campaign = ComparisonRunner(spec, folder, dataset, on_event=on_event)
    try:
        _begin(folder, fixed(spec, dataset, model=provenance.base_identity(base)), spec=spec, dataset=dataset)
        if not campaign.is_finished(budget_bytes=budget_bytes, jobs=jobs):
            campaign.start()
            campaign.plan()
            if campaign.candidates:
                base = fetch()  # the weights, now that there is something to train; they are what was compared
                _run(campaign)
        table = comparison_results.read_results(
            spec, folder, labels=dataset.labels, reasons=campaign.reasons, failures=campaign.failures
        )
        results = _results(campaign, table, findings=findings, model=provenance.base_identity(base), budget=budget)
        _write(folder, table, results)
    except Interrupted as stop_request:
        stop_request.again = spec.command(budget=budget, out=folder.path, jobs=jobs)
        on_event("stopping: runs under way save their step")
        raise
    finally:
        campaign.close()
        folder.close()
    _require_one(table, folder)
    return Comparison(folder)


def _run(campaign: ComparisonRunner) -> None:
    if campaign.spec.search:
        campaign.search()
    campaign.train()
    campaign.measure_speeds()


def _require_one(table: ComparisonResults, folder: ComparisonFolder) -> None:
    if not any(entry.kind != "baseline" for entry in table.measured):
        reasons = "\n  ".join(f"{entry.name}: {'; '.join(entry.reasons)}" for entry in table.entries if entry.reasons)
        raise UserError(f"no way could be measured:\n  {reasons}", where=str(folder.path), fix="mend that and compare again")


def _asked(
    source: str | Path,
    *,
    test: str | Path | None,
    model: str | Path,
    methods: Sequence[str] | None,
    seeds: int,
    trials: int,
    options: Mapping[str, Any] | None,
) -> ComparisonSpec:
    """The settings, all checked before anything is read; the sizes of the training set are not known yet."""
    for name, value in (("data", str(source)), ("model", str(model))):
        if not value.strip() or "\0" in value:
            raise UserError(f"wanted the {name}, found {value!r}", where=name, fix="a path or a hub id")
    if seeds < 1:
        raise UserError(f"wanted at least one seed, found {seeds}", where="--seeds", fix="--seeds 3")
    tree: dict[str, Any] = {}
    for key, value in (options or {}).items():
        config.set_option(tree, key, value)
    candidates = choose_methods(methods)
    shared, own = split_options(tree, candidates)
    first = config.build_options(RunConfig, shared).seed
    if trials:
        search.check_installed()
        search.share_out(trials, len(candidates))
    shared = {key: value for key, value in shared.items() if key not in ("seed", "model", "memory_budget")}
    place = str(test) if test is not None else None
    numbers = tuple(range(first, first + seeds))
    return ComparisonSpec(str(source), place, str(model), tuple(candidates), numbers, (), trials, shared, own)


def _look(dataset: Dataset, *, on_event: Callable[[Any], None]) -> list[dict[str, Any]]:
    """Findings about the data, told and handed back; errors stop here."""
    for note in dataset.notes:
        on_event(note)
    found = checks.check_dataset(dataset)
    checks.raise_on_errors(found)
    if not dataset.test:
        what = "no test rows: the ways would be compared on nothing"
        raise UserError(what, where="data", fix="--test FILE, or --set data.test_fraction=0.15", code=ExitCode.BAD_DATA)
    for finding in found:
        on_event(f"warning: {finding.message} → {finding.fix}")
    return [finding.as_json() for finding in found]


def _begin(folder: ComparisonFolder, wanted: dict[str, Any], *, spec: ComparisonSpec, dataset: Dataset) -> None:
    """A new comparison writes its settings and splits; one that was begun must have the same."""
    if folder.spec.exists():
        check_same_comparison(folder, wanted, dataset)
        return
    folder.write_splits(spec, dataset)
    folder.write_json(folder.spec, {"format": FORMAT, **wanted})  # last: from now on the splits are whole


def _results(
    campaign: ComparisonRunner,
    table: ComparisonResults,
    *,
    findings: list[dict[str, Any]],
    model: dict[str, str],
    budget: str | None,
) -> dict[str, Any]:
    """What results.json holds."""
    spec, folder, dataset, given = campaign.spec, campaign.folder, campaign.dataset, campaign.provision
    sentences = summary.summarise(table)
    first = next((entry.results[0] for entry in table.measured if entry.kind != "baseline"), {})
    rows = {name: len(getattr(dataset, name)) for name in SPLITS}
    told = {finding["code"] for finding in findings}
    return {
        "format": FORMAT,
        "verdict": " ".join(sentences),
        "verdict_sentences": sentences,
        "methods": comparison_results.method_rows(table, folder),
        "pairs": [vars(pair) | {"told_apart": pair.told_apart} for pair in table.pairs],
        "curve": curve_rows(table),
        "ways": list(spec.candidates),
        "seeds": list(spec.seeds),
        "train_sizes": list(spec.train_sizes),
        "search": {way: record.as_json() for way, record in campaign.found.items()},
        "data": {"source": spec.data, "name": _stem(spec.data), "rows": rows, "labels": list(dataset.labels)},
        "model": model,
        "budget_bytes": given.budget_bytes,
        "jobs": given.jobs,
        "threads": given.threads,
        "notes": result_notes(table, spec, jobs=given.jobs, threads=given.threads) + campaign.notes(),
        "findings": [*findings, *(one for one in given.plans["findings"] if one["code"] not in told)],
        **disagreement_rows(table, folder, spec),
        "command": spec.command(budget=budget, out=folder.path, jobs=given.kept.get("asked_jobs")),
        "versions": first.get("versions", {}),
        "hardware": first.get("hardware", {}),
    }


def _write(folder: ComparisonFolder, table: ComparisonResults, results: dict[str, Any]) -> None:
    """The numbers, the page, the same as Markdown, and the picture."""
    document = build_document(table, results=results)
    if any(entry.kind != "baseline" for entry in table.measured):
        title = f"{results['data']['name']}, model {Path(results['model']['name']).name}"
        folder.write_text(folder.picture, charts.standalone(figures.by_share(table), title=title))
    folder.write_text(folder.page, html(document))
    folder.write_text(folder.text, markdown(document))
    folder.write_json(folder.results, results)


def _stem(name: str) -> str:
    """A name for people and for folders: the last part of a path or a hub id without its ending."""
    last = Path(name).name.split(".")[0] or Path(name).name
    return re.sub(r"[^\w-]+", "-", last).strip("-")[:60] or "data"
