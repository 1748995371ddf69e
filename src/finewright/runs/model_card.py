"""The model card of a run's result."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from finewright import tasks
from finewright.core import files
from finewright.core.units import counted
from finewright.data.columns import NO_COLUMNS, Columns
from finewright.methods.base import Method
from finewright.models import adapter_folder, hub, packages
from finewright.models.head_spec import LANGUAGE_MODEL
from finewright.runs import language_model_card, number_card
from finewright.runs.calibration import describe_temperature, read_calibration
from finewright.runs.lineage import describe_lineage
from finewright.runs.pair_card import describe_for_pairs
from finewright.runs.schema import RunResult
from finewright.runs.thresholds import describe_for_card
from finewright.tasks.base import Metric, Task

if TYPE_CHECKING:
    from finewright.models.prepared import BaseModelRef, PreparedModel

CARD_FILE = "README.md"
_CARD = """{front}
# {title}

{base} fine-tuned for {task} with {method} ({summary}), by Finewright {version}.

| | |
|---|---|
{labels}| texts | at most {max_length} tokens; {longer} |
| trained parameters | {trainable:,} of {total:,} ({share:.3%}) |
| test {metric} | {measured} |
{start}{compared}{calibration}{lineage}
{loading}
{note}"""

_LOADING_MODEL = """Load it with transformers; {long_texts}:

```python
from transformers import pipeline
folder = "path/to/this/folder"
classify = pipeline("{pipeline_tag}", model=folder, {pipeline_options})
```

or

"""

_LOADING_PLAIN = """```python
from transformers import {auto_model}, AutoTokenizer
folder = "path/to/this/folder"
model = {auto_model}.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
batch = tokenizer(["a text", "another"], padding=True, truncation=True, return_tensors="pt")
scores = model(**batch).logits
```
"""

_LOADING_SENTENCE = """Its head reads {state}, for which transformers has no class, so it is a sentence-transformers model
whose last layer gives the scores (`pip install sentence-transformers{also}`). The names of the labels are in `{config}`:

```python
from sentence_transformers import SentenceTransformer
folder = "path/to/this/folder"
model = SentenceTransformer(folder, device="cpu")
scores = model.encode(["a text", "another"], convert_to_tensor=True)
probabilities = scores.softmax(dim=1)
```

{where_base}
"""

_LOADING_ADAPTER = """Load it with PEFT. The names of the labels are in `base_config/`; `truncation=True` cuts long texts as they
were cut here:

```python
from peft import PeftConfig, PeftModel
from transformers import AutoConfig, {auto_model}, AutoTokenizer
folder = "path/to/this/folder"
adapter = PeftConfig.from_pretrained(folder)
config = AutoConfig.from_pretrained(f"{folder}/base_config")
base = {auto_model}.from_pretrained(
    adapter.base_model_name_or_path, revision=adapter.revision, config=config
)
model = PeftModel.from_pretrained(base, folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
batch = tokenizer(["a text", "another"], padding=True, truncation=True, return_tensors="pt")
scores = model(**batch).logits
```

{where_base}
"""

_PATH_NOTE = """
PEFT finds a base that is not on the hub by its folder alone, so the entry `base_model_name_or_path` there is an absolute path of
the machine that trained the adapter. On another machine replace it with the path of the base there; replace it too before you
publish the adapter if the path is private."""

_LOADING_IN_PIPELINE = """
With PEFT installed transformers loads the adapter too:

```python
from transformers import AutoConfig, {auto_model}, pipeline
folder = "path/to/this/folder"
config = AutoConfig.from_pretrained(f"{folder}/base_config")
model = {auto_model}.from_pretrained(folder, config=config)
classify = pipeline("{pipeline_tag}", model=model, tokenizer=folder, {pipeline_options})
```

and so does `{peft_auto_model}.from_pretrained(folder, num_labels={num_labels}, pad_token_id={pad})`, without
the names of the labels.
"""

_LOADING_PACKED = """Load it with PEFT on the base in four bits, as it was trained (`pip install bitsandbytes accelerate`). The
names of the labels are in `base_config/`; `truncation=True` cuts long texts as they were cut here:

```python
import json, pathlib, torch
from peft import PeftConfig, PeftModel
from transformers import AutoConfig, {auto_model}, AutoTokenizer, BitsAndBytesConfig
folder = "path/to/this/folder"
adapter = PeftConfig.from_pretrained(folder)
config = AutoConfig.from_pretrained(f"{folder}/base_config")
{packing}base = {auto_model}.from_pretrained(
    adapter.base_model_name_or_path,
    revision=adapter.revision,
    config=config,
    dtype=torch.float32,
    quantization_config=packing,
    device_map="auto",
)
model = PeftModel.from_pretrained(base, folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
batch = tokenizer(["a text", "another"], padding=True, truncation=True, return_tensors="pt").to(base.device)
scores = model(**batch).logits
```

