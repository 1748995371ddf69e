"""The verbs for Python: train, resume, plan, load, predict.

What runs a model is imported inside the verbs: the arguments and the data are checked before PyTorch and transformers are loaded.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finewright import methods
from finewright.core import config
from finewright.core.config import DataConfig, RunConfig, TrainingConfig
from finewright.core.errors import UserError
from finewright.core.events import Callback, dispatch_to
from finewright.core.imports import garbage_collection_paused
from finewright.core.interrupts import StopRequest
from finewright.data.dataset import DatasetCache
from finewright.data.tables import to_table
from finewright.methods.base import Method
from finewright.planning import candidates
from finewright.runs.folder import RunFolder

if TYPE_CHECKING:
    from finewright.inference.model import Model
    from finewright.planning.report import PlanReport
    from finewright.runs.run import Run


def train(  # noqa: PLR0913  one keyword for each thing a run can be given
    data: Any,
    labels: Any = None,
    *,
    model: str | PathLike[str] | None = None,
    method: Method | type[Method] | str = methods.AUTO,
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
        A method by name, as a class, or with its options: `LoRA(rank=8)`. `auto` takes the first that fits.
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
    own = {**own, **(method_options or {})}
    if isinstance(method, str):
        tried = candidates.candidate_methods(method, options=own)
    elif own:
        fix = "give them to its class, or name the method by a string"
        raise UserError("options of the method are given twice", where="method", fix=fix)
    else:
        tried = [method() if isinstance(method, type) else method]
    out = Path(output_dir) if output_dir else None
    held_out, shared = None if test is None else to_table(test) or test, cache or DatasetCache()
    if out is None or not RunFolder(out).complete:
        shared.read(source, options=settings.data, test=held_out)  # a fault in the data is told before the libraries are loaded
    with garbage_collection_paused():
        from finewright.runs import pipeline
        from finewright.runs.run import Run

    return Run(
        pipeline.train(
            source,
            settings=settings,
            candidates=tried,
            test=held_out,
            out=out,
            shared=shared,
            on_event=dispatch_to(callbacks),
            stop=stop,
        )
    )


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
    with garbage_collection_paused():
        from finewright.runs import pipeline
        from finewright.runs.run import Run

    return Run(pipeline.resume(Path(path), changes=changes, on_event=dispatch_to(callbacks), stop=stop))


def plan(
    data: Any = None,
    *,
    model: str | PathLike[str] | None = None,
    method: Method | type[Method] | str = "all",
    num_labels: int = 2,
    memory_budget: str | None = None,
    options: Mapping[str, Any] | None = None,
    looking: Callable[[str, int, int], None] = lambda method, number, total: None,
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

    Returns
    -------
    PlanReport
        `entries`, one for each method, and `recommended`.
    """
    given = {"model": None if model is None else str(model), "memory_budget": memory_budget}
    if isinstance(method, str) and method in ("all", methods.AUTO):
        tree = _tree(given, options)
        kinds = methods.methods_by_preference()
        groups = {kind.name(): methods.split_group(kind.name(), tree.pop(kind.name(), {})) for kind in kinds}
        if tree.pop("method", {}) or any(training for _, training in groups.values()):
            fix = "--method NAME, or for the options of a method its name in front, such as lora.rank"
            raise UserError("options of a method want one method", where="method", fix=fix)
        settings = config.build_options(RunConfig, tree, elsewhere=methods.option_places())
        tried = [methods.build_method(name, own) for name, (own, _) in groups.items()]
    elif isinstance(method, str):
        settings, own = _config(given, options, method=method)
        tried = [methods.build_method(method, own)]
    else:
        settings, _ = _config(given, options, method=_name(method))
        tried = [method() if isinstance(method, type) else method]
    with garbage_collection_paused():
        from finewright.planning import report

    return report.plan_methods(
        None if data is None else to_table(data) or data,
        candidates=tried,
        settings=settings,
        num_labels=num_labels,
        looking=looking,
        progress=progress,
    )


def load(run: "str | PathLike[str] | Run", *, device: str = "auto") -> "Model":
    """Load the model of a finished run, ready to predict.

    Parameters
    ----------
    run
        A run or its folder.
    device
        `auto` takes the accelerator, where there is one; else `cpu`, `cuda`, `mps`.
    """
    from finewright.runs.run import Run, open_run

    return (run if isinstance(run, Run) else open_run(run)).load(device=device)


def predict(path: str | PathLike[str], texts: Sequence[str]) -> list[Any]:
    """Return the predictions of the run at `path`."""
    from finewright.runs.run import open_run

    return open_run(path).predict(texts)


def _dumped(given: Any) -> Mapping[str, Any]:
    return given.model_dump(exclude_unset=True) if isinstance(given, config.Options) else given or {}


def _name(method: Method | type[Method] | str) -> str:
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
