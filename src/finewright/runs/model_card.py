"""The model card of a run's result."""

from pathlib import Path

from finewright import tasks
from finewright.core import files
from finewright.methods.base import Method
from finewright.models.prepared import BaseModelRef, PreparedModel
from finewright.runs.schema import RunResult
from finewright.tasks.base import Metric

CARD_FILE = "README.md"
_CARD = """{front}
# {title}

{base} fine-tuned for {task} with {method} ({summary}), by Finewright {version}.

| | |
|---|---|
| labels | {labels} |
| trained parameters | {trainable:,} of {total:,} ({share:.3%}) |
| test {metric} | {measured} |

{loading}
{note}"""

_LOADING_MODEL = """Load it with transformers:

```python
from transformers import pipeline
classify = pipeline("{pipeline_tag}", model="path/to/this/folder")
```
"""

_LOADING_PLAIN = """Load it with transformers:

```python
from transformers import {auto_model}
model = {auto_model}.from_pretrained("path/to/this/folder")
```
"""

_LOADING_ADAPTER = """Load it with PEFT (the label names are in `config.json` beside the adapter):

```python
from peft import PeftModel
from transformers import AutoConfig, {auto_model}
config = AutoConfig.from_pretrained("path/to/this/folder")
base = {auto_model}.from_pretrained("{base}", config=config)
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```
"""

_LOADING_PACKED = """Load it with PEFT on the base in four bits, as it was trained (`pip install bitsandbytes accelerate`; label
names are in `config.json` beside the adapter):

```python
import json, torch
from peft import PeftModel
from transformers import AutoConfig, {auto_model}, BitsAndBytesConfig
config = AutoConfig.from_pretrained("path/to/this/folder")
how = json.load(open("path/to/this/folder/quantization.json"))
packing = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type=how["kind"],
    bnb_4bit_use_double_quant=how["double"],
    bnb_4bit_compute_dtype=getattr(torch, how["compute_dtype"]),
    llm_int8_skip_modules=how["skip_modules"],
)
base = {auto_model}.from_pretrained("{base}", config=config, quantization_config=packing, device_map="auto")
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```
"""

_PAD_NOTE = """
transformers finds the last token of a padded batch as the last id that is not the padding id ({pad}). A text that itself
ends in that id is read one token short there; Finewright goes by the text's length.
"""


def write_card(folder: Path, *, result: RunResult, method: Method, prepared_model: PreparedModel, origin: BaseModelRef) -> None:
    """README.md of the model folder, with the front matter that hubs read."""
    from huggingface_hub import ModelCardData

    kind, adapter = tasks.get_task(result.task), method.saves == "adapter"
    is_hub_id = not Path(origin.name).is_absolute()
    front = ModelCardData(
        base_model=origin.name if is_hub_id else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=kind.pipeline_tag,
        tags=["finewright", method.name()],
    )
    notes = [method.card_note] if method.card_note else []
    loading = _LOADING_PACKED if method.quantization() else _LOADING_ADAPTER if adapter else _LOADING_MODEL
    loading = loading if adapter or kind.pipeline_tag else _LOADING_PLAIN
    words = {"base": origin.name if is_hub_id else "path/to/the/base", "auto_model": kind.auto_model}
    for name, word in {**words, "pipeline_tag": kind.pipeline_tag or ""}.items():  # the code has braces of its own
        loading = loading.replace(f"{{{name}}}", word)
    if prepared_model.architecture.pooling == "last":
        notes.append(_PAD_NOTE.format(pad=prepared_model.network.config.pad_token_id))
    text = _CARD.format(
        front=f"---\n{front.to_yaml()}\n---",
        title=f"{Path(origin.name).name}, {method.name()}",
        base=origin.name if is_hub_id else Path(origin.name).name,
        method=method.name(),
        summary=method.summary,
        version=result.versions["finewright"],
        task=kind.name.replace("-", " "),
        labels=", ".join(kind.for_saved_model(prepared_model.network.config).labels) or "none",
        trainable=result.trainable_parameters,
        total=result.total_parameters,
        share=result.trainable_fraction,
        metric=kind.metric.name,
        measured=_measured(result, kind.metric),
        loading=loading,
        note="\n".join(notes),
    )
    files.write_atomic(folder / CARD_FILE, text)


def _measured(result: RunResult, metric: Metric) -> str:
    """Return the metric on the test rows in words, with its interval if it has one."""
    if result.metrics.test is None:
        return "no test"
    values = result.metrics.test.model_dump()
    rows = f"{values['num_rows']} rows"
    if interval := values.get(f"{metric.name}_ci95"):
        rows = f"95 % interval {metric.format(interval[0])} to {metric.format(interval[1])}, {rows}"
    return f"{metric.format(values[metric.name])} ({rows})"
