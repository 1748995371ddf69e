"""Every option, declared once with default, range and help; filled from TOML, `--set key=value` and keywords."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, ValidationError

from finewright.core.errors import UserError
from finewright.core.option_groups import (
    EXPLAINED_LATER,
    Options,
    build_options,
    describe_options,
    find_field,
    option,
    resolve_names,
)
from finewright.core.option_text import OUT_OF_RANGE, describe_range
from finewright.core.option_trees import first_leaf, merge_options, read_toml, read_value, set_option

__all__ = [
    "AUTO_MODEL",
    "AUTO_TASK",
    "DEFAULT_TASK",
    "FILE_OPTIONS",
    "OUT_OF_RANGE",
    "DataConfig",
    "Options",
    "RunConfig",
    "TrainingConfig",
    "WantedPooling",
    "build_options",
    "check_given_once",
    "describe_options",
    "describe_range",
    "find_field",
    "merge_options",
    "option",
    "parse_assignments",
    "read_toml",
    "resolve_names",
    "set_option",
]

AUTO_MODEL = "auto"
"""The best model that is at hand; see `models.default_model`."""
DEFAULT_TASK = "text-classification"
AUTO_TASK = "auto"
"""The task that the columns of the data are for."""


WantedPooling = Literal["auto", "standard", "last", "first", "mean", "pooler"]
"""A state that a head can read: of the `last` or `first` token, the `mean` of all, the one that the architecture's own class
reads (`standard`; `pooler` where that is a pooler), or the one that the model was trained for (`auto`)."""


class DataConfig(Options):
    """How rows become texts with labels."""

    text_column: str | tuple[str, ...] | None = option(
        None, "column with the text, by name or number; may be given several times; guessed when not given", flag="--text-column"
    )
    text_columns_as: Literal["auto", "joined", "named", "pair"] = option(
        "auto", "several text columns: joined; named: joined, with names; a pair; auto: by their names", flag="--text-columns-as"
    )
    label_column: str | None = option(
        None, "column with the label, by name or number; guessed when not given", flag="--label-column"
    )
    label_separator: str | None = option(
        None, "what stands between several labels in one cell, such as | or ;; found out when not given", flag="--label-separator"
    )
    text_separator: str = option("\n", "what stands between the texts of several text columns")
    format: str | None = option(
        None, "format of the file, such as csv; its name or else its content tells it when not given", flag="--format"
    )
    encoding: str | None = option(None, "encoding of the file, such as windows-1252; found out when not given", flag="--encoding")
    no_header: bool = option(
        False, "the first line is a row, not the names of the columns; they are called by number", flag="--no-header"
    )
    validation_fraction: float | None = option(
        None,
        "share of rows kept for validation without a validation file; when not given a tenth, or none if that would be few rows",
        low=0,
        high=0.5,
    )
    test_fraction: float = option(0.15, "share of rows kept for the test when no test file is given", low=0, high=0.5)
    split_seed: int = option(0, "seed of the stratified split; apart from the run's seed, so seeds share a split", low=0)
    max_length: int | None = option(
        None,
        "longest text in tokens; the model's own limit or the task's default, the lower one, when not given",
        low=2,
        flag="--max-length",
    )
    truncation_side: Literal["right", "left"] = option(
        "right", "the side on which a text that is too long is cut; right keeps its start, left its end"
    )
    decimal: Literal["auto", "point", "comma"] = option("auto", "sign that begins the decimals of numbers written as text")
    skip_invalid_rows: bool = option(False, "skip rows without text or label and log them, instead of stopping")
    drop_unseen_labels: bool = option(False, "leave out evaluation rows whose label never occurs in training")
    merge_similar_labels: bool = option(
        False, "make one label of those that differ only by case, spaces, or how an accent or number is written"
    )
    prompt_column: str | None = option(None, "column with the prompt; guessed when not given", flag="--prompt-column")
    answer_column: str | None = option(None, "column with the answer; guessed when not given", flag="--answer-column")
    system_prompt: str | None = option(None, "system message of conversations that have none of their own")
    chat_template: str | None = option(None, "how messages become one text: chatml, plain, …; the model's own when not given")
    trained_tokens: Literal["answers", "last-answer", "all"] = option("answers", "what of a conversation is learnt")
    over_long: Literal["drop", "cut-prompt"] = option(
        "drop", "what becomes of a conversation that is longer than data.max_length"
    )


FILE_OPTIONS = (
    *("text_column", "text_columns_as", "label_column", "label_separator", "text_separator", "format", "encoding", "no_header"),
    *("skip_invalid_rows", "drop_unseen_labels", "merge_similar_labels", "prompt_column", "answer_column", "system_prompt"),
    "decimal",
)
"""Options of data that say how a file is read; they do not apply to rows that were read from it and written by us."""


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
        None, "peak learning rate; the method's own default when not given", low=1e-12, high=100, flag="--lr"
    )
    pooling: WantedPooling = option(
        "auto",
        "the state of a text that the head reads; auto: what the model was trained for; standard: what the architecture's own "
        "class of transformers reads",
        flag="--pooling",
    )
    num_generated: int | None = option(
        None,
        "test prompts that a language model answers before and after training, so that its answers are measured; 0: none; "
        "as many as take little time, at most 100, when not given",
        low=0,
    )
    label_smoothing: float = option(
        0.0,
        "share of each answer token's probability that the loss spreads over the vocabulary; language models only",
        low=0,
        high=0.9,
    )
    embedding_noise: float = option(
        0.0, "alpha of NEFTune's noise on the embeddings in training, usually 5; language models only; 0: none", low=0, high=100
    )
    tokens_per_micro_batch: int | None = option(
        None, "tokens per forward pass; chosen from the text lengths when not given", low=1, flag="--batch-tokens"
    )
    gradient_accumulation_steps: int = option(1, "forward passes per optimizer step", low=1, high=4096)
    micro_batch_splits: int = option(
        0, "how often each micro-batch is split in two: the same updates in less memory", low=0, high=20
    )
    warmup_ratio: float = option(0.06, "share of the steps in which the learning rate rises", low=0, high=1)
    lr_scheduler: Literal["linear", "cosine", "constant"] = option("linear", "how the learning rate falls after the warm-up")
    weight_decay: float = option(0.01, "AdamW weight decay of matrices; vectors have none", low=0, high=10)
    max_grad_norm: float = option(1.0, "largest norm of the gradient; 0: no clipping", low=0)
    class_weights: Literal["none", "balanced"] = option("none", "balanced: weigh each class by the inverse of its share")
    head_start: Literal["auto", "probe", "random"] = option(
        "auto",
        "first weights of a new head; probe: those of a regression on the features that the model has before it is trained; "
        "auto: probe for pre-trained weights",
    )
    early_stopping_patience: int | None = option(
        None,
        "stop after this many evaluations without improvement; 0: never; those of three epochs when not given",
        low=0,
        flag="--patience",
    )
    evals_per_epoch: int = option(1, "evaluations of the validation split per epoch", low=1, high=100)
    logging_steps: int = option(10, "optimizer steps between two lines of metrics.jsonl", low=1)
    frozen_layer_cache: Literal["auto", "on", "off"] = option(
        "auto", "run the frozen lower layers once and cache their outputs; auto: when texts are read often enough to gain"
    )
    frozen_layer_cache_dtype: Literal["float32", "bfloat16"] = option(
        "float32", "dtype of the cached outputs; bfloat16: half the space, not exact"
    )
    save_steps: int | None = option(
        None,
        "optimizer steps between two checkpoints; by time when not given, see docs/explanation/checkpoints-and-resume.md",
        low=1,
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = option(
        "auto", "recompute a layer's activations in the backward pass instead of storing them; auto: when memory is short"
    )
    optimizer: Literal["adamw", "adamw8bit", "paged_adamw8bit"] = option(
        "adamw", "the last two store their moments in 8 bits, through bitsandbytes", flag="--optimizer"
    )
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "dtype of the matrix products; auto asks the hardware", flag="--precision"
    )
    compile: Literal["off", "on"] = option(
        "off", "compile the layers between the attention calls; starts 20 s or more later, for GPUs"
    )
    calibrate: Literal["auto", "on", "off"] = option(
        "auto", "fit a temperature for confidences on the validation rows; auto: where these are enough"
    )
    baselines: Literal["auto", "off"] = option(
        "auto",
        "fit a bag of words beside the run to compare its result with; auto: on small data alone; off: neither that, nor the "
        "untrained language model",
    )
    num_threads: int = option(0, "CPU threads; 0: one per core that this process may use", low=0, high=1024, flag="--threads")


class PreferenceConfig(Options):
    """What is learnt from pairs of answers, or from answers that were judged."""

    loss: Literal["dpo", "ipo", "orpo", "kto", "simpo"] | None = option(
        None, "loss of preference tuning; dpo for pairs, kto for answers that were judged one by one, when not given"
    )
    beta: float | None = option(
        None,
        "how strongly log-probabilities count; the larger, the nearer a tuned model stays to the untrained one; by the loss when "
        "not given",
        low=1e-6,
        high=1000,
    )
    label_smoothing: float | None = option(
        None, "share of pairs that are taken to be the wrong way round; dpo only", low=0, high=0.499
    )
    nll_weight: float | None = option(
        None, "weight of the loss of the chosen answer's tokens that is added; dpo, ipo, orpo and simpo", low=0, high=1000
    )
    gamma: float | None = option(None, "margin by which the chosen answer shall be better; simpo only", low=0, high=1000)
    desirable_weight: float | None = option(None, "weight of wanted answers; kto only", low=0, high=1000)
    undesirable_weight: float | None = option(None, "weight of unwanted answers; kto only", low=0, high=1000)


class RunConfig(Options):
    """All options of a run but those of its method, which live in the method's own file."""

    model: str = option(
        AUTO_MODEL, "hub id, folder, .gguf file or package:NAME of the pre-trained model; auto: the best at hand", flag="--model"
    )
    task: str = option(
        AUTO_TASK, "what is learnt, by its name in `finewright tasks`; auto: what the columns are for", flag="--task"
    )
    seed: int = option(
        0, "seed of the order of the rows, of dropout and of every new weight", low=0, high=2**31 - 1, flag="--seed"
    )
    memory_budget: str | None = option(
        None, "memory the run may take, such as 8GB; what this machine has free when not given", flag="--budget"
    )
    force: bool = option(False, "train even when the plan does not fit, or labels look wrong", flag="--force")
    data: DataConfig = Field(default_factory=DataConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    preference: PreferenceConfig = Field(default_factory=PreferenceConfig)


def parse_assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """`["training.learning_rate=1e-4"]` → `{"training": {"learning_rate": 0.0001}}`. A value that is not TOML is text."""
    tree: dict[str, Any] = {}
    known: dict[str, tuple[Any, str]] = {}
    for pair in pairs:
        key, equals, text = (part.strip() for part in pair.partition("="))
        if not equals or not key:
            raise UserError(f"wanted key=value after --set, found {pair!r}", fix="for instance --set method.rank=8")
        value = read_value(text)
        check_given_once(known, key, value, shown=pair)
        set_option(tree, key, value)
    return tree


def check_given_once(known: dict[str, tuple[Any, str]], key: str, value: Any, *, shown: str) -> None:
    """Add an option to those that were given; raise `UserError` if it was given with another value. `shown`: as it was typed.

    Values are compared as the option takes them: text that is a number equals it, a list of one element equals the element.
    """
    value = _as_taken(key, value)
    before, other = known.setdefault(key, (value, shown))
    if before is not value and before != value:  # `nan` differs from itself
        raise UserError(f"{other} and {shown} give one option two values", where=key, fix="give one of them")


def _as_taken(key: str, value: Any) -> Any:
    """Return what an option makes of a value; the value itself if no option has this name, or does not take it."""
    tree: dict[str, Any] = {}
    try:
        set_option(tree, key, value)
        taken: Any = RunConfig.model_validate(resolve_names(RunConfig, tree), context=EXPLAINED_LATER)
        for part in first_leaf(resolve_names(RunConfig, tree)):
            taken = getattr(taken, part)
    except (UserError, ValidationError):
        taken = value
    return taken[0] if isinstance(taken, list | tuple) and len(taken) == 1 else taken
