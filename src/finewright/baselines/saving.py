"""The files of a saved baseline: `baseline.json` for names and settings, `baseline.safetensors` for numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finewright.core import files
from finewright.core.errors import ExitCode, UserError

if TYPE_CHECKING:
    import numpy as np

SETTINGS_FILE, TENSORS_FILE = "baseline.json", "baseline.safetensors"
SCHEMA_VERSION = 1
NUMBERS_VERSION = 2
"""Of a regression of numbers, and of tags of words, which programs of the first version cannot read."""
TOKEN_PATTERN = r"(?u)\b\w+\b"
"""What a word is. A saved model may have no other: a pattern from a file could run for ever."""

WORDS_AROUND: Literal[2] = 2
"""Words on each side that a regression on words reads."""
LONGEST_AFFIX: Literal[3] = 3
"""Characters of the longest beginning and end that it reads."""


class SavedBaseline(BaseModel):
    """baseline.json of any baseline.

    `labels`: in the order of the scores; none where numbers are predicted. `classes`: indices of the labels that the training
    rows have, ascending; the rest have a probability of 0. `one_vs_rest`: there is a regression for each label. `C`:
    scikit-learn's, the inverse of the regularisation. `std`: standard deviation of the training numbers.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, protected_namespaces=())
    newest: ClassVar[int] = NUMBERS_VERSION

    schema_version: int = SCHEMA_VERSION
    task: str
    labels: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    one_vs_rest: bool = False
    C: float = Field(gt=0)
    std: float | None = Field(None, gt=0)

    @property
    def has_numbers(self) -> bool:
        """Whether numbers are predicted, and no labels."""
        return self.std is not None

    @property
    def num_rows(self) -> int:
        """Rows of coefficients: two labels need one."""
        if self.has_numbers or (len(self.classes) == 2 and not self.one_vs_rest):
            return 1
        return len(self.classes)

    def find_fault(self) -> str:
        """Return what does not belong together; empty if all does."""
        if self.has_numbers:
            return "a regression of numbers has no labels" if self.labels or self.classes or self.one_vs_rest else ""
        if not self.labels or not self.classes:
            return "labels, classes: wanted at least 1"
        known = sorted(set(self.classes)) == list(self.classes) and self.classes[0] >= 0
        if not known or self.classes[-1] >= len(self.labels) or len(set(self.labels)) != len(self.labels):
            return "labels and classes do not belong together"
        return "classes: wanted at least 2" if len(self.classes) < 2 and not self.one_vs_rest else ""


class SavedBagOfWords(SavedBaseline):
    """baseline.json of a bag of words. `vocabulary`: words and phrases in the order of the columns of the coefficients.

    `pairs`: it reads pairs of texts; its terms then say whose word each is.
    """

    kind: Literal["bag-of-words"] = "bag-of-words"
    lowercase: Literal[True] = True
    token_pattern: Literal["(?u)\\b\\w+\\b"] = TOKEN_PATTERN
    max_ngram: int = Field(ge=1, le=5)
    sublinear_tf: Literal[True] = True
    norm: Literal["l2"] = "l2"
    pairs: bool = False
    vocabulary: list[str] = Field(min_length=1)


class SavedWordWindow(SavedBaseline):
    """baseline.json of a regression on words. `labels`: the tags. `vocabulary`: its features in the order of the columns."""

    schema_version: int = NUMBERS_VERSION
    kind: Literal["bag-of-words"] = "bag-of-words"
    of_words: Literal[True] = True
    around: Literal[2] = WORDS_AROUND
    longest_affix: Literal[3] = LONGEST_AFFIX
    vocabulary: list[str] = Field(min_length=1)


class SavedBase(BaseModel):
    """The frozen model. `files`: SHA-256 of its weights, its config and its tokenizer, by name."""

    name: str
    revision: str = ""
    place: str = ""
    """Its folder, if it has no name that is found anywhere."""
    files: dict[str, str]