{where_base}
"""

_PAD_NOTE = """
transformers finds the last token of a padded batch as the last id that is not the padding id ({pad}). A text that itself
ends in that id is read one token short there; Finewright goes by the text's length.
"""


def write_card(  # noqa: PLR0913  all that a card tells of
    folder: Path,
    *,
    result: RunResult,
    method: Method,
    task: Task,
    prepared_model: "PreparedModel",
    origin: "BaseModelRef",
    columns: Columns = NO_COLUMNS,
) -> None:
    """README.md of the model folder, with the front matter that hubs read. `columns`: of the training rows."""
    from huggingface_hub import ModelCardData

    kind, adapter = tasks.get_task(result.task), method.saves == "adapter"
    standard = prepared_model.architecture.has_standard_head
    hub_id = origin.name if origin.revision else None
    front = ModelCardData(
        base_model=hub_id,
        library_name=_name_library(prepared_model, adapter=adapter),
        pipeline_tag=kind.pipeline_tag if standard else None,
        tags=["finewright", method.name()],
    )
    config, tokenizer = prepared_model.network.config, origin.tokenizer
    task = kind.for_saved_model(config)
    notes = [method.card_note] if method.card_note else []
    notes += [note] if (note := describe_temperature(read_calibration(folder))) else []
    notes += [note] if (note := describe_for_card(folder)) else []
    if prepared_model.architecture.pooling == "last":
        notes.append(_PAD_NOTE.format(pad=config.pad_token_id))
    name = hub_id or Path(origin.name).name
    loading = _describe_loading(kind, method, prepared_model, name=name, origin=origin)
    if kind.scales_head:
        loading = number_card.adapt_loading(loading)
        notes.insert(0, number_card.describe_numbers(folder))
    text = _CARD.format(
        front=f"---\n{front.to_yaml()}\n---",
        title=f"{Path(origin.name).name}, {method.name()}",
        base=name,
        method=method.name(),
        summary=method.summary,
        version=result.versions["finewright"],
        task=kind.name.replace("-", " "),
        labels=f"| labels | {', '.join(task.labels)} |\n" if task.labels else "",
        max_length=tokenizer.model_max_length,
        longer=language_model_card.describe_long_texts(task.data_options())
        if kind.is_language_model()
        else f"a longer one {_describe_long_texts(kind, tokenizer)}",
        trainable=result.trainable_parameters,
        total=result.total_parameters,
        share=result.trainable_fraction,
        metric=task.metric.name,
        measured=describe_measured(result, task.metric),
        start=describe_start(result, task.metric),
        compared=describe_compared(result, kind),
        lineage=describe_lineage(result.lineage),
        calibration=f"| calibration error | {result.calibration.describe()} |\n" if result.calibration else "",
        loading=loading,
        note="\n".join(notes),
    )
    text = describe_for_pairs(text, columns.texts) if columns.form == "pair" else text
    files.write_atomic(folder / CARD_FILE, text)


def _describe_long_texts(kind: type[Task], tokenizer: Any) -> str:
    """Return what becomes of a text that is too long."""
    if kind.reads == "every-token":
        return "is read in overlapping windows"
    return f"loses its {'start' if tokenizer.truncation_side == 'left' else 'end'}"


def _name_library(prepared_model: "PreparedModel", *, adapter: bool) -> str:
    """Return the library that loads the folder, as hubs name it."""
    if not prepared_model.architecture.has_standard_head:
        return "sentence-transformers"
    return "peft" if adapter else "transformers"


def describe_measured(result: RunResult, metric: Metric) -> str:
    """Return the metric on the test rows in words, with its interval if it has one."""
    if result.metrics.test is None:
        return "no test"
    values = result.metrics.test.model_dump()
    rows = counted(values["num_rows"], "row")
    if interval := values.get(f"{metric.name}_ci95"):
        rows = f"95% interval {metric.format(interval[0])} to {metric.format(interval[1])}, {rows}"
    return f"{metric.format(values[metric.name])} ({rows})"


def describe_start(result: RunResult, metric: Metric) -> str:
    """Return the line of the table about the head's start: the metric of the frozen features on the test rows; empty if none."""
    kept = ", kept: no update made it better on validation" if result.best_step == 0 else ""
    if result.untuned is not None and result.untuned.metrics.test is not None:
        value = metric.format(result.untuned.metrics.test.model_dump()[metric.name])
        return f"| before fine-tuning | {value}{kept} |\n"
    if result.probe is None or result.probe.metrics.test is None:
        return ""
    value = metric.format(result.probe.metrics.test.model_dump()[metric.name])
    return f"| before fine-tuning | {value}: a regression on the frozen features{kept} |\n"


