"""The verdict of a comparison: what its numbers show, in two sentences."""

from collections.abc import Sequence
from typing import NamedTuple

from finewright.comparison.results import ComparisonResults, MethodResult
from finewright.comparison.spec import MAJORITY, MEAN, UNTUNED


class _Words(NamedTuple):
    """What a higher score is called."""

    better: str
    worse: str
    best: str
    highest: str


def _words(results: ComparisonResults) -> _Words:
    if results.has_classes:
        return _Words("more accurate", "less accurate", "most accurate", "highest accuracy")
    return _Words("better", "worse", "best", "best score")


LEAST_RATIO = 2.0
"""Smallest ratio of the sizes of two saved models that is reported."""
LEAST_BYTES = 100e6
"""Smallest size of the larger one: of smaller models nobody chooses by disk space."""


def summarise(results: ComparisonResults) -> list[str]:
    """Return two sentences: which method leads and at what cost, then what pre-training and a language model gained."""
    if not results.measured:
        return ["Nothing was measured."]
    once = "with one run each, " if _has_single_runs(results) and len(results.measured) > 1 else ""
    by = "" if results.has_classes else f"by {results.metric.title}, "
    first = _describe_one_class(results) or f"{once}{by}{_describe_leaders(results)}"
    second = _describe_gains(results)
    names = [entry.name for entry in results.entries]
    return [_capitalise(sentence, names=names) for sentence in (first, second) if sentence]


def _capitalise(sentence: str, *, names: Sequence[str]) -> str:
    """Capitalise a sentence, unless it begins with the name of a method, which is written as a user types it."""
    return sentence if sentence.split()[0] in names else sentence[0].upper() + sentence[1:]


def _has_single_runs(results: ComparisonResults) -> bool:
    """Whether no method has two runs. Then another seed may reverse the numbers."""
    return all(len(entry.results) == 1 for entry in results.measured if entry.kind != "baseline")


def _describe_one_class(results: ComparisonResults) -> str | None:
    if results.one_class is None:
        return None
    return (
        f"Every test row has the label {results.one_class!r}: these accuracies do not show whether labels can be distinguished."
    )


def _describe_leaders(results: ComparisonResults) -> str:
    leader, *others = results.measured
    if not others:
        return f"only {_with_score(results, leader)} was measured."
    alike = [entry for entry in others if not results.pair(leader.name, entry.name).is_significant]
    low, high = results.summaries[leader.name].score_ci95
    if not alike:
        interval = f"95% interval {low:.1%} to {high:.1%}"
        return f"{_with_score(results, leader)}, {interval}, is {_words(results).better} here than all others."
    group = [leader, *alike]
    rest = "" if len(group) == len(results.measured) else f"; all others are {_words(results).worse}"
    cost = _describe_cost(group)
    tied = [entry for entry in group if _mean(results, entry) == _mean(results, leader)]
    if len(tied) > 1:
        return f"{_describe_tie(results, tied, group)}{rest}{cost}."
    if len(group) == len(results.measured) > 3:
        return f"nothing that was tried differs significantly here from {_with_score(results, leader)}, the highest{cost}."
    if len(alike) == 1:
        named = _join_names([_with_score(results, entry) for entry in group])
        return f"{named} do not differ significantly here{rest}{cost}."
    named = _join_names([_with_score(results, entry) for entry in alike])
    head = f"{_with_score(results, leader)} is the {_words(results).best} here; the difference from {named} is not significant"
    return f"{head}{rest}{cost}."


def _describe_tie(results: ComparisonResults, tied: Sequence[MethodResult], group: Sequence[MethodResult]) -> str:
    """Say that several methods have the highest score, and which others do not differ significantly from them."""
    names, score = _join_names([entry.name for entry in tied]), _score(results, tied[0])
    tie = f"{names} tie for the {_words(results).highest} here, {score}"
    near = [_with_score(results, entry) for entry in group if entry not in tied]
    return f"{tie}; the difference from {_join_names(near)} is not significant" if near else tie