class SavedFrozenFeatures(SavedBaseline):
    """baseline.json of frozen features. `max_length`: tokens of a text that are read.

    `state`: which hidden state is read; `apart`: the mean states of both texts of a pair, each read alone, compared.
    """

    kind: Literal["frozen-features"] = "frozen-features"
    base: SavedBase
    state: Literal["head", "mean", "apart"]
    max_length: int = Field(ge=1)
    truncation_side: Literal["right", "left"]
    precision: Literal["float32", "bfloat16"]
    base_parameters: int = Field(ge=1)


S = TypeVar("S", bound=SavedBaseline)


def write(folder: Path, settings: SavedBaseline, tensors: "Mapping[str, np.ndarray]") -> None:
    """Write both files into a folder that is a draft of the whole."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(settings.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)
    files.write_atomic(folder / SETTINGS_FILE, text + "\n")
    save_file(dict(tensors), folder / TENSORS_FILE)


def is_baseline(folder: Path) -> bool:
    """Whether a model folder holds a baseline."""
    return (folder / SETTINGS_FILE).is_file()


def read_kind(folder: Path, *, known: Sequence[str]) -> str:
    """Return which baseline a folder holds. Raise `UserError` if it is none of `known`."""
    kind = _read_json(folder).get("kind")
    if kind not in known:
        raise _damaged(folder / SETTINGS_FILE, f"wanted one of {', '.join(known)} as `kind`, found {kind!r}")
    return str(kind)


def is_of_words(folder: Path) -> bool:
    """Whether a folder holds a regression on words, which tags them."""
    return _read_json(folder).get("of_words") is True


def read(folder: Path, form: type[S], shapes: Mapping[str, int]) -> "tuple[S, dict[str, np.ndarray]]":
    """Return settings and tensors of a saved baseline.

    `shapes`: the number of axes of each tensor that must be there. Every value is checked to be finite. Raise `UserError` if a
    file is missing, damaged or of a newer version.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    value, path = _read_json(folder), folder / TENSORS_FILE
    version = value.get("schema_version")
    if isinstance(version, int) and version > form.newest:
        what = f"written by a newer version of finewright (schema {version}, known here: {form.newest})"
        raise UserError(what, where=str(folder / SETTINGS_FILE), fix="update finewright", code=ExitCode.MISMATCH)
    try:
        settings = form.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise _damaged(folder / SETTINGS_FILE, f"{place}: {first['msg']}") from None
    if fault := settings.find_fault():
        raise _damaged(folder / SETTINGS_FILE, fault)
    try:
        tensors = load(path.read_bytes())
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise _damaged(path, str(error)) from None
    for name, num_axes in shapes.items():
        tensor = tensors.get(name)
        if tensor is None or tensor.ndim != num_axes or tensor.dtype.kind != "f" or not np.isfinite(tensor).all():
            raise _damaged(path, f"{name} is missing, of another shape or not finite")
    rows = settings.num_rows
    if tensors["coefficients"].shape[0] != rows or tensors["intercept"].shape != (rows,):
        raise _damaged(path, f"wanted coefficients of {rows} rows, found {tensors['coefficients'].shape[0]}")
    return settings, tensors


def check_columns(folder: Path, tensors: "Mapping[str, np.ndarray]", columns: int, *, also: Sequence[str]) -> None:
    """Raise `UserError` unless the coefficients have this many columns, and each tensor of `also` as many values."""
    if tensors["coefficients"].shape[1] != columns or any(tensors[name].shape != (columns,) for name in also):
        raise _damaged(folder / TENSORS_FILE, f"wanted {columns:,} columns, found {tensors['coefficients'].shape[1]:,}")


def check_distinct(folder: Path, vocabulary: Sequence[str]) -> None:
    """Raise `UserError` if a word, or another feature, has two columns."""
    if len(set(vocabulary)) != len(vocabulary):
        raise _damaged(folder / SETTINGS_FILE, "a word is in the vocabulary twice")


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS_FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("no saved baseline here", where=str(folder), fix="train it again", code=ExitCode.MISMATCH) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(value, dict):
        raise _damaged(path, "wanted an object")
    return value


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"not readable: {reason}", where=str(path), fix="train it again", code=ExitCode.MISMATCH)
