"""What a run leaves behind: the model folder with its card, the predictions, the summary."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finewright import disk, hardware, provenance, shapes
from finewright.data import Dataset
from finewright.errors import ExitCode, UserError
from finewright.hub import Source
from finewright.methods.base import AbstractMethod
from finewright.tuned import Origin, Tuned

_CARD_FILE = "README.md"
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


def save_model(folder: Path, *, tuned: Tuned, method: AbstractMethod, origin: Origin, source: Source) -> None:
    """Weights or adapter, config, tokenizer; for an adapter also which base it belongs to."""
    folder.mkdir(parents=True, exist_ok=True)
    with shapes.quiet():
        method.save(tuned, folder)
    if origin.tokenizer.pad_token is None and origin.tokenizer.eos_token is not None:
        origin.tokenizer.pad_token = origin.tokenizer.eos_token
    origin.tokenizer.padding_side = "right"
    origin.tokenizer.save_pretrained(folder)
    if method.saves == "adapter":
        provenance.write(folder, source)


def write_card(folder: Path, *, result: dict[str, Any], method: AbstractMethod, tuned: Tuned, origin: Origin) -> None:
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
    test = result["metrics"].get("test")
    low, high = test["accuracy_ci95"] if test else (0.0, 0.0)
    notes = [method.card_note] if method.card_note else []
    loading = _LOADING_PACKED if method.quantization() else _LOADING_ADAPTER if adapter else _LOADING_MODEL
    if tuned.anatomy.pool == "last":
        notes.append(_PAD_NOTE.format(pad=tuned.network.config.pad_token_id))
    text = _CARD.format(
        front=f"---\n{front.to_yaml()}\n---",
        title=f"{Path(origin.name).name}, {method.name()}",
        base=origin.name if is_hub_id else Path(origin.name).name,
        method=method.name(),
        summary=method.summary,
        version=result["versions"]["finewright"],
        labels=", ".join(tuned.network.config.id2label.values()),
        trainable=result["trainable_parameters"],
        total=result["total_parameters"],
        share=result["trainable_fraction"],
        accuracy=f"{test['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%}, {test['num_rows']} rows)"
        if test
        else "no test",
        loading=loading.replace("{base}", origin.name if is_hub_id else "path/to/the/base"),
        note="\n".join(notes),
    )
    disk.write_whole(folder / _CARD_FILE, text)


def fingerprints(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a model folder but its card, by name."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: disk.sha256(folder / name) for name in names if name != _CARD_FILE}


def require_whole(folder: Path, files: Mapping[str, str]) -> None:
    """Files of a model folder that are missing or not what was proven are a `UserError`: they would predict something else."""
    damaged = [name for name, digest in files.items() if not (folder / name).is_file() or disk.sha256(folder / name) != digest]
    if damaged:
        what = f"{', '.join(damaged)}: missing, or not what was saved and proven"
        raise UserError(what, where=str(folder), fix="bring it back, or train again", code=ExitCode.MISMATCH)


def artifact_bytes(folder: Path) -> int:
    """Size of the weights a user would pass on, in bytes."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def describe_machine(machine: hardware.Hardware) -> dict[str, Any]:
    """The part of a summary that says where it was made."""
    return {
        "versions": hardware.versions(),
        "git": hardware.git_state(),
        "hardware": {
            "device": machine.device,
            "name": machine.device_name,
            "cpu_count": machine.cpu_count,
            "memory_bytes": machine.memory_bytes,
        },
    }


def probes(dataset: Dataset) -> list[str]:
    """Texts for the proof: of the first split that has rows."""
    return [row.text for row in dataset.test or dataset.validation or dataset.train]
