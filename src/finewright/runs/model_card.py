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
from finewright.runs import language_model_card
from finewright.runs.calibration import describe_temperature, read_calibration
from finewright.runs.lineage import describe_lineage
from finewright.runs.number_card import describe_numbers
from finewright.runs.schema import RunResult
from finewright.runs.thresholds import describe_for_card
from finewright.tasks.base import Task
from finewright.tasks.card_words import CardWords, ExampleTexts
from finewright.tasks.measures import Metric

if TYPE_CHECKING:
    from finewright.models.prepared import BaseModelRef, PreparedModel

CARD_FILE = "README.md"
_CARD = """{front}
# {title}

{base} fine-tuned for {task} with {method} ({summary}), by Finewright {version}.

| | |
|---|---|
{reads}{labels}| texts | at most {max_length} tokens; {longer} |
| trained parameters | {trainable:,} of {total:,} ({share:.3%}) |
| test {metric} | {measured} |
{start}{compared}{calibration}{lineage}
{loading}
{note}"""

_LOADING_MODEL = """Load it with transformers; {long_texts}:

```python
from transformers import pipeline
folder = "path/to/this/folder"
{pipeline} = pipeline("{pipeline_tag}", model=folder, {pipeline_options})
{pipeline_call}```

or

"""

_LOADING_PLAIN = """```python
from transformers import {auto_model}, AutoTokenizer
folder = "path/to/this/folder"
model = {auto_model}.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
batch = tokenizer({tokenizer_inputs}, padding=True, truncation=True, return_tensors="pt")
{outputs} = model(**batch).logits{index}
```
"""

_LOADING_SENTENCE = """Its head reads {state}, for which transformers has no class, so it is a sentence-transformers model
whose last layer gives {given} (`pip install sentence-transformers{also}`){where_names}:

```python
from sentence_transformers import SentenceTransformer
folder = "path/to/this/folder"
model = SentenceTransformer(folder, device="cpu")
{outputs} = model.encode({texts}, convert_to_tensor=True){index}
{after_encoding}```

{where_base}
"""

_LOADING_ADAPTER = """Load it with PEFT{where_names}; `truncation=True` cuts long texts as they were cut here:

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
batch = tokenizer({tokenizer_inputs}, padding=True, truncation=True, return_tensors="pt")
{outputs} = model(**batch).logits{index}
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
{pipeline} = pipeline("{pipeline_tag}", model=model, tokenizer=folder, {pipeline_options})
{pipeline_call}```

and so does `{peft_auto_model}.from_pretrained(folder, num_labels={num_labels}, pad_token_id={pad})`{without_names}.
"""

_LOADING_PACKED = """Load it with PEFT on the base in four bits, as it was trained
(`pip install bitsandbytes accelerate`){where_names}; `truncation=True` cuts long texts as they were cut here:

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
batch = tokenizer({tokenizer_inputs}, padding=True, truncation=True, return_tensors="pt").to(base.device)
{outputs} = model(**batch).logits{index}
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
    said = describe_numbers(folder), method.card_note, describe_temperature(read_calibration(folder)), describe_for_card(folder)
    notes = [note for note in said if note]
    if prepared_model.architecture.pooling == "last":
        notes.append(_PAD_NOTE.format(pad=config.pad_token_id))
    name = hub_id or Path(origin.name).name
    examples = ExampleTexts(columns.texts if columns.form == "pair" else ())
    loading = _describe_loading(kind, method, prepared_model, name=name, origin=origin, examples=examples)
    text = _CARD.format(
        front=f"---\n{front.to_yaml()}\n---",
        title=f"{Path(origin.name).name}, {method.name()}",
        base=name,
        method=method.name(),
        summary=method.summary,
        version=result.versions["finewright"],
        task=kind.name.replace("-", " "),
        reads=examples.table_row,
        labels=f"| labels | {', '.join(task.labels)} |\n" if task.labels else "",
        max_length=tokenizer.model_max_length,
        longer=language_model_card.describe_long_texts(task.data_options())
        if kind.is_language_model()
        else f"a longer one {_describe_long_text(kind, tokenizer)}",
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
    files.write_atomic(folder / CARD_FILE, text)


def _describe_long_text(kind: type[Task], tokenizer: Any) -> str:
    """Return what becomes of a text that is too long."""
    return kind.card.long_text.format(cut_side="start" if tokenizer.truncation_side == "left" else "end")


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
    kind: type[Task],
    method: Method,
    prepared_model: "PreparedModel",
    *,
    name: str,
    origin: "BaseModelRef",
    examples: ExampleTexts,
) -> str:
    """Return code that loads the model. No path of this machine stands in it: adapter_config.json has the base's place."""
    if kind.auto_model == LANGUAGE_MODEL:
        place = _describe_base_place(name, origin) if method.saves == "adapter" else ""
        return language_model_card.describe_loading(method, origin.tokenizer, where_base=place)
    if not prepared_model.architecture.has_standard_head:
        return _describe_sentence_folder(kind, method, prepared_model, name=name, origin=origin, examples=examples)
    values = _fill_words(kind.card, examples, labels_in=f"{adapter_folder.CONFIG_FOLDER}/")
    values |= {"auto_model": kind.auto_model, "peft_auto_model": kind.auto_model.replace("AutoModel", "AutoPeftModel")}
    options = kind.card.pipeline_options.format(stride=origin.tokenizer.model_max_length // 4)
    values |= {"pipeline_tag": kind.pipeline_tag or "", "pipeline_options": options, "long_texts": kind.card.pipeline_options_do}
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


def _fill_words(words: CardWords, examples: ExampleTexts, *, labels_in: str) -> dict[str, str]:
    """Return what the words of a task give the placeholders of a template. `labels_in`: file or folder with names of labels."""
    return {
        "outputs": words.outputs,
        "index": words.index,
        "given": words.given,
        "after_encoding": words.after_encoding,
        "pipeline": words.pipeline,
        "pipeline_call": examples.call_pipeline(words),
        "tokenizer_inputs": examples.for_tokenizer,
        "texts": examples.as_list,
        "where_names": f". The names of the labels are in `{labels_in}`" if words.names_labels else "",
        "without_names": ", without the names of the labels" if words.names_labels else "",
    }


def _describe_sentence_folder(
    kind: type[Task],
    method: Method,
    prepared_model: "PreparedModel",
    *,
    name: str,
    origin: "BaseModelRef",
    examples: ExampleTexts,
) -> str:
    """Return code that loads a model with a linear head of ours. A base in four bits is loaded in full precision there."""
    adapter = method.saves == "adapter"
    from finewright.models import pooling

    labels_in = f"{adapter_folder.CONFIG_FOLDER}/config.json" if adapter else "config.json"
    values = _fill_words(kind.card, examples, labels_in=labels_in)
    values |= {"state": pooling.describe_state(prepared_model.architecture), "also": " peft" if adapter else ""}
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
