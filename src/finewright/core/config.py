"""Every knob once: default, range and help; filled from TOML, `--set key=value` and keywords."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finewright.core.errors import UserError

DEFAULT_MODEL = "openai-community/gpt2"


class Options(BaseModel):
    """A named group of knobs. Unknown names are refused; values are checked against type and range."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=(), allow_inf_nan=False)


K = TypeVar("K", bound="Options")


def option(default: Any, help: str, *, low: float | None = None, high: float | None = None, flag: str | None = None) -> Any:
    """Declare one knob. `low` and `high` are inclusive; the help line names the unit. `flag`: its name on the command line."""
    extra: Any = {"flag": flag} if flag else None
    return Field(default, description=help, ge=low, le=high, json_schema_extra=extra)


class DataConfig(Options):
    """How rows become texts with labels."""

    text_column: str | None = option(None, "column with the text; guessed when not given", flag="--text-column")
    label_column: str | None = option(None, "column with the label; guessed when not given", flag="--label-column")
    validation_fraction: float = option(
        0.1, "share of rows kept for validation when no validation file is given", low=0, high=0.5
    )
    test_fraction: float = option(0.15, "share of rows kept for the test when no test file is given", low=0, high=0.5)
    split_seed: int = option(0, "seed of the stratified split; apart from the run's seed, so seeds share a split", low=0)
    max_length: int | None = option(
        None, "longest text in tokens; the model's own limit, at most 512, when not given", low=2, flag="--max-length"
    )
    keep_end: bool = option(False, "cut a text that is too long at its start and keep its end")
    drop_bad: bool = option(False, "drop rows without text or label and log them, instead of stopping")
    ignore_unseen: bool = option(False, "leave out evaluation rows whose label never occurs in training")


class TrainingConfig(Options):
    """How the weights are trained."""

    epochs: float | None = option(
        None,
        "passes over the training rows; chosen from the number of steps when not given",
        low=0.01,
        high=1000,
        flag="--epochs",
    )
    max_steps: int = option(0, "stop after this many optimizer steps; 0: no limit", low=0, flag="--max-steps")
    learning_rate: float | None = option(
        None, "peak learning rate; the way's own default when not given", low=1e-12, high=100, flag="--lr"
    )
    tokens_per_micro_batch: int | None = option(
        None, "tokens per forward pass; chosen from the text lengths when not given", low=1, flag="--batch-tokens"
    )
    gradient_accumulation_steps: int = option(1, "forward passes per optimizer step", low=1, high=4096)
    micro_batch_splits: int = option(0, "how often each pass is cut in two: the same updates in less memory", low=0, high=20)
    warmup_ratio: float = option(0.06, "share of the steps in which the learning rate rises", low=0, high=1)
    lr_scheduler: Literal["linear", "cosine", "constant"] = option("linear", "how the learning rate falls after the warm-up")
    weight_decay: float = option(0.01, "AdamW weight decay of matrices; vectors have none", low=0, high=10)
    max_grad_norm: float = option(1.0, "largest norm of the gradient; 0: no clipping", low=0)
    class_weights: Literal["none", "balanced"] = option("none", "balanced: weigh each class by the inverse of its share")
    early_stopping_patience: int = option(
        0, "stop after this many evaluations without improvement; 0: off", low=0, flag="--patience"
    )
    evals_per_epoch: int = option(1, "how often the validation split is looked at", low=1, high=100)
    logging_steps: int = option(10, "optimizer steps between two lines of metrics.jsonl", low=1)
    frozen_layer_cache: Literal["auto", "on", "off"] = option(
        "auto", "run frozen lower blocks once and keep what comes out of them; auto: when texts are read often enough to gain"
    )
    frozen_layer_cache_dtype: Literal["float32", "bfloat16"] = option(
        "float32", "how it is kept; bfloat16: half the room, not exact"
    )
    save_steps: int | None = option(
        None, "optimizer steps between two checkpoints; by time when not given, see docs/reliability.md", low=1
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = option(
        "auto", "compute a block's inner states again on the way back instead of keeping them; auto: when memory is short"
    )
    optimizer: Literal["adamw", "adamw8bit", "paged_adamw8bit"] = option(
        "adamw", "the last two keep their moments in 8 bits, through bitsandbytes", flag="--optimizer"
    )
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "dtype of the matrix products; auto asks the hardware", flag="--precision"
    )
    compile: Literal["off", "on"] = option(
        "off", "compile what is between attention and attention; a start of 20 s or more, for GPUs"
    )
    num_threads: int = option(0, "CPU threads; 0: one per core", low=0, high=1024, flag="--threads")


