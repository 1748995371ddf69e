"""The model that a run started from, for features that know nothing of the run's labels."""

from typing import TYPE_CHECKING

from finewright import tasks
from finewright.core.errors import UserError
from finewright.runs.schema import RunConfigFile

if TYPE_CHECKING:
    from finewright.baselines.frozen_features import FrozenEncoder


def load_base_encoder(run_config: RunConfigFile) -> "tuple[FrozenEncoder | None, str]":
    """Return the frozen base model of a run, None if it has none that is at hand, and the reason; empty with a model.

    A base that is a run itself was trained on labels, perhaps on the same ones, and is not used.
    """
    named = run_config.model
    if named is None or not named.name:
        return None, "the run has no pre-trained model"
    if run_config.lineage:
        return None, "its model was trained on other data before, and may know the labels"
    from finewright.baselines.frozen_features import FrozenEncoder
    from finewright.models import hub

    task = tasks.get_task(run_config.task or tasks.DEFAULT).for_labels(run_config.labels)
    try:
        encoder = FrozenEncoder.load(
            hub.resolve_model(named.name, revision=named.revision),
            head_spec=task.head_spec,
            max_length=run_config.max_length,
            usual_length=task.default_max_length,
            keep_end=(run_config.settings.get("data") or {}).get("truncation_side") == "left",
            bfloat16=run_config.bfloat16,
        )
    except UserError as error:
        return None, f"its base model cannot be loaded: {error.what}"
    return encoder, ""


def describe_features(reason: str) -> str:
    """Return the note about features without a model; empty with one."""
    return f"judged by words alone, as {reason}" if reason else ""
