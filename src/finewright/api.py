"""The verbs for Python: train, resume, plan, load, predict, evaluate, export.

What runs a model is imported inside the verbs: the arguments and the data are checked before PyTorch and transformers are loaded.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finewright import baselines, methods, tasks
from finewright.baselines.base import Baseline
from finewright.core import config
from finewright.core.argument_names import naming_arguments
from finewright.core.config import DataConfig, RunConfig, TrainingConfig
from finewright.core.errors import UserError
from finewright.core.events import Callback, Notice, dispatch_to
from finewright.core.imports import garbage_collection_paused
from finewright.core.interrupts import StopRequest
from finewright.data.dataset import DatasetCache
from finewright.data.tables import to_table
from finewright.methods.base import Method
from finewright.planning import candidates, task_choice
from finewright.runs import request
from finewright.runs.folder import RunFolder, to_run_path

if TYPE_CHECKING:
    from finewright.exporters.merge import Merged
    from finewright.exporters.verification import BaseKind
    from finewright.inference.generation import Generation
    from finewright.inference.language_model import LanguageModel
    from finewright.inference.model import Model, Prediction
    from finewright.planning.report import PlanReport
    from finewright.runs.run import Run


@naming_arguments()
def train(  # noqa: PLR0913  one keyword for each thing a run can be given
    data: Any,
    labels: Any = None,
    *,
    model: str | PathLike[str] | None = None,
    method: Method | type[Method] | Baseline | type[Baseline] | str = methods.AUTO,
    method_options: Mapping[str, Any] | None = None,
    training: TrainingConfig | Mapping[str, Any] | None = None,
    data_config: DataConfig | Mapping[str, Any] | None = None,
    test: Any = None,
    output_dir: str | PathLike[str] | None = None,
    seed: int | None = None,
    memory_budget: str | None = None,
    force: bool = False,
    options: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    cache: DatasetCache | None = None,
    stop: StopRequest | None = None,
) -> "Run":
    """Fine-tune a pre-trained model on labelled text, and verify what was saved.

    Parameters
    ----------
    data
        A file, a folder with `train.*`, `validation.*`, `test.*`, or a hub id; or rows in memory: a DataFrame, a
        `datasets.Dataset`, a list of dicts, or a sequence of texts with `labels`.
    labels
        One label for each text, where `data` holds texts alone.
    model
        Hub id or folder of the pre-trained model, or `mini`, which comes with the package. Without it the best that is at hand
        is taken: a small encoder from the Hugging Face cache or the hub, else `mini`.
    method
        A method or a baseline by name, as a class, or with its options: `LoRA(rank=8)`. `auto` takes the first method that fits.
    method_options
        Options of a method that is given by its name.
    training, data_config
        Options of training and of reading the data, as a config or a dict.
    test
        Test rows, in any of the forms of `data`; without it rows are held out, stratified by label.
    output_dir
        Folder of the run. An unfinished run that was asked for the same continues, a finished one is returned.
    seed
        Seed of the order, the dropout and every new weight.
    memory_budget
        Memory the run may take, such as `"8GB"`; what is free when it is None.
    force
        Train even when the plan says that it does not fit.
    options
        Any option by its dotted or nested name, for instance `{"training.learning_rate": 1e-4}`.
    callbacks
        Called with every event of the run, in order; see `finewright.events`.
    cache
        Rows and token ids that other runs of this process need too.
    stop
        Ends the run at a safe point when it is requested.

    Returns
    -------
    Run
        The finished run: `result`, `predict`, `evaluate`, `load`.

    Raises
    ------
    UserError
        If something is wrong that the caller can repair; the message says where and how.
    Interrupted
        If a stop was requested. What was done is saved.

    Examples
    --------
    >>> import finewright as fw
    >>> run = fw.train("tickets.csv", model="mini", method=fw.LoRA(rank=4))  # doctest: +SKIP
    >>> run.result.metrics.test.accuracy  # doctest: +SKIP
    """
    _check_method(method)
    given = {
        "model": None if model is None else str(model),
        "training": _dumped(training),
        "data": _dumped(data_config),
        "seed": seed,
    }
    given |= {"memory_budget": memory_budget, "force": force or None}
    settings, own = _config(given, options, method=_name(method))
    source = to_table(data, labels) or data
    for name, value in (("data", str(source)), ("model", settings.model)):
        if not value.strip() or "\0" in value:
            raise UserError(f"wanted the {name}, found {value!r}", where=name, fix="a path or a hub id")
    tried = _choose_candidates(method, {**own, **(method_options or {})})
    out, shared, on_event = Path(output_dir) if output_dir else None, cache or DatasetCache(), dispatch_to(callbacks)
    held_out = None if test is None else to_table(test) or test
    shared.take_read_seconds()  # of readings for others, which this run does not count
    if out is None or not RunFolder(out).complete:
        settings = _check_rows(source, held_out, settings=settings, shared=shared, on_event=on_event)
    return _start_run(source, tried, settings, test=held_out, out=out, shared=shared, on_event=on_event, stop=stop)


def _check_rows(source: Any, test: Any, *, settings: RunConfig, shared: DatasetCache, on_event: Callback) -> RunConfig:
    """Return the settings with the task that the rows are for. A fault in the data is told before the libraries are loaded."""
    settings, said = task_choice.choose_task(settings, source, datasets=shared)
    shared.read(source, options=settings.data, test=test, row_kind=tasks.get_task(settings.task).row_kind)
    if said:
        on_event(Notice(said, code="task"))
    return settings


def _start_run(source: Any, tried: list[Method] | Baseline, settings: RunConfig, **extra: Any) -> "Run":
    """Train the first method that fits, or fit the baseline. `extra`: of both pipelines."""
    with garbage_collection_paused():
        from finewright.runs.run import Run

        if isinstance(tried, Baseline):
            from finewright.runs import baseline_pipeline

            return Run(baseline_pipeline.train(source, settings=settings, baseline=tried, **extra))
        from finewright.runs import pipeline

    return Run(pipeline.train(source, settings=settings, candidates=tried, **extra))


def _choose_candidates(
    method: Method | type[Method] | Baseline | type[Baseline] | str, options: Mapping[str, Any]
) -> list[Method] | Baseline:
    """Return the methods to plan in the order of preference, or the baseline that was asked for."""
    if isinstance(method, str):
        if method in baselines.baseline_names():
            return baselines.build_baseline(method, options)
        return candidates.candidate_methods(method, options=options)
    if options:
        fix = "give them to its class, or name the method by a string"
        raise UserError("options of the method are given twice", where="method", fix=fix)
    built = method() if isinstance(method, type) else method
    return built if isinstance(built, Baseline) else [built]


@naming_arguments()
def resume(
    path: str | PathLike[str],
    *,
    changes: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    stop: StopRequest | None = None,
) -> "Run":
    """Continue the unfinished run at `path`.

    Parameters
    ----------
    path
        The run's folder.
    changes
        `option=value` for what may change inside a run, such as `learning_rate=1e-4`; they are recorded.
    callbacks, stop
        As in `train`.
    """
    extra: Any = {"changes": changes, "on_event": dispatch_to(callbacks), "stop": stop}
    folder = to_run_path(path)
    with garbage_collection_paused():
        from finewright.runs.run import Run

        if request.is_baseline_run(folder):
            from finewright.runs import baseline_pipeline

            return Run(baseline_pipeline.resume(folder, **extra))
        from finewright.runs import pipeline

    return Run(pipeline.resume(folder, **extra))


@naming_arguments()
def plan(
    data: Any = None,
    *,
    model: str | PathLike[str] | None = None,
    method: Method | type[Method] | str = "all",
    num_labels: int = 2,
    memory_budget: str | None = None,
    options: Mapping[str, Any] | None = None,
    on_method: Callable[[str, int, int], None] = lambda method, number, total: None,
    progress: Callable[[str, int, int], None] | None = None,
) -> "PlanReport":
    """Say what every method (or one) would cost, and which fits; only the model's config is read.

    Parameters
    ----------
    data
        As in `train`; without it, texts of a usual length are assumed.
    num_labels
        Number of labels, where there is no data.
    memory_budget
        Memory that may be taken, such as `"8GB"`; what is free when it is None.
    on_method
        Called as `on_method(method, number, total)` before each method is planned.
    progress
        Called as `progress(name, done, total)` during a download, in bytes.

    Returns
    -------
    PlanReport
        `entries`, one for each method, and `recommended`.
    """
    given = {"model": None if model is None else str(model), "memory_budget": memory_budget}
    _check_method(method)
    if _name(method) in baselines.baseline_names():
        what = f"{_name(method)} is a baseline: it is fitted in seconds, and its cost is not planned"
        raise UserError(what, where="method", fix="train it, or plan a fine-tuning method")
    tried, settings = _choose_planned(method, given, options)
    with garbage_collection_paused():
        from finewright.planning import report
        from finewright.training.state import preserving_process_state

    with preserving_process_state():
        return report.plan_methods(
            None if data is None else to_table(data) or data,
            candidates=tried,
            settings=settings,
            num_labels=num_labels,
            on_method=on_method,
            progress=progress,
        )


def _choose_planned(
    method: Method | type[Method] | str, given: Mapping[str, Any], options: Mapping[str, Any] | None
) -> tuple[list[Method], RunConfig]:
    """Return the methods to plan, each with its options, and all other options."""
    if isinstance(method, str) and method in ("all", methods.AUTO):
        tree = _tree(given, options)
        kinds = methods.methods_by_preference()
        groups = {kind.name(): methods.split_group(kind.name(), tree.pop(kind.name(), {})) for kind in kinds}
        if tree.pop("method", {}) or any(training for _, training in groups.values()):
            fix = "--method NAME, or for the options of a method its name in front, such as lora.rank"
            raise UserError("options of a method need one method", where="method", fix=fix)
        settings = config.build_options(RunConfig, tree, elsewhere=methods.option_places())
        return [methods.build_method(name, own) for name, (own, _) in groups.items()], settings
    settings, own = _config(given, options, method=_name(method))
    if isinstance(method, str):
        return [methods.build_method(method, own)], settings
    return [method() if isinstance(method, type) else method], settings


@naming_arguments()
def load(run: "str | PathLike[str] | Run", *, device: str = "auto") -> "Model | LanguageModel":
    """Load the model of a finished run, ready to predict, or a language model, ready to generate.

    Parameters
    ----------
    run
        A run or its folder. Or any language model: a hub id, a folder, a `.gguf` file, `package:NAME`.
    device
        `auto` takes the accelerator, where there is one; else `cpu`, `cuda`, `mps`.

    Returns
    -------
    Model or LanguageModel
        Of a run that labels texts a `Model` (`predict`), else a `LanguageModel` (`generate`, `chat`).
    """
    from finewright.runs.run import Run, open_run

    if not isinstance(run, Run) and not RunFolder(to_run_path(run)).checks.exists():
        from finewright.inference import language_model
        from finewright.inference.model import choose_device

        return language_model.load_language_model(str(run), device=choose_device(device))
    opened = run if isinstance(run, Run) else open_run(run)
    return opened.load_language_model(device=device) if opened.generates else opened.load(device=device)


@naming_arguments()
def generate(model: "str | PathLike[str] | Run", prompts: Any, *, device: str = "auto", **options: Any) -> "list[Generation]":
    """Return the answers of a language model to prompts, in order.

    Parameters
    ----------
    model
        As in `load`.
    prompts
        A text, a list of texts, or a list of conversations, each a list of messages with `role` and `content`.
    options
        Those of `LanguageModel.generate`: `max_new_tokens`, `temperature`, `stop`, `system` and so on.

    Raises
    ------
    UserError
        If the model is none that generates, or a prompt or option is wrong.
    """
    loaded = load(model, device=device)
    if not hasattr(loaded, "generate"):
        raise UserError("the run labels texts, so its model generates none", where=str(model), fix="predict")
    return loaded.generate(prompts, **options)


@naming_arguments()
def predict(path: str | PathLike[str], texts: Any, *, abstain: float | None = None) -> "list[Prediction]":
    """Return the predictions of the run at `path`, one for each row; the label is None where there is no text.

    Parameters
    ----------
    path
        The run's folder.
    texts
        Texts in a list, Series or array; a DataFrame, a list of dicts, a dict of columns or of one row; or the path of a file.
        For a model of pairs tuples of two texts, or dicts with `text` and `text_pair`.
    abstain
        Share of rows to answer: with 0.9 the least certain tenth has no label.
    """
    from finewright.runs.run import open_run

    return open_run(path).predict(texts, abstain=abstain)


@naming_arguments()
def evaluate(
    path: str | PathLike[str], data: Any = None, labels: Any = None, *, options: DataConfig | Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the metrics of the run at `path` on other labelled rows, or on its own test rows, with the worst mistakes.

    Parameters
    ----------
    path
        The run's folder.
    data, labels
        The path of a file, a DataFrame, a `datasets.Dataset`, a list of dicts, or texts with `labels`. The run's own test
        rows, read again, when both are None.
    options
        How the rows are read, such as `{"drop_unseen_labels": True}`; else as in training.
    """
    from finewright.runs.run import open_run

    return open_run(path).evaluate(data, labels, options=options)


