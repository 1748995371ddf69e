"""What the numbers carry, in two sentences."""

from collections.abc import Sequence

from finewright.comparison.results import ComparisonResults, MethodResult
from finewright.comparison.spec import MAJORITY

LEAST_RATIO = 2.0
"""How many times smaller is worth saying."""


def summarise(standings: ComparisonResults) -> list[str]:
    """First who leads and at what price, then what pre-training and a language model were worth."""
    if not standings.measured:
        return ["Nothing was measured."]
    once = "with one run each, " if _single(standings) and len(standings.measured) > 1 else ""
    first = _one_class(standings) or f"{once}{_leaders(standings)}"
    second = _worth(standings)
    names = [entry.name for entry in standings.entries]
    return [_begun(sentence, names=names) for sentence in (first, second) if sentence]


def _begun(sentence: str, *, names: Sequence[str]) -> str:
    """With a capital, unless it begins with the name of a way, which is written as a user types it."""
    return sentence if sentence.split()[0] in names else sentence[0].upper() + sentence[1:]


def _single(standings: ComparisonResults) -> bool:
    """Whether no way has two runs: then the numbers are about these runs, and another seed may turn them."""
    return all(len(entry.results) == 1 for entry in standings.measured if entry.kind != "baseline")


def _one_class(standings: ComparisonResults) -> str | None:
    if standings.one_class is None:
        return None
    return f"Every test row has the label {standings.one_class!r}: these accuracies say nothing about telling labels apart."


def _leaders(standings: ComparisonResults) -> str:
    leader, *others = standings.measured
    if not others:
        return f"only {_with_accuracy(standings, leader)} was measured."
    alike = [entry for entry in others if not standings.pair(leader.name, entry.name).told_apart]
    low, high = standings.summaries[leader.name].accuracy_ci95
    if not alike:
        interval = f"95 % interval {low:.1%} to {high:.1%}"
        return f"{_with_accuracy(standings, leader)}, {interval}, is more accurate here than all others."
    group = [leader, *alike]
    rest = "" if len(group) == len(standings.measured) else "; all others are less accurate"
    price = _price(group)
    if len(group) == len(standings.measured) > 3:
        return f"nothing of what was tried can be told apart here from {_with_accuracy(standings, leader)}, the highest{price}."
    if len(alike) == 1:
        named = _listed([_with_accuracy(standings, entry) for entry in group])
        return f"{named} cannot be told apart here{rest}{price}."
    named = _listed([_with_accuracy(standings, entry) for entry in alike])
    head = f"{_with_accuracy(standings, leader)} is the most accurate here, and {named} cannot be told apart from it"
    return f"{head}{rest}{price}."


def _price(group: Sequence[MethodResult]) -> str:
    """What the smallest of them saves against the largest, if that is much."""
    trained = [entry for entry in group if entry.most("artifact_bytes")]
    if len(trained) < 2:
        return ""
    small, large = (pick(trained, key=lambda entry: entry.most("artifact_bytes")) for pick in (min, max))
    ratio = large.most("artifact_bytes") / small.most("artifact_bytes")
    return f"; {small.name}'s artifact is {ratio:.0f} times smaller than {large.name}'s" if ratio >= LEAST_RATIO else ""


def _worth(standings: ComparisonResults) -> str | None:
    prepared_model = next((entry for entry in standings.measured if entry.kind == "pretrained"), None)
    if prepared_model is None:
        return None
    parts = [_pretraining(standings, prepared_model, entry) for entry in standings.measured if entry.kind == "random"]
    plain = [entry for entry in standings.measured if entry.kind == "baseline" and entry.name != MAJORITY]
    parts += [_need(standings, prepared_model, plain[0])] if plain else []
    text = "; ".join(parts)
    return f"{text}." if text else None


def _pretraining(standings: ComparisonResults, prepared_model: MethodResult, random: MethodResult) -> str:
    pair = standings.pair(prepared_model.name, random.name)
    if not pair.told_apart:
        against = _against(standings, prepared_model, random)
        return f"whether pre-training was worth anything cannot be told from these rows ({against})"
    was, here = "was worth" if pair.difference > 0 else "cost", " in these runs" if _single(standings) else ""
    return f"pre-training {was} {_points(pair.difference)}{here} ({_against(standings, prepared_model, random)})"


def _need(standings: ComparisonResults, prepared_model: MethodResult, plain: MethodResult) -> str:
    pair = standings.pair(prepared_model.name, plain.name)
    named = f"the best baseline, {_with_accuracy(standings, plain)}"
    if not pair.told_apart:
        return f"{named}, cannot be told apart from {prepared_model.name}"
    return f"{named}, is {_points(pair.difference)} {'behind' if pair.difference > 0 else 'ahead of'} {prepared_model.name}"


def _against(standings: ComparisonResults, one: MethodResult, other: MethodResult) -> str:
    named = " against ".join(f"{entry.name} {standings.summaries[entry.name].accuracy:.1%}" for entry in (one, other))
    return f"{named}, p {shown_p(standings.pair(one.name, other.name).p_value)}"


def shown_p(value: float) -> str:
    """`= 0.03`, `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}" if value < 0.1 else f"= {value:.2f}"


def _points(difference: float) -> str:
    points = abs(100 * difference)
    number = f"{points:.1f}" if points < 10 else f"{points:.0f}"
    return f"{number} point{'' if number in ('1', '1.0') else 's'} of accuracy"


def _with_accuracy(standings: ComparisonResults, entry: MethodResult) -> str:
    return f"{entry.name} ({standings.summaries[entry.name].accuracy:.1%})"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
