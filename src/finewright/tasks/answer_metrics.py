"""Metrics of generated answers against reference answers: one score from 0 to 1 for each row, higher is better.

Shape suffixes: N rows.
"""

import importlib.util
import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from finewright.core.errors import UserError
from finewright.tasks.metrics import wilson_interval
from finewright.tasks.resampling import ratio_interval

INSTALL = "pip install 'finewright[text-metrics]'"
SHORT_WORDS = 8
"""Words up to which a reference is short: an answer can be expected to have the same ones."""
FEW_SHARE, FEW_DISTINCT = 0.2, 50
"""References are few if they are at most this share of the rows, and at most this many."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_FENCE = re.compile(r"```[\w+-]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-\u2212]?)[$€£¥₹]?(?P<minus>[-\u2212]?)"
    r"(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?P<part>\.\d+)?(?P<exponent>[eE][+-]?\d{1,3})?(?![\d])"
)
_FINAL = "####"
"""What stands before the final number of an answer in GSM8K (Cobbe et al. 2021, arXiv:2110.14168)."""
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.):]?")
_ANSWER_IS = re.compile(r"\b(?:answer|option|choice)\b\W*(?:\bis\b)?\W*([A-Z])\b(?![\w'])", re.IGNORECASE)

Choices = Sequence[Sequence[str]]
"""The possible answers of each row."""


def normalise(text: str) -> str:
    """Return a text in lower case without punctuation, the articles a, an, the, and superfluous white space.

    As the evaluation of SQuAD does (Rajpurkar et al. 2016, arXiv:1606.05250), with the punctuation of every script. A text that
    would lose everything keeps all but case and white space: `A` may be an answer.
    """
    lower = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    kept = "".join(letter for letter in lower if not unicodedata.category(letter).startswith("P") and letter not in "$+<=>^`|~")
    return " ".join(_ARTICLES.sub(" ", kept).split()) or lower


def exact_match(answers: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Return 1 where the answer is the reference after `normalise`, else 0, shape (N,)."""
    return _each(answers, references, lambda answer, reference: normalise(answer) == normalise(reference))


def read_number(text: str) -> Decimal | None:
    """Return the number that a text ends in: the one after the last `####`, else the last one; None if there is none.

    Commas between thousands and currency signs are not part of it.
    """
    found = None
    for one in _NUMBER.finditer(text.rpartition(_FINAL)[2]):
        if one["whole"] or one["part"]:
            found = one
    if found is None:
        return None
    sign = "-" if found["sign"] or found["minus"] else ""
    try:
        return Decimal(f"{sign}{(found['whole'] or '0').replace(',', '')}{found['part'] or ''}{found['exponent'] or ''}")
    except InvalidOperation:
        return None