class RunConfig(Options):
    """All knobs of a run but those of its method, which live in the method's own file."""

    model: str = option(DEFAULT_MODEL, "hub id or local folder of the pre-trained model", flag="--model")
    seed: int = option(0, "seed of the order, the dropout and every new weight", low=0, high=2**31 - 1, flag="--seed")
    memory_budget: str | None = option(
        None, "memory the run may take, such as 8GB; what this machine has free when not given", flag="--budget"
    )
    force: bool = option(False, "train even when the plan says that it does not fit", flag="--force")
    data: DataConfig = Field(default_factory=DataConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as nested dicts; a broken file is a `UserError` with its line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("no such config file", where=str(path), fix="give the path of a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(
            f"not a readable TOML file: {error}", where=str(path), fix="mend that line; `key = value`, text in quotes"
        ) from None


def parse_assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """`["training.learning_rate=1e-4"]` → `{"training": {"learning_rate": 0.0001}}`. Values are TOML; what is no TOML is text."""
    tree: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set wants key=value, found {pair!r}", fix="for instance --set method.rank=8")
        set_option(tree, key.strip(), _toml_value(text.strip()))
    return tree


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def set_option(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Put `value` at a dotted key of a nested dict."""
    *groups, leaf = dotted.split(".")
    for group in groups:
        tree = tree.setdefault(group, {})
        if not isinstance(tree, dict):
            raise UserError(f"{group!r} is a value, not a group of knobs", where=dotted)
    below = tree.get(leaf)
    if isinstance(below, Mapping) != isinstance(value, Mapping) and leaf in tree:
        raise UserError(f"{leaf!r} is given both as a value and as a group of knobs", where=dotted)
    tree[leaf] = merge_options(below or {}, value) if isinstance(value, Mapping) else value


def merge_options(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A nested dict with the values of `over` laid on `base`."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge_options(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def build_options(kind: type[K], values: Mapping[str, Any], *, prefix: str = "") -> K:
    """Check `values` against `kind`. All faults are told at once, each with its key and the way out."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        faults = [_explain(kind, fault, prefix) for fault in error.errors()]
    raise UserError("\n  ".join(faults), fix="`finewright methods` and `finewright options` list every knob")


def _explain(kind: type[Options], fault: Any, prefix: str) -> str:
    key = ".".join([*([prefix] if prefix else []), *(str(part) for part in fault["loc"])])
    if fault["type"] != "extra_forbidden":
        return f"{key} = {fault['input']!r}: {fault['msg']}"
    group: type[BaseModel] = kind
    for part in fault["loc"][:-1]:
        group = group.model_fields[part].annotation  # type: ignore[assignment]
    near = difflib.get_close_matches(str(fault["loc"][-1]), group.model_fields, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(group.model_fields)}"
    return f"{key}: unknown knob; {hint}"


def describe_options(kind: type[Options], *, prefix: str = "") -> list[tuple[str, str, str]]:
    """(dotted name, default, help) of every knob of a group, nested groups included."""
    rows = []
    for name, field in kind.model_fields.items():
        dotted = f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
            rows += describe_options(field.annotation, prefix=f"{dotted}.")
        else:
            rows.append((dotted, _shown(field.default), (field.description or "") + _choices(field.annotation)))
    return rows


def _shown(default: Any) -> str:
    """A default as one would type it."""
    if default is None:
        return "auto"
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(default) if isinstance(default, tuple) else str(default)


def _choices(annotation: Any) -> str:
    return f": {', '.join(map(str, get_args(annotation)))}" if get_origin(annotation) is Literal else ""
