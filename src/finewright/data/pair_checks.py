"""Faults of pairs of texts, whatever the task, as findings: equal texts, and pairs that occur again the other way round."""

from collections.abc import Iterator, Mapping, Sequence

from finewright.core.units import counted
from finewright.data.checks import Finding, places_of
from finewright.data.splits import Example, normalise_text


def find_pair_faults(splits: Mapping[str, Sequence[Example]]) -> Iterator[Finding]:
    """Find pairs whose texts are equal, and pairs that repeat another one with both texts swapped. `splits`: rows by name."""
    rows = [row for own in splits.values() for row in own if row.pair is not None]
    equal = [row for row in rows if row.pair is not None and normalise_text(row.pair[0]) == normalise_text(row.pair[1])]
    if equal:
        message = f"{counted(len(equal), 'pair')} {'has' if len(equal) == 1 else 'have'} two equal texts (case and spaces aside)"
        yield Finding("equal_texts", "warning", message, places_of(equal), "correct these rows, unless they are meant")
    first_place: dict[tuple[str, str], Example] = {}
    again: list[tuple[Example, Example]] = []
    for row in rows:
        if row.pair is None:
            continue
        one, other = map(normalise_text, row.pair)
        if one != other and (known := first_place.get((other, one))) is not None:
            again.append((row, known))
        first_place.setdefault((one, other), row)
    if again:
        yield _describe_swapped(again, held_out={id(row) for name, own in splits.items() if name != "train" for row in own})
    yield from _find_shared_texts(splits)


def _find_shared_texts(splits: Mapping[str, Sequence[Example]]) -> Iterator[Finding]:
    """Find test pairs whose first text was trained on in another pair: an NLI premise, a question. Second texts, such as the
    articles that answer, are often a fixed collection."""
    trained = {normalise_text(row.pair[0]) for row in splits.get("train", ()) if row.pair is not None}
    pairs = [row for row in splits.get("test", ()) if row.pair is not None]
    shared = [row for row in pairs if row.pair is not None and normalise_text(row.pair[0]) in trained]
    if not shared:
        return
    have = "has a first text" if len(shared) == 1 else "have first texts"
    share = f"{counted(len(shared), 'test pair')} ({len(shared) / len(pairs):.0%})"
    fix = "keep pairs with a common text in one split, unless new pairs will have known texts too"
    yield Finding("shared_texts", "warning", f"{share} {have} of training pairs", places_of(shared), fix)


def _describe_swapped(again: Sequence[tuple[Example, Example]], *, held_out: set[int]) -> Finding:
    """Return the finding about rows and the earlier rows that they repeat. `held_out`: ids of rows that are not trained on."""
    share = f"{counted(len(again), 'pair')} {'repeats' if len(again) == 1 else 'repeat'} another with the two texts swapped"
    leaking = sum(id(row) in held_out and id(known) not in held_out for row, known in again)
    other = sum(row.label != known.label for row, known in again)
    more = [f"{leaking:,} of them from a training pair to a held-out one"] if leaking else []
    more += [f"{other:,} of them with another label"] if other else []
    fix = (
        "keep such pairs in one split, or leave one of the two out" if leaking else "leave one of the two out, unless it is meant"
    )
    return Finding("swapped_pairs", "warning", "; ".join([share, *more]), places_of([row for row, _ in again]), fix)