def describe_compared(result: RunResult, kind: type[Task]) -> str:
    """Return the line of the table about what models of the task are compared by, before training too; empty if it is there."""
    measured = {} if result.metrics.test is None else result.metrics.test.model_dump()
    metric, value = kind.compared_metric(measured), kind.compared_value(measured)
    if value is None or metric.name == kind.metric.name:
        return ""
    untuned = {} if result.untuned is None or result.untuned.metrics.test is None else result.untuned.metrics.test.model_dump()
    before = kind.compared_value(untuned)
    known = "" if before is None else f" (before fine-tuning {metric.format(before)})"
    return f"| test {metric.title} | {metric.format(value)}{known} |\n"


def _describe_loading(
    kind: type[Task], method: Method, prepared_model: "PreparedModel", *, name: str, origin: "BaseModelRef"
) -> str:
    """Return code that loads the model. No path of this machine stands in it: adapter_config.json has the base's place."""
    values = {"auto_model": kind.auto_model, "peft_auto_model": kind.auto_model.replace("AutoModel", "AutoPeftModel")}
    values["pipeline_tag"] = kind.pipeline_tag or ""
    values["pipeline_options"], values["long_texts"] = (
        "truncation=True",
        "`truncation=True` cuts long texts as they were cut here",
    )
    if kind.reads == "every-token":
        values["pipeline_options"] = f'aggregation_strategy="first", stride={origin.tokenizer.model_max_length // 4}'
        values["long_texts"] = "`stride` lets windows of a long text overlap, as they do here"
    if kind.auto_model == LANGUAGE_MODEL:
        place = _describe_base_place(name, origin) if method.saves == "adapter" else ""
        return language_model_card.describe_loading(method, origin.tokenizer, where_base=place)
    if not prepared_model.architecture.has_standard_head:
        return _describe_sentence_folder(method, prepared_model, name=name, origin=origin)
    if method.saves != "adapter":
        return _fill((_LOADING_MODEL if kind.pipeline_tag else "") + _LOADING_PLAIN, values)
    values["where_base"] = _HEAD_NOTE + _describe_base_place(name, origin)
    config = prepared_model.network.config
    loading = _LOADING_PACKED if method.quantization() else _LOADING_ADAPTER
    values["packing"] = language_model_card.PACKING
    if prepared_model.prompt is None and not method.quantization() and kind.pipeline_tag:
        loading += _LOADING_IN_PIPELINE
    values |= {"num_labels": str(len(config.id2label)), "pad": str(config.pad_token_id)}
    return _fill(loading, values)


def _describe_sentence_folder(method: Method, prepared_model: "PreparedModel", *, name: str, origin: "BaseModelRef") -> str:
    """Return code that loads a model with a linear head of ours. A base in four bits is loaded in full precision there."""
    adapter = method.saves == "adapter"
    from finewright.models import pooling

    values = {"state": pooling.describe_state(prepared_model.architecture), "also": " peft" if adapter else ""}
    values["config"] = f"{adapter_folder.CONFIG_FOLDER}/config.json" if adapter else "config.json"
    values["where_base"] = _describe_base_place(name, origin) if adapter else ""
    return _fill(_LOADING_SENTENCE, values)


_HEAD_NOTE = """When transformers loads the base it reports the weights of the head as missing; PEFT then loads them with the
adapter.

"""


def _describe_base_place(name: str, origin: "BaseModelRef") -> str:
    """Say where the base of an adapter is, and that a folder's path in adapter_config.json is one of this machine."""
    here = "`adapter_config.json` says where the base"
    if origin.revision:
        return f"{here} is: `{name}` on the hub, at the commit it had."
    if origin.name == hub.EMBEDDED:
        where_base = f"{here} is: `{name}`, in the folder `assets/models/{name}` of the installed package `finewright`."
    elif origin.name.startswith(packages.PREFIX):
        distribution = origin.name.removeprefix(packages.PREFIX).partition("/")[0]
        where_base = f"{here}, `{name}`, lay when the adapter was trained: a model of the Python distribution `{distribution}`."
    elif origin.name.lower().endswith(".gguf"):
        where_base = f"{here} lay when the adapter was trained: a folder that finewright made of `{name}`."
    else:
        where_base = f"{here}, `{name}`, lay when the adapter was trained."
    return where_base + _PATH_NOTE


def _fill(text: str, values: dict[str, str]) -> str:
    """Return the text with every `{name}` replaced; the code in it has braces of its own."""
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", value)
    return text
