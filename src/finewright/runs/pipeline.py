"""Train or resume a run: the stages in order."""

from collections.abc import Sequence
from pathlib import Path

from finewright.core.config import RunConfig
from finewright.core.errors import UserError
from finewright.core.events import Callback, Notice
from finewright.core.interrupts import StopRequest
from finewright.data.dataset import DatasetCache, Source
from finewright.methods.base import Method
from finewright.planning import task_choice
from finewright.runs import reference_scores, request, stages, verify
from finewright.runs.context import RunContext, read_data, released_at_end
from finewright.runs.folder import RunFolder, create_run, reopen_run
from finewright.runs.schema import RunConfigFile
from finewright.training import memory_meter
from finewright.training.state import preserving_process_state


def train(
    source: Source,
    *,
    settings: RunConfig,
    candidates: Sequence[Method],
    test: Source | None = None,
    out: Path | None = None,
    shared: DatasetCache | None = None,
    on_event: Callback = lambda event: None,
    stop: StopRequest | None = None,
) -> RunFolder:
    """Fine-tune on the rows of a source and verify the result. The returned run is complete, or a `UserError` says why not.

    An unfinished run with the same request continues. `on_event` is called with the events of training and with a `Notice` for
    each choice and finding. `shared`: rows and token ids that other runs of this process need too. `stop`: a stop
    request ends the work with `Interrupted`, after a checkpoint.
    """
    shared = shared or DatasetCache()
    settings, said = task_choice.choose_task(settings, source, datasets=shared)
    if said:
        on_event(Notice(said, code="task"))
    run_request = request.make_request(source, test=test, settings=settings, candidates=candidates)
    name = request.default_run_name(source, method=run_request.method_name, seed=settings.seed)
    with verify.process_at_hand():  # first: the fork must not hold the folder's lock
        folder = create_run(out=out, name=name, differences=lambda saved: request.request_differences(saved, run_request))
        with released_at_end(folder):
            return _run_session(
                folder,
                run_request,
                (),
                data=(source, test),
                shared=shared,
                on_event=on_event,
                stop=stop or StopRequest(),
            )


def resume(
    path: Path,
    *,
    changes: Sequence[str] = (),
    on_event: Callback = lambda event: None,
    stop: StopRequest | None = None,
) -> RunFolder:
    """Resume an unfinished run. `changes`: `option=value` for options that may change inside a run; they are recorded."""
    with verify.process_at_hand():
        folder, record = reopen_run(path)
        with released_at_end(folder):
            run_request = request.read_request(record)
            return _run_session(
                folder,
                run_request,
                changes,
                data=(run_request.source, run_request.test),
                shared=DatasetCache(),
                on_event=on_event,
                stop=stop or StopRequest(),
            )


def _run_session(
    folder: RunFolder,
    run_request: request.RunRequest,
    changes: Sequence[str],
    *,
    data: tuple[Source, Source | None],
    shared: DatasetCache,
    on_event: Callback,
    stop: StopRequest,
) -> RunFolder:
    """One session of a run: from its last checkpoint, or from the start, to its end."""
    if folder.complete and changes:
        fix = "start a new run with another --out"
        raise UserError("the run is finished: nothing in it can change", where=str(folder.path), fix=fix)
    if folder.complete:
        on_event(Notice("the run is already finished: nothing to do", code="finished"))
        return folder
    if folder.earlier is None:
        folder.write(folder.config, RunConfigFile(request=run_request.record()))
    run_request, changed = request.for_resume(folder.earlier, run_request, changes)
    with preserving_process_state():
        context = stages.begin(run_request, folder=folder, changes=changed, stop=stop, on_event=on_event)
        _run_stages(context, data, shared=shared)
    return folder


def _run_stages(context: RunContext, data: tuple[Source, Source | None], *, shared: DatasetCache) -> None:
    dataset, task = read_data(context, data, shared=shared)
    with context.stage("plan"):
        selected = stages.select_method(context, dataset, task, cache=shared)
    with context.stage("load"):
        ready = stages.prepare_model(context, selected)
    with context.stage("train"), memory_meter.garbage_collection_settled():  # before the time of training is measured
        selected = reference_scores.add_reference(context, selected, ready)
        trained = stages.train(context, selected, ready)
    stages.finish(context, selected, trained)