def _describe_cost(group: Sequence[MethodResult]) -> str:
    """Compare the smallest artifact with the largest, if the ratio is large. Nobody would keep a model from random weights."""
    sizes = {entry.name: size for entry in group if entry.kind == "pretrained" and (size := entry.largest("artifact_bytes"))}
    if len(sizes) < 2:
        return ""
    small, large = (pick(sizes, key=lambda name: sizes[name]) for pick in (min, max))
    ratio = sizes[large] / sizes[small]
    return (
        f"; {small}'s saved model is {ratio:,.0f} times smaller than {large}'s"
        if ratio >= LEAST_RATIO and sizes[large] >= LEAST_BYTES
        else ""
    )


def _describe_gains(results: ComparisonResults) -> str | None:
    best = next((entry for entry in results.measured if entry.kind == "pretrained"), None)
    if best is None:
        return None
    parts = [_describe_pretraining(results, best, entry) for entry in results.measured if entry.kind == "random"]
    if untuned := next((entry for entry in results.measured if entry.name == UNTUNED), None):
        parts = [_describe_training(results, best, untuned), *parts]
    plain = [entry for entry in results.measured if entry.kind == "baseline" and entry.name not in (MAJORITY, MEAN, UNTUNED)]
    parts += [_describe_baseline(results, best, plain[0])] if plain else []
    text = "; ".join(parts)
    return f"{text}." if text else None


def _describe_pretraining(results: ComparisonResults, best: MethodResult, random: MethodResult) -> str:
    pair = results.pair(best.name, random.name)
    if not pair.is_significant:
        against = _against(results, best, random)
        return f"these rows do not show whether pre-training helps ({against})"
    verb, here = "was worth" if pair.difference > 0 else "cost", " in these runs" if _has_single_runs(results) else ""
    return f"pre-training {verb} {_points(results, pair.difference)}{here} ({_against(results, best, random)})"


def _describe_training(results: ComparisonResults, best: MethodResult, untuned: MethodResult) -> str:
    pair = results.pair(best.name, untuned.name)
    against = _against(results, best, untuned)
    if not pair.is_significant:
        return f"these rows do not show whether fine-tuning helps ({against})"
    verb = "was worth" if pair.difference > 0 else "cost"
    return f"fine-tuning {verb} {_points(results, pair.difference)} ({against})"


def _describe_baseline(results: ComparisonResults, best: MethodResult, plain: MethodResult) -> str:
    pair = results.pair(best.name, plain.name)
    baseline = f"the best baseline, {_with_score(results, plain)}"
    if not pair.is_significant:
        return f"{baseline}, does not differ significantly from {best.name}"
    return f"{baseline}, is {_points(results, pair.difference)} {'behind' if pair.difference > 0 else 'ahead of'} {best.name}"


def _against(results: ComparisonResults, one: MethodResult, other: MethodResult) -> str:
    named = " against ".join(f"{entry.name} {results.summaries[entry.name].score:.1%}" for entry in (one, other))
    return f"{named}, p {format_p(results.pair(one.name, other.name).p_value)}"


def format_p(value: float) -> str:
    """Return `= 0.03` or `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}" if value < 0.1 else f"= {value:.2f}"


def _points(results: ComparisonResults, difference: float) -> str:
    points, of = abs(100 * difference), " of accuracy" if results.has_classes else ""
    number = f"{points:.1f}" if points < 10 else f"{points:.0f}"
    return f"{number} point{'' if number in ('1', '1.0') else 's'}{of}"


def _with_score(results: ComparisonResults, entry: MethodResult) -> str:
    return f"{entry.name} ({_score(results, entry)})"


def _mean(results: ComparisonResults, entry: MethodResult) -> float:
    return results.summaries[entry.name].score


def _score(results: ComparisonResults, entry: MethodResult) -> str:
    return f"{_mean(results, entry):.1%}"


def _join_names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
