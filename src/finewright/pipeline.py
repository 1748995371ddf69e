"""The table of contents: what `train` does, in order."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from finewright import checks, disk, engine, hub, memory, order, proof, results, run, tasks
from finewright.config import Settings
from finewright.errors import RESUME, UserError
from finewright.job import Job
from finewright.life import Life
from finewright.methods.base import AbstractMethod
from finewright.shared import Shared
from finewright.stop import Interrupted, Stop


def train(
    source: str | Path,
    *,
    settings: Settings,
    ways: Sequence[AbstractMethod],
    test: str | Path | None = None,
    out: Path | None = None,
    shared: Shared | None = None,
    listen: Callable[[Any], None] = lambda event: None,
    stop: Stop | None = None,
) -> run.RunFolder:
    """Fine-tune on labelled text and prove the result. The returned run is complete, or a `UserError` says why not.

    An unfinished run that was asked for the same goes on. `listen` hears sentences (`str`) about what was chosen and found,
    and the engine's events. `shared`: rows and token ids that other runs of this process need too. `stop`: a wish to stop
    ends the work with `Interrupted`, what was done committed.
    """
    asked = order.make(source, test=test, settings=settings, ways=ways)
    name = f"{Path(str(source)).stem}-{asked.way}-seed{settings.seed}"
    folder = run.create(out=out, name=name, differences=lambda kept: order.differences(kept, asked))
    return _live(folder, asked, (), shared=shared or Shared(), listen=listen, stop=stop or Stop())


def resume(
    path: Path,
    *,
    changes: Sequence[str] = (),
    listen: Callable[[Any], None] = lambda event: None,
    stop: Stop | None = None,
) -> run.RunFolder:
    """Go on with an unfinished run. `changes`: `knob=value` for what may change inside a run; they are recorded."""
    folder = run.reopen(path)
    asked = order.read(folder.earlier["order"], where=folder.config)
    return _live(folder, asked, changes, shared=Shared(), listen=listen, stop=stop or Stop())


def _live(
    folder: run.RunFolder,
    asked: order.Order,
    changes: Sequence[str],
    *,
    shared: Shared,
    listen: Callable[[Any], None],
    stop: Stop,
) -> run.RunFolder:
    """One life of a run: from where it stands to its end."""
    try:
        if folder.complete:
            listen("finished already: nothing is left to do")
            return folder
        if not folder.earlier:
            folder.write_json(folder.config, {"order": asked.as_json(), "changes": []})
        asked, changed = order.resumed(folder.earlier, asked, changes)
        life = Life(folder, changes=changed, stop=stop, tell=listen)
        _work(folder, asked, shared=shared, life=life, job=Job(folder, asked=asked, life=life, listen=listen))
        return folder
    except Interrupted as wish:
        wish.run = folder.path
        raise
    except UserError as error:
        error.fix = error.fix.replace(RESUME, RESUME.replace("RUN", shlex.quote(str(folder.path))))
        raise
    finally:
        folder.release()


def _work(folder: run.RunFolder, asked: order.Order, *, shared: Shared, life: Life, job: Job) -> None:
    job.choose_machine()
    dataset = shared.read(asked.source, knobs=job.settings.data, test=asked.test)
    job.tell(*dataset.notes)
    labels = [row.label for row in dataset.train]
    task = tasks.infer(dataset.labels, training_labels=labels, class_weights=job.settings.train.class_weights)
    job.report(checks.look(dataset))

    sketched = hub.resolve(job.settings.model, weights=False, progress=job.downloading)
    splits = job.choose_way(sketched, asked.ways, dataset=dataset, task=task, known=shared.ids(sketched.name))
    model = job.fetch()
    job.insist_same(dataset)

    base = job.load(labels=dataset.labels)
    job.prepare(base, rows=dataset.train)
    with memory.settled():  # before the clock of training begins
        job.begin(dataset)
        job.fill(splits)
        with life.stoppable():
            for event in engine.fit(
                job.tuned,
                splits["train"],
                task=task,
                recipe=job.recipe,
                evaluate=job.evaluation(splits["validation"], task=task),
                places=[row.where for row in dataset.train],
                state=life.state,
                watch=job.watching,
            ):
                job.hear(event)
    job.take_best()

    folder.require_there()
    with disk.whole_folder(folder.model) as draft:
        results.save_model(draft, tuned=job.tuned, method=job.method, origin=base.origin, source=model)
    predictor = job.predictor(task)
    measured = job.test(dataset, splits=splits, task=task)
    job.let_go(splits)
    difference = proof.prove(predictor, folder.model, results.probes(dataset))
    result = job.summary(dataset, splits=splits, measured=measured, proof_difference=difference)
    results.write_card(folder.model, result=result, method=job.method, tuned=job.tuned, origin=base.origin)
    folder.write_json(folder.result, result)  # last: now the run is complete
