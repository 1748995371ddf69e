"""Train or resume a run: the stages in order."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from finewright import tasks
from finewright.core import files
from finewright.core.config import RunConfig
from finewright.core.errors import RESUME, UserError
from finewright.core.interrupts import Interrupted, StopRequest
from finewright.data import checks
from finewright.data.dataset import DatasetCache, Source
from finewright.data.tables import IN_MEMORY, Table
from finewright.methods.base import Method
from finewright.models import hub
from finewright.runs import model_card, model_folder, request, verify
from finewright.runs.folder import RunFolder, create_run, reopen_run
from finewright.runs.schema import RunConfigFile
from finewright.runs.session import Session
from finewright.runs.stages import RunStages
from finewright.training import loop, memory_meter
from finewright.training.state import preserving_process_state


def train(
    source: Source,
    *,
    settings: RunConfig,
    candidates: Sequence[Method],
    test: Source | None = None,
    out: Path | None = None,
    shared: DatasetCache | None = None,
    on_event: Callable[[Any], None] = lambda event: None,
    stop: StopRequest | None = None,
) -> RunFolder:
    """Fine-tune on labelled text and verify the result. The returned run is complete, or a `UserError` says why not.

    An unfinished run with the same request continues. `on_event` is called with sentences (`str`) about choices and findings,
    and with the events of training. `shared`: rows and token ids that other runs of this process need too. `stop`: a stop
    request ends the work with `Interrupted`, after a checkpoint.
    """
    run_request = request.make_request(source, test=test, settings=settings, candidates=candidates)
    stem = "data" if isinstance(source, Table) else Path(str(source)).stem
    name = f"{stem}-{run_request.method_name}-seed{settings.seed}"
    folder = create_run(out=out, name=name, differences=lambda saved: request.request_differences(saved, run_request))
    return _run_session(
        folder,
        run_request,
        (),
        data=(source, test),
        shared=shared or DatasetCache(),
        on_event=on_event,
        stop=stop or StopRequest(),
    )


def resume(
    path: Path,
    *,
    changes: Sequence[str] = (),
    on_event: Callable[[Any], None] = lambda event: None,
    stop: StopRequest | None = None,
) -> RunFolder:
    """Resume an unfinished run. `changes`: `option=value` for options that may change inside a run; they are recorded."""
    folder = reopen_run(path)
    assert folder.earlier is not None, "reopened"
    run_request = request.read_request(folder.earlier.request)
    if run_request.source.startswith(IN_MEMORY):
        folder.release()
        what = "the run's rows were given in memory, and are not here"
        raise UserError(what, where=str(path), fix="call train(…) with the same rows and output_dir: it continues there")
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
    on_event: Callable[[Any], None],
    stop: StopRequest,
) -> RunFolder:
    """One session of a run: from its last checkpoint, or from the start, to its end."""
    try:
        if folder.complete:
            on_event("the run is already finished: nothing to do")
            return folder
        if folder.earlier is None:
            folder.write(folder.config, RunConfigFile(request=run_request.record()))
        run_request, changed = request.for_resume(folder.earlier, run_request, changes)
        session = Session(folder, changes=changed, stop=stop, notify=on_event)
        with preserving_process_state():
            stages = RunStages(folder, run_request=run_request, session=session, on_event=on_event)
            _run_stages(run_request, data, shared=shared, stages=stages)
        return folder
    except Interrupted as interrupted:
        interrupted.run = folder.path
        raise
    except UserError as error:
        error.fix = error.fix.replace(RESUME, RESUME.replace("RUN", shlex.quote(str(folder.path))))
        raise
    finally:
        folder.release()


def _run_stages(
    run_request: request.RunRequest,
    data: tuple[Source, Source | None],
    *,
    shared: DatasetCache,
    stages: RunStages,
) -> None:
    folder, session = stages.folder, stages.session
    stages.choose_machine()
    dataset = shared.read(data[0], options=stages.settings.data, test=data[1])
    stages.notify(*dataset.notes)
    task = tasks.get_task(tasks.DEFAULT).for_dataset(dataset, config=stages.settings)
    stages.report(checks.check_dataset(dataset))

    config_only = hub.resolve_model(stages.settings.model, weights=False, progress=stages.report_download)
    splits = stages.select_method(
        config_only, run_request.candidates, dataset=dataset, task=task, known=shared.ids(config_only.name)
    )
    model = stages.fetch()
    stages.check_same_run(dataset)

    base = stages.load(labels=dataset.labels)
    stages.prepare(base, rows=dataset.train)
    with memory_meter.garbage_collection_settled():  # before the time of training is measured
        stages.start(dataset, task=task)
        stages.build_frozen_cache(splits)
        with session.stoppable():
            for event in loop.train(
                stages.prepared_model,
                splits["train"],
                task=task,
                schedule=stages.schedule,
                evaluate=stages.build_evaluation(splits["validation"], task=task),
                places=[row.where for row in dataset.train],
                state=session.state,
                watch=stages.watch_update,
            ):
                stages.handle_event(event)
    stages.restore_best()

    folder.check_folder()
    with files.atomic_folder(folder.model) as draft:
        model_folder.save_model(
            draft,
            prepared_model=stages.prepared_model,
            method=stages.method,
            origin=base.origin,
            source=model,
            max_length=stages.planned.limit,
            truncation_side=stages.settings.data.truncation_side,
        )
    predictor = stages.predictor(task)
    measured = stages.test(dataset, splits=splits, task=task)
    stages.release(splits)
    difference = verify.verify_saved_model(predictor, folder.model, model_folder.probe_texts(dataset))
    result = stages.summary(dataset, task=task, splits=splits, measured=measured, verification_difference=difference)
    model_card.write_card(
        folder.model, result=result, method=stages.method, prepared_model=stages.prepared_model, origin=base.origin
    )
    folder.write(folder.result, result)  # last: now the run is complete
