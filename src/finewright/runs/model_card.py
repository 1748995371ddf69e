"""The model card of a run's result."""

from pathlib import Path

from finewright.core import files
from finewright.methods.base import Method
from finewright.models.prepared import BaseModelRef, PreparedModel
from finewright.runs.schema import RunResult

CARD_FILE = "README.md"
_CARD = """{front}
# {title}

{base} fine-tuned for text classification with {method} ({summary}), by Finewright {version}.

| | |
|---|---|
| labels | {labels} |
| trained parameters | {trainable:,} of {total:,} ({share:.3%}) |
| test accuracy | {accuracy} |

{loading}
{note}"""

_LOADING_MODEL = """Load it with transformers:

```python
from transformers import pipeline
classify = pipeline("text-classification", model="path/to/this/folder")
```
"""

_LOADING_ADAPTER = """Load it with PEFT (the label names are in `config.json` beside the adapter):

```python
from peft import PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification
config = AutoConfig.from_pretrained("path/to/this/folder")
base = AutoModelForSequenceClassification.from_pretrained("{base}", config=config)
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```
"""

_LOADING_PACKED = """Load it with PEFT on the base in four bits, as it was trained (`pip install bitsandbytes accelerate`; label
names are in `config.json` beside the adapter):

```python
import json, torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification, BitsAndBytesConfig
config = AutoConfig.from_pretrained("path/to/this/folder")
how = json.load(open("path/to/this/folder/quantization.json"))
packing = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type=how["kind"],
    bnb_4bit_use_double_quant=how["double"],
    bnb_4bit_compute_dtype=getattr(torch, how["compute_dtype"]),
    llm_int8_skip_modules=how["skip_modules"],
)
base = AutoModelForSequenceClassification.from_pretrained("{base}", config=config, quantization_config=packing, device_map="auto")
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

    adapter = method.saves == "adapter"
    is_hub_id = not Path(origin.name).is_absolute()
    front = ModelCardData(
        base_model=origin.name if is_hub_id else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-classification",
        tags=["finewright", method.name()],
    )
    test = result.metrics.test
    low, high = test.accuracy_ci95 if test else (0.0, 0.0)
    notes = [method.card_note] if method.card_note else []
    loading = _LOADING_PACKED if method.quantization() else _LOADING_ADAPTER if adapter else _LOADING_MODEL
    if prepared_model.architecture.pooling == "last":
        notes.append(_PAD_NOTE.format(pad=prepared_model.network.config.pad_token_id))
    text = _CARD.format(
        front=f"---\n{front.to_yaml()}\n---",
        title=f"{Path(origin.name).name}, {method.name()}",
        base=origin.name if is_hub_id else Path(origin.name).name,
        method=method.name(),
        summary=method.summary,
        version=result.versions["finewright"],
        labels=", ".join(prepared_model.network.config.id2label.values()),
        trainable=result.trainable_parameters,
        total=result.total_parameters,
        share=result.trainable_fraction,
        accuracy=f"{test.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}, {test.num_rows} rows)" if test else "no test",
        loading=loading.replace("{base}", origin.name if is_hub_id else "path/to/the/base"),
        note="\n".join(notes),
    )
    files.write_atomic(folder / CARD_FILE, text)
