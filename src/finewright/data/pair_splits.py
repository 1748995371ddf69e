"""Splits of pairs of texts by groups: pairs that share a text lie in one part, or a model is tested on texts it has learnt."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence

from finewright.data.splits import Example, HoldOut, normalise_text

_SMALL = ("small labels",)
"""Stands for all labels of which the share to hold out is not a row. No label: those are texts."""
_ALL = ("all rows",)
_MOST_PASSES, _LEAST_GAIN = 10, 1e-9
_LARGEST_GROUP = 0.5
"""Share of the rows to hold out that one group may have: of fewer groups a score would say little of new texts."""


def hold_out_pairs(
    rows: list[Example], fraction: float, *, seed: int, name: str, by_row: HoldOut
) -> tuple[list[Example], list[Example], str]:
    """Return (kept, held out, note): of pairs in which texts recur, those that share a text stay together.

    Groups share any text, or where that joins too many pairs their first text, or their second one. Each part has the same share
    of every label as far as groups allow. `by_row`: splits single texts, pairs without such texts, and those of which no grouping
    is fine enough.
    """
    wanted = round(fraction * len(rows))
    pairs = _normalise_pairs(rows)
    if len(pairs) < len(rows) or not wanted or not _have_common_texts(pairs):
        return by_row(rows, fraction, seed=seed, name=name)
    strata = [row.own_labels() or (row.stratum,) for row in rows]
    for shared, find_groups in _GROUPINGS:
        groups = find_groups(pairs)
        sizes = Counter(groups)
        if len(sizes) == len({*pairs}) or max(sizes.values()) > max(1, _LARGEST_GROUP * wanted):
            continue
        kept, held = split_by_groups(groups, strata, fraction, seed=seed)
        if 2 * len(held) >= wanted:
            note = f"no {name} file: {len(held):,} of {len(rows):,} pairs held out, all pairs with {shared} in one part, "
            note += f"stratified by {rows[0].stratified_by} as far as that allows, seed {seed}"
            both = _count_common([pairs[place] for place in held], [pairs[place] for place in kept])
            have = "has its" if both == 1 else "have their"
            note += f"; {both:,} of them {have} other text in common with a pair that is kept" if both else ""
            return [rows[place] for place in kept], [rows[place] for place in held], note
    kept_rows, held_rows, note = by_row(rows, fraction, seed=seed, name=name)
    both = _count_common(_normalise_pairs(held_rows), _normalise_pairs(kept_rows))
    share = f"{both:,} of them {'shares' if both == 1 else 'share'} a text with a pair that is kept"
    note += f"; {share}, as too many pairs have one in common" if both else ""
    return kept_rows, held_rows, note


_Pairs = Sequence[tuple[str, str]]


def _normalise_pairs(rows: Sequence[Example]) -> list[tuple[str, str]]:
    """Return the two texts of each row that is a pair."""
    return [(normalise_text(row.pair[0]), normalise_text(row.pair[1])) for row in rows if row.pair is not None]


def _have_common_texts(pairs: _Pairs) -> bool:
    """Whether a text is in two different pairs."""
    counts = Counter(text for pair in {*pairs} for text in {*pair})
    return max(counts.values(), default=0) > 1


def _count_common(some: _Pairs, others: _Pairs) -> int:
    """Return how many pairs have a text that one of the others has."""
    known = {text for pair in others for text in pair}
    return sum(not known.isdisjoint(pair) for pair in some)


def _join_by_any_text(pairs: _Pairs) -> list[Hashable]:
    """Return a group for each pair, as a text of it: the same for pairs that share a text, or are linked by others that do."""
    parent: dict[str, str] = {}

    def find_root(text: str) -> str:
        while parent.setdefault(text, text) != text:
            parent[text] = parent[parent[text]]
            text = parent[text]
        return text

    for first, second in pairs:
        parent[find_root(first)] = find_root(second)
    return [find_root(first) for first, _ in pairs]


_GROUPINGS: tuple[tuple[str, Callable[[_Pairs], Sequence[Hashable]]], ...] = (
    ("a common text", _join_by_any_text),
    ("the same first text", lambda pairs: [first for first, _ in pairs]),
    ("the same second text", lambda pairs: [second for _, second in pairs]),
)
"""How pairs are grouped, the strictest first, in words and by what."""


def split_by_groups(
    groups: Sequence[Hashable], strata: Sequence[Sequence[str]], fraction: float, *, seed: int
) -> tuple[list[int], list[int]]:
    """Return row numbers (kept, held out), both ascending; a group is in one part. A pure function of its arguments.

    Groups change their part, in an order by chance, as long as that brings the held-out part closer to `fraction` of the rows and
    of each stratum. The kept part has a row of each stratum.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    total = Counter(one for own in strata for one in own)
    pooled: dict[str, Hashable] = {one: _SMALL if round(fraction * count) == 0 else one for one, count in total.items()}
    missing: dict[Hashable, float] = defaultdict(float, {_ALL: fraction * len(groups)})
    for one, count in total.items():
        missing[pooled[one]] += fraction * count
    wanted = dict(missing)
    counted = [_count_strata([strata[row] for row in rows], pooled) for rows in members.values()]
    first_rows = [rows[0] for rows in members.values()]
    order = sorted(range(len(counted)), key=lambda group: hashlib.sha256(f"{seed}:{first_rows[group]}".encode()).digest())
    kept, held = dict(total), set[int]()
    for _ in range(_MOST_PASSES):
        num_moved = 0
        for group in order:
            own, added = counted[group]
            sign = -1 if group in held else 1
            gain = sum((2 * sign * missing[one] - count) * count / wanted[one] for one, count in added.items())
            if gain <= _LEAST_GAIN or (sign > 0 and any(kept[one] == count for one, count in own.items())):
                continue
            num_moved += 1
            held ^= {group}
            for one, count in own.items():
                kept[one] -= sign * count
            for one, count in added.items():
                missing[one] -= sign * count
        if not num_moved:
            break
    out = {row for group, rows in enumerate(members.values()) if group in held for row in rows}
    return [row for row in range(len(groups)) if row not in out], sorted(out)


def _count_strata(strata: Sequence[Sequence[str]], pooled: Mapping[str, Hashable]) -> tuple[dict[str, int], dict[Hashable, int]]:
    """Return the rows of a group by stratum, and these with the small strata as one and all rows as another."""
    own = Counter(one for of_row in strata for one in of_row)
    added: dict[Hashable, int] = defaultdict(int, {_ALL: len(strata)})
    for one, count in own.items():
        added[pooled[one]] += count
    return dict(own), dict(added)
