"""The table of contents: what `train` does, in order."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from finewright import checks, engine, hub, proof, results, run, tasks
from finewright.config import Settings
from finewright.job import Job
from finewright.methods.base import AbstractMethod
from finewright.shared import Shared


def train(
    source: str | Path,
    *,
    settings: Settings,
    ways: Sequence[AbstractMethod],
    test: str | Path | None = None,
    out: Path | None = None,
    shared: Shared | None = None,
    listen: Callable[[Any], None] = lambda event: None,
) -> run.RunFolder:
    """Fine-tune on labelled text and prove the result. The returned run is complete, or a `UserError` says why not.

    `listen` hears sentences (`str`) about what was chosen and found, and the engine's events. `shared`: rows and token ids
    that other runs of this process need too.
    """
    shared = shared or Shared()
    named = ways[0].name() if len(ways) == 1 else "auto"
    folder = run.create(out=out, name=f"{Path(str(source)).stem}-{named}-seed{settings.seed}")
    try:
        job = Job(folder, settings=settings, listen=listen)
        job.choose_machine()

        dataset = shared.read(source, knobs=settings.data, test=test)
        job.tell(*dataset.notes)
        task = tasks.infer(
            dataset.labels,
            training_labels=[row.label for row in dataset.train],
            class_weights=settings.train.class_weights,
        )
        job.report(checks.look(dataset))

        model = hub.resolve(settings.model, progress=job.downloading)
        splits = job.choose_way(model, ways, dataset=dataset, task=task, known=shared.ids(model.name))

        base = job.load(labels=dataset.labels)
        job.prepare(base, rows=dataset.train)
        job.write_config(dataset)
        job.forecast.savings.fill(job.tuned, splits, ("train", "validation"))

        for event in engine.fit(
            job.tuned,
            splits["train"],
            task=task,
            recipe=job.recipe,
            evaluate=job.evaluation(splits["validation"], task=task),
            places=[row.where for row in dataset.train],
            watch=job.watching,
        ):
            job.hear(event)
        job.take_best()

        results.save_model(folder.model, tuned=job.tuned, method=job.method, origin=base.origin, source=model)
        difference = proof.prove(job.predictor(task), folder.model, job.probes(dataset))
        result = job.summary(dataset, splits=splits, task=task, proof_difference=difference)
        results.write_card(folder.model, result=result, method=job.method, tuned=job.tuned, origin=base.origin)
        folder.write_json(folder.result, result)  # last: now the run is complete
        return folder
    finally:
        folder.release()
