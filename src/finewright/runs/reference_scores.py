"""The log-probabilities of a run's rows by the untrained model, before any weight changes."""

from dataclasses import replace
from typing import TYPE_CHECKING

from finewright.inference import reference
from finewright.runs.context import RunContext
from finewright.training.state import preserving_random_state

if TYPE_CHECKING:
    from finewright.runs.stages import PreparedRun, SelectedMethod


def add_reference(context: RunContext, selected: "SelectedMethod", ready: "PreparedRun") -> "SelectedMethod":
    """Return the run with the reference of every split, where its task compares with one.

    The model has its first weights here in every session of a run: a checkpoint is restored only afterwards.
    """
    if not selected.task.needs_reference:
        return selected
    found = selected.fingerprint
    identity = {name: found[name] for name in ("model", "method", "method_options", "device")}
    identity["precision"] = context.precision
    if selected.method.weights == "random" or ready.model.start:  # then the first weights depend on the seed
        identity["seed"] = context.settings.seed
    splits = dict(selected.planned.splits)
    device = ready.model.network.get_input_embeddings().weight.device
    context.meter.hold(ready.model.trainable_module)
    with context.stop.at_once(), preserving_random_state(device), context.meter.measure():
        for name, split in splits.items():
            if len(split.ids):
                sums = reference.measure_reference(
                    ready.model, split, identity=identity, notify=lambda said: context.notify(said, code="waiting")
                )
                splits[name] = replace(split, reference=sums)
    return replace(selected, planned=replace(selected.planned, splits=splits))