def numeric_match(answers: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Return 1 where the answer ends in the number that the reference ends in (`read_number`), else 0, shape (N,)."""

    def same(answer: str, reference: str) -> bool:
        wanted = read_number(reference)
        return wanted is not None and read_number(answer) == wanted

    return _each(answers, references, same)


def rouge_l(answers: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Return the F1 of ROUGE-L (Lin 2004), from the longest common subsequence of words in lower case, shape (N,).

    Words are letters and digits of any script; without a stemmer. Where a script has no spaces, each character is a word.
    """

    def score(answer: str, reference: str) -> float:
        own, wanted = _words(answer), _words(reference)
        if not own or not wanted:
            return float(own == wanted)
        return 2 * common_subsequence(own, wanted) / (len(own) + len(wanted))

    return _each(answers, references, score)


def _words(text: str) -> list[str]:
    return re.findall(
        r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+", text.lower()
    )


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, by bits of whole numbers (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    whole = (1 << len(one)) - 1
    row = whole
    for word in other:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & whole
    return len(one) - row.bit_count()


def has_sacrebleu() -> bool:
    """Return whether BLEU and chrF can be measured."""
    return importlib.util.find_spec("sacrebleu") is not None


def bleu(answers: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Return BLEU of each row by sacrebleu (Post 2018, arXiv:1804.08771), smoothed, as a share, shape (N,)."""
    module = _load_sacrebleu()
    return _each(answers, references, lambda answer, reference: module.sentence_bleu(answer, [reference]).score / 100)


def chrf(answers: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Return chrF of each row by sacrebleu (Popović 2015), as a share, shape (N,)."""
    module = _load_sacrebleu()
    return _each(answers, references, lambda answer, reference: module.sentence_chrf(answer, [reference]).score / 100)


def corpus_bleu(answers: Sequence[str], references: Sequence[str]) -> float:
    """Return BLEU of all rows together, as a share: not the mean of `bleu`."""
    return float(_load_sacrebleu().corpus_bleu(list(answers), [list(references)]).score) / 100


def _load_sacrebleu() -> Any:
    try:
        return importlib.import_module("sacrebleu")
    except ImportError:
        raise UserError("BLEU and chrF need the package `sacrebleu`", where="metrics", fix=INSTALL) from None


def read_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is, or that is all of its only code block; None if it is neither."""
    blocks = _FENCE.findall(text)
    try:
        found = json.loads(blocks[0] if len(blocks) == 1 else text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the fields of an object by their dotted names; those of objects inside too, lists whole."""
    fields: dict[str, Any] = {}
    for name, one in value.items():
        inner = flatten(one, f"{prefix}{name}.") if isinstance(one, dict) and one else {f"{prefix}{name}": one}
        fields |= inner
    return fields


def same_value(one: Any, other: Any) -> bool:
    """Return whether two JSON values are the same: 1 is 1.0 but not true; white space around text does not count."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, str) and isinstance(other, str):
        return one.strip() == other.strip()
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[key], other[key]) for key in one)
    return bool(one == other)


@dataclass(frozen=True)
class JsonScores:
    """Of each row, shape (N,): whether the answer is a JSON object (`valid`), equals the reference (`whole`), and the share of
    the reference's fields that it has right (`fields`). `by_field`: of each field (right, rows that have it)."""

    valid: np.ndarray
    whole: np.ndarray
    fields: np.ndarray
    by_field: dict[str, tuple[int, int]]

    @property
    def micro(self) -> float:
        """Right fields of all fields."""
        total = sum(count for _, count in self.by_field.values())
        return sum(right for right, _ in self.by_field.values()) / max(1, total)


def json_scores(answers: Sequence[str], references: Sequence[str]) -> JsonScores:
    """Compare answers with references that are JSON objects. Raise `ValueError` if a reference is none."""
    rows: list[tuple[bool, bool, float]] = []
    by_field: dict[str, tuple[int, int]] = {}
    for answer, reference in zip(answers, references, strict=True):
        wanted, found = read_object(reference), read_object(answer)
        if wanted is None:
            raise ValueError(f"the reference is no JSON object: {reference[:60]!r}")
        fields, own = flatten(wanted), flatten(found or {})
        right = [name in own and same_value(own[name], value) for name, value in fields.items()]
        for name, is_right in zip(fields, right, strict=True):
            before, count = by_field.get(name, (0, 0))
            by_field[name] = before + is_right, count + 1
        share = sum(right) / len(right) if right else float(found == {})
        rows.append((found is not None, found is not None and same_value(found, wanted), share))
    valid, whole, shares = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return JsonScores(valid, whole, shares, by_field)


def read_choice(answer: str, choices: Sequence[str]) -> int | None:
    """Return which choice an answer means; None if it is none, or cannot be told.

    An answer is a choice if it has the same words, is or begins with its letter (`B`, `(B)`, `B. Paris`), says `the answer is B`,
    or has the words of this choice alone in it.
    """
    wanted, text = [normalise(one) for one in choices], answer.strip()
    if wanted.count(normalise(text)) == 1:
        return wanted.index(normalise(text))
    first = text.split(maxsplit=1)[0] if text else ""
    letters = [_LETTER.fullmatch(first)] if len(text) <= 4 or first != first.rstrip(".):") else []
    letters += [match for match in _ANSWER_IS.finditer(text)][-1:]
    for letter in letters:
        if letter is not None and (place := ord(letter[1].upper()) - ord("A")) < len(choices):
            return place
    words = f" {normalise(text)} "
    inside = [place for place, one in enumerate(wanted) if f" {one} " in words]
    return inside[0] if len(inside) == 1 else None


def multiple_choice(answers: Sequence[str], references: Sequence[str], *, choices: Choices | None = None) -> np.ndarray:
    """Return 1 where the answer means the same choice as the reference (`read_choice`), else 0, shape (N,).

    `choices`: of each row; without them the references are letters.
    """
    letters = [chr(place) for place in range(ord("A"), ord("Z") + 1)]
    rows = choices or [letters] * len(references)
    scores = []
    for answer, reference, row in zip(answers, references, rows, strict=True):
        wanted = read_choice(reference, row)
        scores.append(float(wanted is not None and read_choice(answer, row) == wanted))
    return np.array(scores, dtype=np.float64)


WORDS = {
    "exact_match": "the same words",
    "numeric_match": "the right number",
    "multiple_choice": "the right choice",
    "json_fields": "right JSON fields",
    "json_match": "the right JSON",
    "json_valid": "valid JSON",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
    "bleu": "BLEU",
}
"""What people call the metrics."""

METRICS: dict[str, Callable[[Sequence[str], Sequence[str]], np.ndarray]] = {
    "exact_match": exact_match,
    "numeric_match": numeric_match,
    "multiple_choice": multiple_choice,
    "json_fields": lambda answers, references: json_scores(answers, references).fields,
    "json_match": lambda answers, references: json_scores(answers, references).whole,
    "json_valid": lambda answers, references: json_scores(answers, references).valid,
    "rouge_l": rouge_l,
    "chrf": chrf,
    "bleu": bleu,
}
"""The metrics by name; each gives the scores of all rows."""


def choose_metrics(references: Sequence[str], *, choices: Choices | None = None) -> tuple[str, ...]:
    """Return the metrics that fit the references; the first one is the one to compare models by.

    JSON objects: their fields. Possible answers, or letters: which one is chosen. Numbers, or texts that end in `#### number`:
    that number. Few different short texts: the same words; short texts that all differ: the same words and ROUGE-L. Else ROUGE-L,
    and chrF and BLEU if sacrebleu is installed.
    """
    texts = [one.strip() for one in references]
    if not texts:
        return ()
    if all(read_object(one) is not None for one in texts):
        return "json_fields", "json_match", "json_valid"
    if choices or (len({*texts}) > 1 and all(_LETTER.fullmatch(one) and len(one) <= 3 for one in texts)):
        return ("multiple_choice",)
    if all(_is_number(one) for one in texts):
        return ("numeric_match",)
    distinct = len({normalise(one) for one in texts})
    if max(len(one.split()) for one in texts) <= SHORT_WORDS:
        few = distinct < len(texts) and distinct <= min(FEW_DISTINCT, max(2, FEW_SHARE * len(texts)))
        return ("exact_match",) if few else ("exact_match", "rouge_l")
    return ("rouge_l", "chrf", "bleu") if has_sacrebleu() else ("rouge_l",)


def _is_number(text: str) -> bool:
    if _FINAL in text:
        return read_number(text) is not None
    found = _NUMBER.match(text)
    return found is not None and bool(found["whole"] or found["part"]) and text[found.end() :].strip() in ("", "%", ".")


@dataclass(frozen=True)
class AnswerScores:
    """Scores of generated answers.

    `rows`: by metric the score of each row, shape (N,), the metric to compare by first. `details`: more, ready for JSON.
    """

    rows: dict[str, np.ndarray]
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def main(self) -> str:
        """The metric to compare models by."""
        return next(iter(self.rows))

    def summary(self) -> dict[str, Any]:
        """Return of each metric the mean and its 95% interval, ready for JSON."""
        found: dict[str, Any] = {"num_rows": len(self.rows[self.main])}
        for name, scores_N in self.rows.items():
            found |= {name: float(scores_N.mean()), f"{name}_ci95": list(mean_interval(scores_N))}
        return found | self.details

    def summarise(self) -> dict[str, Any]:
        """Return what result.json holds of them: `summary`, and in `metric` the name of the one to compare models by."""
        return {"metric": self.main, **self.summary()}

    def worst(self, *, count: int = 10) -> list[int]:
        """Return the rows with the lowest scores, lowest first; only those that are not perfect."""
        scores_N = self.rows[self.main]
        order = np.argsort(scores_N, kind="stable")
        return [int(row) for row in order[:count] if scores_N[row] < 1]


def score_answers(
    answers: Sequence[str],
    references: Sequence[str],
    *,
    metrics: Sequence[str] | None = None,
    choices: Choices | None = None,
) -> AnswerScores:
    """Measure answers by these metrics, or by those that fit the references.

    Raise `UserError` for a metric that is not known, `ValueError` without rows or for references that a metric cannot read.
    """
    if not len(references):
        raise ValueError("no rows to measure")
    names = choose_metrics(references, choices=choices) if metrics is None else tuple(metrics)
    if unknown := [name for name in names if name not in METRICS]:
        raise UserError(f"unknown metric {unknown[0]!r}", where="metrics", fix=f"one of {', '.join(METRICS)}")
    details: dict[str, Any] = {}
    rows: dict[str, np.ndarray] = {}
    of_json = json_scores(answers, references) if any(name.startswith("json_") for name in names) else None
    for name in names:
        if of_json is not None and name.startswith("json_"):
            rows[name] = {"json_fields": of_json.fields, "json_match": of_json.whole, "json_valid": of_json.valid}[name]
        elif name == "multiple_choice":
            rows[name] = multiple_choice(answers, references, choices=choices)
        else:
            rows[name] = METRICS[name](answers, references)
    if of_json is not None:
        by_field = {name: {"accuracy": right / count, "num_rows": count} for name, (right, count) in of_json.by_field.items()}
        details |= {"field_accuracy": of_json.micro, "per_field": by_field}
    if "bleu" in names:
        details["corpus_bleu"] = corpus_bleu(answers, references)
    return AnswerScores(rows, details)


def mean_interval(scores_N: np.ndarray) -> tuple[float, float]:
    """Return a 95% interval of the mean: Wilson's for scores of 0 and 1, else by the bootstrap over rows."""
    if np.isin(scores_N, (0, 1)).all():
        return wilson_interval(float(scores_N.sum()), len(scores_N))
    return ratio_interval(scores_N, np.ones(len(scores_N)))


def _each(answers: Sequence[str], references: Sequence[str], score: Callable[[str, str], float]) -> np.ndarray:
    return np.array([score(*pair) for pair in zip(answers, references, strict=True)], dtype=np.float64)
