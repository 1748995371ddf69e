"""The table of contents: what `train` does, in order."""

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
from finewright.runs.stages import Job
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
    """Fine-tune on labelled text and prove the result. The returned run is complete, or a `UserError` says why not.

    An unfinished run that was asked for the same goes on. `listen` hears sentences (`str`) about what was chosen and found,
    and the engine's events. `shared`: rows and token ids that other runs of this process need too. `stop`: a wish to stop
    ends the work with `Interrupted`, what was done committed.
    """
    asked = request.make_request(source, test=test, settings=settings, candidates=candidates)
    stem = "data" if isinstance(source, Table) else Path(str(source)).stem
    name = f"{stem}-{asked.way}-seed{settings.seed}"
    folder = create_run(out=out, name=name, differences=lambda kept: request.request_differences(kept, asked))
    return _live(
        folder, asked, (), data=(source, test), shared=shared or DatasetCache(), on_event=on_event, stop=stop or StopRequest()
    )


def resume(
    path: Path,
    *,
    changes: Sequence[str] = (),
    on_event: Callable[[Any], None] = lambda event: None,
    stop: StopRequest | None = None,
) -> RunFolder:
    """Go on with an unfinished run. `changes`: `knob=value` for what may change inside a run; they are recorded."""
    folder = reopen_run(path)
    assert folder.earlier is not None, "reopened"
    asked = request.read_request(folder.earlier.request)
    if asked.source.startswith(IN_MEMORY):
        folder.release()
        what = "the run's rows were given in memory, and are not here"
        raise UserError(what, where=str(path), fix="call train(…) with the same rows and output_dir: it continues there")
    return _live(
        folder,
        asked,
        changes,
        data=(asked.source, asked.test),
        shared=DatasetCache(),
        on_event=on_event,
        stop=stop or StopRequest(),
    )


def _live(
    folder: RunFolder,
    asked: request.RunRequest,
    changes: Sequence[str],
    *,
    data: tuple[Source, Source | None],
    shared: DatasetCache,
    on_event: Callable[[Any], None],
    stop: StopRequest,
) -> RunFolder:
    """One life of a run: from where it stands to its end."""
    try:
        if folder.complete:
            on_event("finished already: nothing is left to do")
            return folder
        if folder.earlier is None:
            folder.write(folder.config, RunConfigFile(request=asked.record()))
        asked, changed = request.for_resume(folder.earlier, asked, changes)
        life = Session(folder, changes=changed, stop=stop, notify=on_event)
        with preserving_process_state():
            _work(folder, asked, data, shared=shared, life=life, job=Job(folder, asked=asked, life=life, on_event=on_event))
        return folder
    except Interrupted as stop_request:
        stop_request.run = folder.path
        raise
    except UserError as error:
        error.fix = error.fix.replace(RESUME, RESUME.replace("RUN", shlex.quote(str(folder.path))))
        raise
    finally:
        folder.release()


def _work(
    folder: RunFolder,
    asked: request.RunRequest,
    data: tuple[Source, Source | None],
    *,
    shared: DatasetCache,
    life: Session,
    job: Job,
) -> None:
    job.choose_machine()
    dataset = shared.read(data[0], options=job.settings.data, test=data[1])
    job.notify(*dataset.notes)
    task = tasks.get_task(tasks.DEFAULT).for_dataset(dataset, config=job.settings)
    job.report(checks.check_dataset(dataset))

    sketched = hub.resolve_model(job.settings.model, weights=False, progress=job.downloading)
    splits = job.choose_way(sketched, asked.candidates, dataset=dataset, task=task, known=shared.ids(sketched.name))
    model = job.fetch()
    job.insist_same(dataset)

    base = job.load(labels=dataset.labels)
    job.prepare(base, rows=dataset.train)
    with memory_meter.garbage_collection_settled():  # before the clock of training begins
        job.begin(dataset, task=task)
        job.fill(splits)
        with life.stoppable():
            for event in loop.train(
                job.prepared_model,
                splits["train"],
                task=task,
                schedule=job.schedule,
                evaluate=job.evaluation(splits["validation"], task=task),
                places=[row.where for row in dataset.train],
                state=life.state,
                watch=job.watching,
            ):
                job.hear(event)
    job.take_best()

    folder.require_there()
    with files.atomic_folder(folder.model) as draft:
        model_folder.save_model(draft, prepared_model=job.prepared_model, method=job.method, origin=base.origin, source=model)
    predictor = job.predictor(task)
    measured = job.test(dataset, splits=splits, task=task)
    job.release(splits)
    difference = verify.verify_saved_model(predictor, folder.model, model_folder.probe_texts(dataset))
    result = job.summary(dataset, task=task, splits=splits, measured=measured, verification_difference=difference)
    model_card.write_card(folder.model, result=result, method=job.method, prepared_model=job.prepared_model, origin=base.origin)
    folder.write(folder.result, result)  # last: now the run is complete
