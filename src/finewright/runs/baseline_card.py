"""The model card of a baseline."""

from pathlib import Path

from finewright import tasks
from finewright.baselines.base import Baseline, BaselineModel
from finewright.core import files
from finewright.data.columns import Columns
from finewright.runs import number_card
from finewright.runs.model_card import CARD_FILE, describe_measured
from finewright.runs.schema import RunResult
from finewright.tasks.card_words import ExampleTexts

_CARD = """{front}
# {method}

{method} ({summary}) for {task}, by Finewright {version}. {trained}

| | |
|---|---|
{reads}{labels}| fitted parameters | {parameters:,} |
| test {metric} | {measured} |

`baseline.json` has the names and settings, `baseline.safetensors` the numbers; neither can run code. Load it with Finewright,
from the folder of the run that this folder lies in:

```python
import finewright
model = finewright.load("path/to/the/run")
model.predict({texts})
```
{intervals}"""


def write_baseline_card(  # noqa: PLR0913  all that a card tells of
    folder: Path, *, result: RunResult, baseline: Baseline, model: BaselineModel, hub_id: str, columns: Columns
) -> None:
    """README.md of the model folder. `hub_id`: of the frozen model, empty if there is none or it lies in a folder.

    `columns`: of the training rows.
    """
    from huggingface_hub import ModelCardData

    kind = tasks.get_task(result.task)
    metric = kind.decisive_metric({} if result.metrics.test is None else result.metrics.test.model_dump())
    front = ModelCardData(
        base_model=hub_id or None,
        library_name="finewright",
        pipeline_tag=kind.pipeline_tag,
        tags=["finewright", baseline.name()],
    )
    trained = "No language model is part of it."
    if model.num_frozen_parameters:
        trained = f"It reads the hidden states of {hub_id or Path(result.model).name}, which is not trained and not copied here."
    examples = ExampleTexts(columns.texts if columns.form == "pair" else ())
    text = _CARD.format(
        front=f"---\n{front.to_yaml()}\n---",
        method=baseline.name(),
        summary=baseline.describe(kind.row_kind),
        task=kind.name.replace("-", " "),
        version=result.versions["finewright"],
        trained=trained,
        reads=examples.table_row,
        texts=examples.as_list,
        labels=f"| labels | {', '.join(model.labels)} |\n" if model.labels else "",
        parameters=result.trainable_parameters,
        metric=metric.name,
        measured=describe_measured(result, metric),
        intervals=number_card.describe_intervals(folder),
    )
    files.write_atomic(folder / CARD_FILE, text)