@naming_arguments()
def export(
    run: "str | PathLike[str] | Run", *, output_dir: str | PathLike[str] | None = None, base: "BaseKind | None" = None
) -> "Merged":
    """Merge the adapter of a finished run into its base model, and compare the result with the run on the test rows.

    Parameters
    ----------
    run
        A run or its folder.
    output_dir
        Folder of the merged model; `merged` in the run's folder when it is None.
    base
        After training in four bits: merge into the `dequantised` or the `published` weights. What changes the scores least
        when it is None.

    Returns
    -------
    Merged
        `folder`, and what the merging changed.

    Raises
    ------
    UserError
        If the method has nothing to merge, the folder exists, or the merged model does not reproduce the run.
    """
    with garbage_collection_paused():
        from finewright.exporters import merge
        from finewright.runs.run import Run, open_run

    opened = run if isinstance(run, Run) else open_run(run)
    return merge.export_merged(opened.folder, out=Path(output_dir) if output_dir else None, base=base)


def _dumped(given: Any) -> Mapping[str, Any]:
    return given.model_dump(exclude_unset=True) if isinstance(given, config.Options) else given or {}


def _check_method(method: Any) -> None:
    """Raise `UserError` unless it is a method or a baseline: by name, as a class, or with its options."""
    kinds = (Method, Baseline)
    if isinstance(method, (str, *kinds)) or (isinstance(method, type) and issubclass(method, kinds)):
        return
    fix = "its name, its class, or the class with options: LoRA(rank=8)"
    raise UserError(f"wanted a method, found {method!r:.60}", where="method", fix=fix)


def _name(method: Method | type[Method] | Baseline | type[Baseline] | str) -> str:
    return method if isinstance(method, str) else method.name()


def _tree(given: Mapping[str, Any], options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return all options as a tree; `given`, by keyword, overrides."""
    tree: dict[str, Any] = {}
    for key, value in (options or {}).items():
        config.set_option(tree, key, value)
    resolved = config.resolve_names(RunConfig, tree)
    return config.merge_options(resolved, {key: value for key, value in given.items() if value is not None})


def _config(given: Mapping[str, Any], options: Mapping[str, Any] | None, *, method: str) -> tuple[RunConfig, dict[str, Any]]:
    """Return all options but the method's, and the method's."""
    tree = _tree(given, options)
    own = candidates.collect_method_options(tree, method=method)
    return config.build_options(RunConfig, tree, elsewhere=methods.option_places()), own
